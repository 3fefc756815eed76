from __future__ import annotations

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.audit import AuditError
from controller.enrolment.tokens import mark_of
from controller.store.tiny import TinyStore
from protocol import limits, messages
from protocol.certificates import judge_host_certificate
from protocol.decision import Granted, Refused
from protocol.messages import JoinReply, JoinRequest
from protocol.names import NodeId
from protocol.ssh.certificate import key_blob, parse_certificate_line
from tests.controller.harbour import STATIC, Device, HandClock, Harbour, public_line

ROOT = Path(__file__).parents[3]
_HARDWARE = "sk-ssh-ed25519@openssh.com"


def joined(harbour: Harbour, request: JoinRequest) -> JoinReply:
    answer = harbour.join(request)
    assert isinstance(answer, Granted), answer
    return answer.value


def refused(harbour: Harbour, request: JoinRequest, check: str) -> None:
    answer = harbour.join(request)
    assert isinstance(answer, Refused)
    assert answer.check == check
    assert list(harbour.enrolment.nodes.list()) == []


def test_a_device_with_a_token_becomes_a_node_with_certificates_for_its_own_keys(harbour: Harbour) -> None:
    device, token = Device(), harbour.token(labels={"env": "staging"})
    reply = joined(harbour, device.request(token, labels={"site": "pier", "env": "prod"}))
    assert reply.labels == {"env": "staging", "site": "pier"}
    certificate = parse_certificate_line(reply.host_certificate)
    assert certificate.public_key == key_blob(public_line(device.key))
    authorities = {key_blob(line) for line in reply.host_authorities}
    judged = judge_host_certificate(certificate, authorities=authorities, now=harbour.clock(), role="node")
    assert isinstance(judged, Granted)
    assert (judged.value.node_id, judged.value.generation) == (reply.node_id, 1)
    tls = x509.load_pem_x509_certificate(reply.tls_certificate.encode())
    assert tls.subject.rfc4514_string() == f"CN={reply.node_id}"
    assert tls.public_key() == device.tls.public_key()
    tls.verify_directly_issued_by(x509.load_pem_x509_certificate(reply.tls_authorities[0].encode()))
    assert (reply.tunnel_address, reply.api_address) == (":3024", ":3025")
    assert reply.recording == harbour.terms.current()


def test_what_was_joined_is_kept_and_audited_without_the_token(harbour: Harbour) -> None:
    token = harbour.token()
    reply = joined(harbour, Device().request(token))
    node = harbour.enrolment.nodes.get(reply.node_id)
    assert node is not None
    assert (node.name, node.token, node.version, node.joined) == ("gw-1", "****" + token[-4:], "0.1", harbour.clock())
    assert node.token_mark == mark_of(token)
    (entry,) = harbour.entries("TJ002I")
    assert (entry["host_id"], entry["node_name"], entry["success"]) == (reply.node_id, "gw-1", True)
    kept = [path.read_text() for path in harbour.folder.rglob("*") if path.is_file()]
    assert not any(token in text for text in kept)


def test_a_token_for_two_is_good_for_two_and_gone_then(harbour: Harbour) -> None:
    token = harbour.token(uses=2)
    assert joined(harbour, Device().request(token)).node_id != joined(harbour, Device().request(token)).node_id
    answer = harbour.join(Device().request(token))
    assert isinstance(answer, Refused)
    assert answer.check == "J3"
    assert harbour.entries("TJ002E")[0]["token"] == "****" + token[-4:]


def test_a_static_token_is_reusable(harbour: Harbour) -> None:
    for _ in range(3):
        joined(harbour, Device().request(STATIC))
    assert len(harbour.enrolment.nodes.list()) == 3


def test_an_expired_token_is_refused(harbour: Harbour) -> None:
    token = harbour.token()
    harbour.clock.now += limits.JOIN_TOKEN_TTL
    refused(harbour, Device().request(token), "J2")
    harbour.clock.move(days=60)
    refused(harbour, Device().request(token), "J1")  # forgotten by then


def test_an_unknown_token_is_refused(harbour: Harbour) -> None:
    refused(harbour, Device().request("insecure-unknown-token"), "J1")


def proof_by(key: Ed25519PrivateKey, token: str, device: Device, **other: str) -> str:
    line, csr = other.get("line", public_line(device.key)), other.get("csr", device.csr)
    return base64.b64encode(key.sign(messages.join_statement(token, line, csr))).decode()


@pytest.mark.parametrize("case", ["another key", "another token", "another request", "no base64", "half", "empty"])
def test_a_device_that_does_not_prove_its_key_is_refused_and_the_token_stays_whole(harbour: Harbour, case: str) -> None:
    device, token = Device(), harbour.token()
    proofs = {
        "another key": proof_by(Ed25519PrivateKey.generate(), token, device),
        "another token": proof_by(device.key, STATIC, device),
        "another request": proof_by(device.key, token, device, csr=Device().csr),
        "no base64": "!!!!",
        "half": proof_by(device.key, token, device)[:40],
        "empty": "",
    }
    refused(harbour, device.request(token, proof=proofs[case]), "J4")
    joined(harbour, device.request(token))


