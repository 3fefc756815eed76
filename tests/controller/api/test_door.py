"""The machine API as it is run: the real process, TLS, and client certificates of every kind."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.api.app import BODY_MAX
from controller.cluster import open_cluster
from controller.config import parse_config
from protocol import limits
from protocol.instants import format_instant
from protocol.messages import JoinReply
from protocol.names import NodeId
from tests.controller.api.running_api import PATIENCE, Door
from tests.controller.harbour import ADMIN, Device
from tests.harness.running_door import make_identity


def batch_of(node: JoinReply, *numbers: int, **changed: Any) -> bytes:  # noqa: ANN401 - JSON
    fields = {"server_id": node.node_id, "server_hostname": node.name}
    now = format_instant(datetime.now(UTC))
    events = [
        {"sequence": n, "uid": str(uuid.uuid4()), "code": "SK012W", "time": now, "fields": {**fields, "count": n}}
        | changed
        for n in numbers
    ]
    return json.dumps({"events": events}).encode()


def counts(door: Door) -> list[int]:
    return [entry["count"] for entry in door.entries("SK012W")]


def assert_serves(door: Door) -> None:
    node, context = door.enrol()
    status, receipt = door.post(context, batch_of(node, 1))
    assert (status, receipt) == (200, {"sequence": 1})


def test_a_node_s_events_reach_the_audit_log_and_are_acknowledged(door: Door) -> None:
    node, context = door.enrol()
    assert door.post(context, batch_of(node, 1, 2)) == (200, {"sequence": 2})
    assert door.post(context, batch_of(node, 2, 3)) == (200, {"sequence": 3})
    assert counts(door) == [1, 2, 3]


def test_one_batch_posted_by_four_connections_at_once_is_written_once(door: Door) -> None:
    node, context = door.enrol()
    body = batch_of(node, *range(1, 31))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: door.post(context, body), range(4)))
    assert answers == [(200, {"sequence": 30})] * 4
    assert counts(door) == list(range(1, 31))


def test_a_node_cannot_speak_for_another(door: Door) -> None:
    _, context = door.enrol()
    other, _ = door.enrol()
    assert door.post(context, batch_of(other, 1)) == (200, {"sequence": 1})
    assert counts(door) == []
    (entry,) = door.entries("SK011W")
    assert entry["error"] == "R2: it speaks of another node"


def strangers(door: Door, kind: str) -> ssl.SSLContext:
    device = Device()
    if kind == "none":
        return door.trust()
    if kind == "foreign":
        made = make_identity(door.folder, str(uuid.uuid4()))
        return door.trust(made.cert.read_text(), made.key.read_text())
    if kind == "of another cluster":
        text = f"teleport: {{data_dir: '{door.folder / 'other'}'}}\nauth_service: {{cluster_name: harbour}}\n"
        other = open_cluster(parse_config(text, "other.yaml"))
        node_id = NodeId(str(uuid.uuid4()))
        chain = other.authority.sign_node_tls(device.csr, node_id, datetime.now(UTC))
        return door.trust(chain, device.tls_pem)
    if kind == "expired":
        long_ago = datetime.now(UTC) - limits.HOST_CERTIFICATE_TTL - timedelta(minutes=1)
        node, _ = door.enrol()
        return door.trust(door.cluster.authority.sign_node_tls(device.csr, node.node_id, long_ago), device.tls_pem)
    chain, key = door.cluster.authority.issue_web(["localhost"], datetime.now(UTC))
    return door.trust(chain, key.reveal())


@pytest.mark.parametrize("kind", ["none", "foreign", "of another cluster", "expired", "a server's"])
def test_without_a_client_certificate_of_this_cluster_there_is_no_connection(own_door: Door, kind: str) -> None:
    context = strangers(own_door, kind)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        own_door.post(context, b"{}")
    own_door.await_log("TLS: ")
    assert "Traceback" not in own_door.log()
    assert_serves(own_door)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param("alice", "M2", id="a person's"),
        pytest.param("00000000-0000-4000-8000-000000000001", "M3", id="a node's that is not enrolled"),
    ],
)
def test_a_certificate_that_is_no_enrolled_node_s_is_refused_with_the_reason_in_the_log(
    door: Door, name: str, check: str
) -> None:
    device = Device()
    chain = door.cluster.authority.sign_node_tls(device.csr, NodeId(name), datetime.now(UTC))
    status, answer = door.post(door.trust(chain, device.tls_pem), b'{"events": []}')
    assert (status, answer) == (403, {"error": {"message": "this certificate is not a node's of this cluster"}})
    door.await_log(f"refused ({check})")
    assert_serves(door)


def test_a_node_that_was_removed_is_refused_from_the_next_request_on(door: Door) -> None:
    node, context = door.enrol()
    assert door.post(context, batch_of(node, 1))[0] == 200
    door.cluster.enrolment.nodes.remove(node.node_id, ADMIN)
    assert door.post(context, batch_of(node, 2))[0] == 403
    door.await_log("refused (M3)")
    assert counts(door) == [1]


def test_a_node_that_waits_for_approval_is_refused_whatever_it_brings(door: Door) -> None:
    node, context = door.enrol()
    found = door.cluster.enrolment.nodes.find(node.node_id)
    assert found is not None
    assert door.cluster.enrolment.nodes.replace(found, replace(found.node, pending=True))
    assert door.post(context, batch_of(node, 1))[0] == 403
    door.await_log("refused (M3)")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"\xff\x00", "not JSON", id="noise"),
        pytest.param(b"[" * 100_000, "not JSON", id="deep"),
        pytest.param(b"[]", "not a JSON object", id="a list"),
        pytest.param(b"{}", "events: missing", id="no events"),
        pytest.param(b'{"events": 7}', "events: not a list", id="a number"),
        pytest.param(b'{"events": [{}]}', "sequence: missing", id="an empty event"),
        pytest.param(b'{"events": [{"sequence": -1}]}', "sequence: not a whole number", id="a number below nothing"),
        pytest.param(b'{"events": [{"sequence": 1e400}]}', "sequence: not a whole number", id="endless"),
    ],
)
def test_a_body_that_is_no_batch_is_told_and_costs_one_line(door: Door, body: bytes, words: str) -> None:
    _, context = door.enrol()
    status, answer = door.post(context, body)
    assert status == 400
    assert words in answer["error"]["message"]
    lines = [line for line in door.log().splitlines() if " WARN " in line]
    assert len(lines) == 1
    assert "Traceback" not in door.log()
    assert_serves(door)


def test_too_many_events_at_once_are_refused_and_as_many_as_allowed_are_not(door: Door) -> None:
    node, context = door.enrol()
    most = limits.EVENT_BATCH_MAX
    assert door.post(context, batch_of(node, *range(1, most + 2)))[0] == 400
    assert door.post(context, batch_of(node, *range(1, most + 1))) == (200, {"sequence": most})


def test_event_numbers_that_cannot_be_are_a_bad_request_and_true_events_go_on(door: Door) -> None:
    node, context = door.enrol()
    status, answer = door.post(context, batch_of(node, 2**63 - 2))
    assert status == 400
    assert "more than 1000000 above 0" in answer["error"]["message"]
    assert door.post(context, batch_of(node, 1)) == (200, {"sequence": 1})
    assert counts(door) == [1]


def test_a_body_over_the_limit_is_refused_and_the_next_client_is_served(own_door: Door) -> None:
    _, context = own_door.enrol()
    assert own_door.post(context, b" " * (BODY_MAX + 1))[0] == 413
    with own_door.connect(context) as sock:  # said to be huge, and never sent
        sock.sendall(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 413
    assert_serves(own_door)


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/v1/join", 404), ("/v1/events/../x", 404)])
def test_other_paths_are_not_there(door: Door, path: str, status: int) -> None:
    _, context = door.enrol()
    assert door.post(context, b"{}", path)[0] == status


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", id="HTTP without TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
        pytest.param(os.urandom(50_000), id="noise"),
    ],
)
def test_garbage_in_front_of_tls_is_closed_with_one_line(own_door: Door, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", own_door.port), timeout=PATIENCE) as sock:
        try:
            sock.sendall(data)
            while sock.recv(4096):
                pass
        except ConnectionError:
            pass
    own_door.await_log("TLS: ")
    assert len([line for line in own_door.log().splitlines() if " WARN " in line]) == 1
    assert_serves(own_door)


def test_garbage_inside_tls_is_a_bad_request(door: Door) -> None:
    _, context = door.enrol()
    with door.connect(context) as sock:
        sock.sendall(b"\0\1\2\3 rubbish\r\n\r\n")
        assert b" 400 " in sock.recv(1000)
    assert_serves(door)


def test_events_that_cannot_be_stored_are_not_acknowledged_and_are_taken_when_they_come_again(own_door: Door) -> None:
    node, context = own_door.enrol()
    log = own_door.folder / "data" / "log"
    log.rename(own_door.folder / "aside")
    log.write_text("in the way")
    body = batch_of(node, 1, 2)
    status, answer = own_door.post(context, body)
    assert status == 503
    assert "send them again later" in answer["error"]["message"]
    log.unlink()
    (own_door.folder / "aside").rename(log)
    assert own_door.post(context, body) == (200, {"sequence": 2})
    assert counts(own_door) == [1, 2]
