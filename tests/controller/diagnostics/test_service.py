from __future__ import annotations

import http.client
import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.addresses import BoundAddresses
from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.diagnostics.service import DiagnosticsServer
from controller.tls_files import prepare_api, prepare_web
from protocol.decision import Granted
from tests.controller.harbour import PING, STATIC, WEB, Device

NOBODY = ("127.0.0.1", 1)  # nothing listens there


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    text = f"teleport: {{data_dir: '{tmp_path / 'data'}'}}\nmqtt: {{broker: none}}\n"
    text += f"auth_service: {{cluster_name: harbour, tokens: ['node:{STATIC}']}}\n"
    return open_cluster(parse_config(text, "controller.yaml"))


class Seconds:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return self.passed


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def server(cluster: Cluster, seconds: Seconds) -> Iterator[DiagnosticsServer]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = DiagnosticsServer(cluster, listener, seconds, 3600)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join(20)
        made.server_close()


def ask(server: DiagnosticsServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Return status, kind of content, and content."""
    connection = http.client.HTTPConnection("127.0.0.1", server.socket.getsockname()[1], timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def metrics(server: DiagnosticsServer) -> dict[tuple[str, str], float]:
    """Return every sample by its name and its one label's value, as Prometheus reads them."""
    status, kind, text = ask(server, "/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, "/".join(sample.labels.values())): sample.value for sample in samples}


def test_the_process_is_healthy_while_it_answers(server: DiagnosticsServer) -> None:
    assert ask(server, "/healthz") == (200, "application/json", '{"status": "ok"}')
    assert ask(server, "/healthz", "HEAD")[2] == ""


def test_what_is_not_there_or_is_not_asked_so_is_refused(server: DiagnosticsServer) -> None:
    assert ask(server, "/")[0] == ask(server, "/../master.key")[0] == ask(server, "/metrics/x")[0] == 404
    assert ask(server, "/metrics", "POST")[0] == 501


def test_a_controller_whose_doors_do_not_answer_is_not_ready_and_each_is_named(
    server: DiagnosticsServer, cluster: Cluster, seconds: Seconds
) -> None:
    status, _, text = ask(server, "/readyz")
    assert (status, json.loads(text)["checks"]["doors"]) == (503, "the controller has not bound any")
    BoundAddresses(NOBODY, NOBODY, NOBODY, NOBODY).save(cluster.config.data_dir)
    assert "doors" in json.loads(ask(server, "/readyz")[2])["checks"]  # nobody has looked again
    seconds.passed += 1
    status, _, text = ask(server, "/readyz")
    told = json.loads(text)
    assert (status, told["status"]) == (503, "not ready")
    assert told["checks"] == {
        **dict.fromkeys(("store", "audit"), "ok"),
        **dict.fromkeys(("web", "api", "ssh", "tunnel"), "nothing answers"),
    }


def test_what_answers_with_something_else_is_not_a_door(server: DiagnosticsServer, cluster: Cluster) -> None:
    with ExitStack() as opened:
        other = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = other.getsockname()
        BoundAddresses(NOBODY, address, address, NOBODY).save(cluster.config.data_dir)

        def greet() -> None:
            for _ in range(2):
                with other.accept()[0] as visitor:
                    visitor.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        checks = json.loads(ask(server, "/readyz")[2])["checks"]
        thread.join(20)
    assert checks["ssh"] == checks["tunnel"] == "what answers is not SSH"


def test_a_log_that_cannot_be_written_and_a_store_that_cannot_be_read_are_named(
    server: DiagnosticsServer, cluster: Cluster
) -> None:
    (cluster.config.data_dir / "log").rename(cluster.config.data_dir / "aside")
    for path in (cluster.config.data_dir / "store").iterdir():
        if path.suffix == ".json":
            path.write_text("rubbish")
    checks = json.loads(ask(server, "/readyz")[2])["checks"]
    assert "cannot be written" in checks["audit"]
    assert checks["store"] != "ok"
    assert ask(server, "/metrics")[0] == 503
    assert ask(server, "/healthz")[0] == 200


def test_prometheus_reads_nodes_certificates_and_rotations(server: DiagnosticsServer, cluster: Cluster) -> None:
    bound = BoundAddresses(NOBODY, NOBODY, NOBODY, NOBODY)
    prepare_web(cluster, bound)
    prepare_api(cluster, bound)
    before = metrics(server)
    assert sum(value for (name, _), value in before.items() if name == "skerry_nodes") == 0
    for name in ("gw-1", "gw-2"):
        assert isinstance(cluster.enrolment.join(Device(name).request(STATIC), PING, WEB), Granted)
    cluster.authority.rotate("tls", "init", cluster.clock())
    after = metrics(server)
    assert sum(value for (name, _), value in after.items() if name == "skerry_nodes") == 2
    assert after["skerry_ca_rotation_phase", "tls/init"] == 1
    assert after["skerry_ca_rotation_phase", "tls/standby"] == 0
    assert after["skerry_broker_up", ""] == 0
    assert after["skerry_nodes_certificates_expired", ""] == 0
    now = cluster.clock().timestamp()
    for name in ("web", "api", "tls_ca"):
        assert after["skerry_certificate_expiry_timestamp_seconds", name] > now


def test_a_damaged_certificate_is_left_out_and_the_rest_is_told(server: DiagnosticsServer, cluster: Cluster) -> None:
    directory = cluster.config.data_dir / "tls"
    directory.mkdir()
    (directory / "web.crt").write_bytes(b"\xff rubbish")
    found = metrics(server)
    assert ("skerry_certificate_expiry_timestamp_seconds", "web") not in found
    assert ("skerry_certificate_expiry_timestamp_seconds", "tls_ca") in found


def ended(sock: socket.socket) -> bool:
    """Wait until the other side has ended a connection; tell whether it did so without an answer."""
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


def test_who_dawdles_takes_a_place_and_is_cut_off_and_beyond_sixteen_nobody_is_let_in(
    server: DiagnosticsServer,
) -> None:
    address = server.socket.getsockname()
    with ExitStack() as opened:
        idle = [opened.enter_context(socket.create_connection(address, timeout=30)) for _ in range(40)]
        for sock in idle[16:]:
            assert ended(sock)
        assert not any(select.select(idle[:16], [], [], 0))  # they may take an hour
        server.asker_seconds = 0
        for sock in idle[:16]:
            assert ended(sock)
        server.asker_seconds = 3600
    assert ask(server, "/healthz")[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 100 + b"\r\n\r\n", b"GET " + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET\r\n", b"\x16\x03\x01"],
)
def test_garbage_is_answered_with_an_error_or_nothing_and_the_next_is_served(
    server: DiagnosticsServer, garbage: bytes
) -> None:
    with socket.create_connection(server.socket.getsockname(), timeout=20) as sock:
        try:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            answer = sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert b" 200 " not in answer
    assert ask(server, "/healthz")[0] == 200