def test_a_proof_cannot_be_moved_to_another_device_s_key(harbour: Harbour) -> None:
    owner, thief, token = Device(), Device(), harbour.token()
    stolen = owner.request(token).proof
    refused(harbour, thief.request(token, proof=stolen), "J4")
    line = public_line(owner.key)
    refused(harbour, thief.request(token, proof=stolen, ssh_public_key=line), "J4")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(public_line(ec.generate_private_key(ec.SECP256R1())), id="ECDSA"),
        pytest.param(public_line(rsa.generate_private_key(65537, 2048)), id="RSA"),
        pytest.param("ssh-ed25519 AAAA", id="cut"),
        pytest.param(
            f"{_HARDWARE} {base64.b64encode(bytes([0, 0, 0, 26]) + _HARDWARE.encode()).decode()}",
            id="a key in hardware",
        ),
        pytest.param("ssh-foo AAAAB3NzaC1kc3M=", id="unknown kind"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_host_key_of_another_kind_or_none_is_refused(harbour: Harbour, line: str) -> None:
    refused(harbour, Device().request(harbour.token(), ssh_public_key=line), "J4")


def with_request(device: Device, token: str, csr: str) -> JoinRequest:
    return device.request(token, tls_request=csr, proof=proof_by(device.key, token, device, csr=csr))


def test_a_certificate_request_that_its_own_key_did_not_sign_is_refused_and_spends_nothing(harbour: Harbour) -> None:
    device, token = Device(), harbour.token()
    der = bytearray(base64.b64decode("".join(device.csr.splitlines()[1:-1])))
    der[-10] ^= 1  # in the signature
    lines = base64.encodebytes(bytes(der)).decode()
    forged = f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n"
    for csr in (forged, "rubbish", "", device.csr[:200], "x" * 16_000):
        refused(harbour, with_request(device, token, csr), "J7")
    joined(harbour, device.request(token))


def test_a_name_in_the_request_counts_for_nothing(harbour: Harbour) -> None:
    device, token = Device(), harbour.token()
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "00000000-0000-4000-8000-000000000001")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(device.tls, SHA256())
    reply = joined(harbour, with_request(device, token, request.public_bytes(Encoding.PEM).decode()))
    tls = x509.load_pem_x509_certificate(reply.tls_certificate.encode())
    assert tls.subject.rfc4514_string() == f"CN={reply.node_id}"


@pytest.mark.parametrize("name", ["skerry.example", "SKERRY.example", "harbour", "Web"])
def test_no_device_may_bear_the_controller_s_name(harbour: Harbour, name: str) -> None:
    refused(harbour, Device(name).request(harbour.token()), "J5")


def test_two_devices_of_one_name_both_join(harbour: Harbour) -> None:
    assert harbour.node("twin").node_id != harbour.node("twin").node_id


def test_of_eight_threads_that_race_for_one_use_exactly_one_joins(harbour: Harbour) -> None:
    token = harbour.token()
    requests = [Device(f"gw-{number}").request(token) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(harbour.join, requests))
    assert sum(isinstance(answer, Granted) for answer in answers) == 1
    assert len(harbour.enrolment.nodes.list()) == 1
    assert len(harbour.entries("TJ002I")) == 1
    assert len(harbour.entries("TJ002E")) == 7


def test_eight_threads_that_race_for_five_uses_are_five_nodes(harbour: Harbour) -> None:
    token = harbour.token(uses=5)
    requests = [Device(f"gw-{number}").request(token) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(harbour.join, requests))
    assert sum(isinstance(answer, Granted) for answer in answers) == 5
    assert len(harbour.enrolment.nodes.list()) == 5


RACER = """
import json, sys
from pathlib import Path
from controller.store.tiny import TinyStore
from protocol.decision import Granted
from protocol.messages import JoinRequest
from tests.controller.harbour import HandClock, Harbour
harbour = Harbour(TinyStore(Path(sys.argv[1]) / "store"), Path(sys.argv[1]), HandClock())
requests = [JoinRequest.from_dict(each) for each in json.loads(sys.stdin.readline())]
print("ready", flush=True)
sys.stdin.readline()
print(sum(isinstance(harbour.join(each), Granted) for each in requests))
"""


def test_of_two_processes_that_race_for_each_of_ten_uses_each_use_is_one_join(tmp_path: Path) -> None:
    harbour = Harbour(TinyStore(tmp_path / "store"), tmp_path, HandClock())
    tokens = [harbour.token() for _ in range(10)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path)],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for number, racer in enumerate(racers):
        assert racer.stdin
        assert racer.stdout
        requests = [Device(f"racer-{number}").request(token).to_dict() for token in tokens]
        racer.stdin.write(json.dumps(requests) + "\n")
        racer.stdin.flush()
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum(won) == 10
    assert len(harbour.enrolment.nodes.list()) == 10
    assert len(harbour.entries("TJ002I")) == 10
    assert len(harbour.entries("TJ002E")) == 10


def test_a_device_that_the_audit_log_cannot_be_told_of_is_not_enrolled(harbour: Harbour) -> None:
    request = Device().request(harbour.token())
    with harbour.unwritable_log(), pytest.raises(AuditError):
        harbour.join(request)
    assert list(harbour.enrolment.nodes.list()) == []


def test_a_node_that_does_not_exist_is_none(harbour: Harbour) -> None:
    assert harbour.enrolment.nodes.get(NodeId("00000000-0000-4000-8000-000000000001")) is None
