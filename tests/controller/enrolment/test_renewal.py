from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from controller.audit import AuditError
from controller.policy.label import LabelChange
from controller.store.tiny import TinyStore
from protocol import limits
from protocol.certificates import judge_host_certificate
from protocol.control import NodeDocument
from protocol.decision import Granted, Refused
from protocol.messages import JoinReply
from protocol.names import NodeId
from protocol.ssh.certificate import key_blob, parse_certificate_line
from tests.controller.harbour import ADMIN, PING, STATIC, WEB, Device, HandClock, Harbour, public_line

ROOT = Path(__file__).parents[3]
A, B = "a" * 32, "b" * 32


def joined(harbour: Harbour, device: Device) -> str:
    answer = harbour.join(device.request(STATIC))
    assert isinstance(answer, Granted), answer
    return answer.value.node_id


def renewed(harbour: Harbour, device: Device, node: str, generation: int, attempt: str) -> JoinReply:
    answer = harbour.renew(device, node, generation, attempt)
    assert isinstance(answer, Granted), answer
    return answer.value


def refusal(answer: object) -> str:
    assert isinstance(answer, Refused), answer
    return answer.check


def test_a_node_renews_with_its_key_and_gets_the_next_generation(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    harbour.clock.move(days=20)
    reply = renewed(harbour, device, node, 1, A)
    certificate = parse_certificate_line(reply.host_certificate)
    assert certificate.public_key == key_blob(public_line(device.key))
    authorities = {key_blob(line) for line in reply.host_authorities}
    judged = judge_host_certificate(certificate, authorities=authorities, now=harbour.clock(), role="node")
    assert isinstance(judged, Granted)
    assert (judged.value.node_id, judged.value.generation, reply.generation) == (node, 2, 2)
    assert judged.value.valid_before == harbour.clock() + limits.HOST_CERTIFICATE_TTL
    tls = x509.load_pem_x509_certificate(reply.tls_certificate.encode())
    assert tls.subject.rfc4514_string() == f"CN={node}"
    assert tls.public_key() == device.tls.public_key()
    kept = harbour.enrolment.nodes.get(NodeId(node))
    assert kept is not None
    assert (kept.generation, kept.version, kept.renewed) == (2, "0.2", harbour.clock())


def test_a_renewal_is_told_to_the_audit_log(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    renewed(harbour, device, node, 1, A)
    (entry,) = harbour.entries("SK043I")
    told = {"server_id": node, "server_hostname": "gw-1", "generation": 2, "addr.remote": WEB.address, "via": "web"}
    assert told.items() <= entry.items()
    assert "repeated" not in entry


def test_a_device_that_slept_past_the_end_of_its_certificates_renews_all_the_same(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    harbour.clock.move(days=1000)
    assert renewed(harbour, device, node, 1, A).generation == 2


def test_what_an_admin_has_changed_about_the_node_comes_with_its_next_certificates(harbour: Harbour) -> None:
    device = Device()
    node = NodeId(joined(harbour, device))
    assert renewed(harbour, device, node, 1, A).node is None
    harbour.enrolment.nodes.relabel(node, [LabelChange("env", "lab")], ADMIN)
    told = renewed(harbour, device, node, 2, B).node
    assert told
    assert NodeDocument.decode(told.body).labels == {"env": "lab"}
    assert told == harbour.control.node_documents()[node]


def test_a_renewal_whose_answer_was_lost_is_repeated_and_said_to_be_one(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    assert renewed(harbour, device, node, 1, A).generation == 2
    assert renewed(harbour, device, node, 1, A).generation == 2
    assert [entry.get("repeated", False) for entry in harbour.entries("SK043I")] == [False, True]
    assert renewed(harbour, device, node, 2, B).generation == 3
    assert harbour.locks.find(node=node) is None


def test_a_challenge_is_good_once(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    challenge = harbour.enrolment.challenge(NodeId(node)).challenge
    request = device.renewal(node, 1, challenge, A)
    assert isinstance(harbour.enrolment.renew(request, PING, WEB), Granted)
    assert refusal(harbour.enrolment.renew(request, PING, WEB)) == "N2"
    harbour.clock.now += limits.CHALLENGE_TTL - timedelta(seconds=1)
    assert refusal(harbour.enrolment.renew(request, PING, WEB)) == "N2"
    harbour.clock.move(days=2)
    assert refusal(harbour.enrolment.renew(request, PING, WEB)) == "N2"


def test_a_challenge_is_good_for_a_while_and_for_one_node(harbour: Harbour) -> None:
    device, other = Device(), Device("gw-2")
    node, neighbour = joined(harbour, device), joined(harbour, other)
    old = harbour.enrolment.challenge(NodeId(node)).challenge
    foreign = harbour.enrolment.challenge(NodeId(neighbour)).challenge
    assert refusal(harbour.enrolment.renew(device.renewal(node, 1, foreign, A), PING, WEB)) == "N2"
    harbour.clock.now += limits.CHALLENGE_TTL
    assert refusal(harbour.enrolment.renew(device.renewal(node, 1, old, A), PING, WEB)) == "N2"


@pytest.mark.parametrize("challenge", ["", "x", "é", "A" * 76, "=" * 76, "A" * 16000, "\x00"])
def test_a_challenge_that_nobody_made_is_refused(harbour: Harbour, challenge: str) -> None:
    device = Device()
    node = joined(harbour, device)
    assert refusal(harbour.enrolment.renew(device.renewal(node, 1, challenge, A), PING, WEB)) == "N2"


def test_a_challenge_of_before_a_restart_is_good_after_it(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    challenge = harbour.enrolment.challenge(NodeId(node)).challenge
    again = Harbour(harbour.store, harbour.folder, harbour.clock)
    assert isinstance(again.enrolment.renew(device.renewal(node, 1, challenge, A), PING, WEB), Granted)


@pytest.mark.parametrize(
    "change",
    [{"generation": 7}, {"attempt": B}, {"tls_request": Device().csr}, {"proof": "AAAA"}, {"proof": "no base64!"}],
    ids=lambda change: next(iter(change)),
)
def test_what_was_changed_after_it_was_signed_is_refused_and_costs_the_node_nothing(
    harbour: Harbour, change: dict[str, Any]
) -> None:
    device = Device()
    node = joined(harbour, device)
    challenge = harbour.enrolment.challenge(NodeId(node)).challenge
    request = replace(device.renewal(node, 1, challenge, A), **change)
    assert refusal(harbour.enrolment.renew(request, PING, WEB)) == "N3"
    assert isinstance(harbour.enrolment.renew(device.renewal(node, 1, challenge, A), PING, WEB), Granted)


def test_another_device_s_key_renews_nothing(harbour: Harbour) -> None:
    node = joined(harbour, Device())
    assert refusal(harbour.renew(Device(), node, 1)) == "N3"
    assert refusal(harbour.renew(Device(), "00000000-0000-4000-8000-000000000001", 1)) == "N1"
    first, second = harbour.entries("SK043W")
    assert (first["check"], first["server_hostname"]) == ("N3", "gw-1")
    assert (second["check"], "server_hostname" in second) == ("N1", False)


def test_a_key_that_cannot_be_certified_changes_nothing(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    broken = Device(key=device.key)
    broken.__dict__["csr"] = "rubbish"
    assert refusal(harbour.renew(broken, node, 1)) == "N6"
    assert renewed(harbour, device, node, 1, A).generation == 2


def test_a_node_takes_no_more_certificates_than_can_be_kept_in_mind(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    for _ in range(limits.TLS_CERTIFICATES_MAX - 1):
        renewed(harbour, device, node, 1, A)
    assert refusal(harbour.renew(device, node, 1, A)) == "N7"
    harbour.clock.now += limits.TLS_CERTIFICATE_PLACE - timedelta(seconds=1)
    assert refusal(harbour.renew(device, node, 1, A)) == "N7"
    harbour.clock.now += limits.HOST_CERTIFICATE_TTL + limits.CLOCK_LEEWAY
    assert renewed(harbour, device, node, 1, A).generation == 2
    kept = harbour.enrolment.nodes.get(NodeId(node))
    assert kept is not None
    assert len(kept.tls_serials) == 1


def test_a_node_whose_answers_get_lost_every_hour_is_never_refused_and_what_it_did_not_get_is_taken_back(
    harbour: Harbour,
) -> None:
    device = Device()
    node = joined(harbour, device)
    handed: list[int] = []
    for _ in range(limits.TLS_CERTIFICATES_MAX + 5):
        harbour.clock.move(minutes=30)
        reply = renewed(harbour, device, node, 1, A)
        handed.append(x509.load_pem_x509_certificate(reply.tls_certificate.encode()).serial_number)
    kept = harbour.enrolment.nodes.get(NodeId(node))
    assert kept is not None
    assert [int(held.serial, 16) for held in kept.tls_serials] == handed[-limits.TLS_CERTIFICATES_MAX :]
    revoked = harbour.store.collection("revoked").list(now=harbour.clock())
    assert set(handed[:5]) < {int(record.key, 16) for record in revoked}
    assert len(revoked) == 6  # those, and the one that it joined with
    assert all("node_id" not in record.value for record in revoked)  # for it is a node still


@pytest.mark.parametrize("shows", ["nothing", "its own certificate", "another device's", "rubbish"])
def test_who_says_a_higher_generation_than_its_certificate_is_a_clone(harbour: Harbour, shows: str) -> None:
    device, other = Device(), Device("other")
    first = harbour.join(device.request(harbour.token()))
    theirs = harbour.join(other.request(harbour.token()))
    assert isinstance(first, Granted)
    assert isinstance(theirs, Granted)
    shown = {
        "nothing": "",
        "its own certificate": first.value.host_certificate,
        "another device's": theirs.value.host_certificate,
        "rubbish": "ssh-ed25519-cert-v01@openssh.com AAAA",
    }
    assert refusal(harbour.renew(device, first.value.node_id, 2, certificate=shown[shows])) == "N5"
    assert harbour.locks.find(node=first.value.node_id) is not None
    assert len(harbour.entries("TCB03W")) == 1


def test_a_removed_node_renews_no_more_and_each_of_its_certificates_is_revoked(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    second = renewed(harbour, device, node, 1, A)
    kept = harbour.enrolment.nodes.get(NodeId(node))
    assert kept is not None
    harbour.enrolment.nodes.remove(NodeId(node), ADMIN)
    revoked = harbour.store.collection("revoked").list(now=harbour.clock())
    assert {record.key for record in revoked} == {held.serial for held in kept.tls_serials}
    assert len(revoked) == 2
    serial = x509.load_pem_x509_certificate(second.tls_certificate.encode()).serial_number
    assert f"{serial:x}" in {record.key for record in revoked}
    assert all(record.value == {"node_id": node} and record.expires is not None for record in revoked)
    assert refusal(harbour.renew(device, node, 2, B)) == "N1"
    harbour.clock.now += limits.HOST_CERTIFICATE_TTL + limits.CLOCK_LEEWAY
    assert list(harbour.store.collection("revoked").list(now=harbour.clock())) == []


def test_a_locked_node_renews_no_more_until_the_lock_is_gone(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    lock = harbour.locks.add("node", node, "under repair", None, ADMIN)
    assert refusal(harbour.renew(device, node, 1)) == "N4"
    assert "under repair" in harbour.entries("SK043W")[0]["error"]
    harbour.locks.remove(lock.lock_id, ADMIN)
    assert renewed(harbour, device, node, 1, A).generation == 2


def test_a_node_ahead_of_a_controller_that_was_put_back_goes_on_and_the_event_says_so(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    before = harbour.enrolment.nodes.find(NodeId(node))
    assert before is not None
    certificate = renewed(harbour, device, node, 1, A).host_certificate
    after = harbour.enrolment.nodes.find(NodeId(node))
    assert after is not None
    assert harbour.enrolment.nodes.replace(after, before.node)  # as a backup puts it back
    reply = harbour.renew(device, node, 2, B, certificate=certificate)
    assert isinstance(reply, Granted)
    assert reply.value.generation == 3
    assert harbour.entries("SK043I")[-1]["expected"] == 1


def test_a_renewal_that_the_audit_log_cannot_be_told_of_is_repeated_when_it_can(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.renew(device, node, 1, A)
    assert renewed(harbour, device, node, 1, A).generation == 2
    assert harbour.locks.find(node=node) is None


def test_one_renewal_asked_by_eight_threads_at_once_is_one_generation(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: harbour.renew(device, node, 1, A), range(8)))
    assert [answer.value.generation for answer in answers if isinstance(answer, Granted)] == [2] * 8
    assert len(harbour.entries("SK043I")) == 8


RACER = """
import json, sys
from pathlib import Path
from controller.store.tiny import TinyStore
from protocol.decision import Granted
from protocol.renewals import RenewRequest
from tests.controller.harbour import PING, WEB, HandClock, Harbour
harbour = Harbour(TinyStore(Path(sys.argv[1]) / "store"), Path(sys.argv[1]), HandClock())
request = RenewRequest.from_dict(json.loads(sys.stdin.readline()))
print("ready", flush=True)
sys.stdin.readline()
print(isinstance(harbour.enrolment.renew(request, PING, WEB), Granted))
"""


def test_of_two_processes_that_are_sent_one_request_one_takes_its_challenge(tmp_path: Path) -> None:
    harbour = Harbour(TinyStore(tmp_path / "store"), tmp_path, HandClock())
    device = Device()
    node = joined(harbour, device)
    challenge = harbour.enrolment.challenge(NodeId(node)).challenge
    line = json.dumps(device.renewal(node, 1, challenge, A).to_dict()) + "\n"
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdin
        assert racer.stdout
        racer.stdin.write(line)
        racer.stdin.flush()
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert sorted(won) == ["False", "True"]
    assert harbour.entries("SK043W")[0]["check"] == "N2"


def test_of_a_node_that_is_removed_while_it_renews_no_certificate_stays_good(harbour: Harbour) -> None:
    device = Device()
    node = joined(harbour, device)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(harbour.renew, device, node, 1, A) for _ in range(5)]
        pool.submit(harbour.enrolment.nodes.remove, NodeId(node), ADMIN).result()
        answers = [job.result() for job in asked]
    assert harbour.enrolment.nodes.get(NodeId(node)) is None
    handed_out = [answer.value.tls_certificate for answer in answers if isinstance(answer, Granted)]
    serials = {f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:x}" for pem in handed_out}
    revoked = {record.key for record in harbour.store.collection("revoked").list(now=harbour.clock())}
    assert serials < revoked  # and the one that it had joined with
    assert {refusal(answer) for answer in answers if isinstance(answer, Refused)} <= {"N1"}
