from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from controller.accounts import Origin
from controller.presence import Tunnel
from controller.web import api_v1
from protocol import endpoints, limits, messages
from protocol.names import NodeId
from protocol.renewals import Challenge
from tests.controller.harbour import Device
from tests.controller.web.lab import CLUSTER, PASSWORD, HandClock, Lab, Person

BASE = "https://skerry.example:3080"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def api(lab: Lab) -> FlaskClient:
    return lab.app().test_client()


@pytest.fixture
def ada(lab: Lab, clock: HandClock) -> Person:
    person = lab.person("ada", "pi", "root")
    clock.pass_(MINUTE)
    return person


def public_key() -> str:
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def ask(api: FlaskClient, endpoint: endpoints.Endpoint, body: object = None, token: str = "") -> TestResponse:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.open(endpoint.path, method=endpoint.method, base_url=BASE, data=data, headers=headers)


def error_of(response: TestResponse) -> str:
    return messages.ErrorReply.from_dict(response.get_json()).message


def sign_in_body(person: Person, clock: HandClock, **changes: object) -> dict[str, object]:
    body: dict[str, object] = {
        "user": person.name,
        "password": PASSWORD,
        "otp": person.code(clock()),
        "public_key": public_key(),
        "ttl_seconds": 3600,
        "client": "tsh 0.1.0",
    }
    return body | changes


def signed_in(api: FlaskClient, person: Person, clock: HandClock, **changes: object) -> messages.SignInReply:
    response = ask(api, endpoints.SIGN_IN, sign_in_body(person, clock, **changes))
    assert response.status_code == 200, response.text
    return messages.SignInReply.from_dict(response.get_json())


def test_anyone_may_ask_who_the_controller_is_and_for_its_anchors(api: FlaskClient, lab: Lab) -> None:
    assert messages.Ping.from_dict(ask(api, endpoints.PING).get_json()).cluster_name == CLUSTER
    anchors = ask(api, endpoints.AUTHORITIES).get_json()["anchors"]
    assert [anchors] == list(lab.authority.tls_authorities())
    assert len(x509.load_pem_x509_certificates(anchors.encode())) == 1


def test_a_sign_in_brings_a_certificate_and_a_session_that_end_together(
    api: FlaskClient, lab: Lab, ada: Person, clock: HandClock
) -> None:
    reply = signed_in(api, ada, clock)
    certificate = serialization.load_ssh_public_identity(reply.certificate.encode())
    assert isinstance(certificate, serialization.SSHCertificate)
    assert certificate.valid_principals == [b"pi", b"root"]
    assert certificate.valid_before == reply.valid_until
    assert reply.valid_until == int((clock() + timedelta(hours=1)).timestamp())
    assert reply.host_authorities == lab.authority.ssh_authorities("host")
    token = reply.session_token.reveal()
    lab.enrol(1, "buoy", Tunnel("up", clock()), env="x")
    found = messages.NodeList.from_dict(ask(api, endpoints.NODES, token=token).get_json())
    assert [(entry.name, entry.address) for entry in found.nodes] == [("buoy", "⟵ Tunnel")]
    clock.pass_(timedelta(hours=1))
    assert ask(api, endpoints.NODES, token=token).status_code == 401


def test_a_lifetime_beyond_all_measure_becomes_the_longest_there_is(
    api: FlaskClient, ada: Person, clock: HandClock
) -> None:
    reply = signed_in(api, ada, clock, ttl_seconds=2**62)
    assert reply.valid_until == int((clock() + limits.USER_CERTIFICATE_MAX).timestamp())


def test_signing_out_ends_the_session(api: FlaskClient, ada: Person, clock: HandClock) -> None:
    token = signed_in(api, ada, clock).session_token.reveal()
    assert ask(api, endpoints.SIGN_OUT, token=token).status_code == 200
    assert ask(api, endpoints.SIGN_OUT, token=token).status_code == 401


def test_whatever_is_wrong_with_a_sign_in_the_answer_is_the_same(
    api: FlaskClient, ada: Person, clock: HandClock
) -> None:
    wrong = [{"password": "insecure wrong"}, {"otp": "000000"}, {"otp": "x"}, {"user": "nobody"}, {"password": ""}]
    answers = [ask(api, endpoints.SIGN_IN, sign_in_body(ada, clock, **change)) for change in wrong]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert error_of(answers[0]) == "invalid username, password or second factor"


def test_a_key_that_cannot_be_certified_is_told_apart_and_opens_no_session(
    api: FlaskClient, ada: Person, clock: HandClock
) -> None:
    response = ask(api, endpoints.SIGN_IN, sign_in_body(ada, clock, public_key="ssh-rsa AAAA"))
    assert (response.status_code, error_of(response)) == (400, api_v1.KEY_REFUSED)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b"1" * 5_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b"{}", "missing"),
        (b'{"user": 5}', "user: "),
        (b'{"user": "ada", "password": ["x"]}', "password: "),
        (b'{"user": "ada", "password": "\\ud800"}', "not Unicode"),
        (b'{"user": "a\\u0000b"}', "user: "),
        (b'{"user": "ada", "password": "x", "otp": "x", "public_key": "x", "ttl_seconds": -1}', "ttl_seconds: "),
        (b'{"user": "ada", "password": "x", "otp": "x", "public_key": "x", "ttl_seconds": 1.5}', "ttl_seconds: "),
    ],
)
def test_a_bad_body_is_told_in_one_line(
    api: FlaskClient, body: bytes, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = ask(api, endpoints.SIGN_IN, body)
    assert response.status_code == 400
    assert part in error_of(response)
    assert "\n" not in error_of(response)
    assert "Traceback" not in caplog.text


def test_a_body_over_the_bound_is_refused(api: FlaskClient) -> None:
    response = ask(api, endpoints.SIGN_IN, b" " * (limits.HTTP_BODY_MAX + 1))
    assert (response.status_code, response.content_type) == (413, "application/json")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer " + "A" * 43, "Bearer é", "Bearer a b"]
)
def test_a_bad_bearer_token_is_a_401(api: FlaskClient, header: str) -> None:
    response = api.get("/v1/nodes", base_url=BASE, headers={"Authorization": header.encode().decode("latin-1")})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_paths_and_methods_that_are_none_are_answered_in_json(api: FlaskClient) -> None:
    assert error_of(api.get("/v1/nope", base_url=BASE)) == "There is nothing at this address."
    wrong = api.delete("/v1/nodes", base_url=BASE)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, HEAD")


def join_body(token: str, name: str = "buoy-7", **changes: object) -> dict[str, object]:
    host, tls = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    line = host.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    request = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    pem = request.sign(tls, None).public_bytes(serialization.Encoding.PEM).decode()
    proof = base64.b64encode(host.sign(messages.join_statement(token, line, pem))).decode()
    body: dict[str, object] = {
        "token": token,
        "name": name,
        "labels": {},
        "ssh_public_key": line,
        "tls_request": pem,
        "proof": proof,
        "version": "0.1.0",
    }
    return body | changes


def new_token(lab: Lab) -> str:
    token, _ = lab.enrolment.tokens.add(
        ttl=limits.JOIN_TOKEN_TTL, uses=1, labels={"env": "staging"}, claimable=None, origin=Origin(via="tctl")
    )
    return token.reveal()


def test_a_device_joins_once_with_its_token(api: FlaskClient, lab: Lab) -> None:
    token = new_token(lab)
    response = ask(api, endpoints.JOIN, join_body(token))
    assert response.status_code == 200, response.text
    reply = messages.JoinReply.from_dict(response.get_json())
    assert (reply.name, reply.labels, reply.tunnel_address) == ("buoy-7", {"env": "staging"}, ":3024")
    assert [node.node_id for node in lab.enrolment.nodes.list()] == [reply.node_id]
    again = ask(api, endpoints.JOIN, join_body(token))
    assert (again.status_code, error_of(again)) == (403, api_v1.JOIN_REFUSED)


def test_why_a_token_is_not_accepted_is_not_told(api: FlaskClient, lab: Lab, clock: HandClock) -> None:
    expired, unproven = new_token(lab), new_token(lab)
    clock.pass_(limits.JOIN_TOKEN_TTL)
    bodies = [
        join_body("A" * 32),
        join_body(expired),
        join_body(unproven, proof="AAAA"),
        join_body(unproven, tls_request="x"),
    ]
    answers = [ask(api, endpoints.JOIN, body) for body in bodies]
    assert {(answer.status_code, error_of(answer)) for answer in answers} == {(403, api_v1.JOIN_REFUSED)}


def test_an_address_that_guesses_tokens_too_often_is_told_when_to_come_back(lab: Lab) -> None:
    api = lab.app(per_minute=2).test_client()
    answers = [ask(api, endpoints.JOIN, join_body("A" * 32)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [403, 403, 429]
    assert answers[2].headers["Retry-After"] == "30"
    assert error_of(answers[2]).startswith("Too many requests")


def test_a_store_that_fails_is_a_503_without_the_reason(lab: Lab, tmp_path: Path, clock: HandClock) -> None:
    person = lab.person("ada")
    clock.pass_(MINUTE)
    api = lab.app().test_client()
    for file in (tmp_path / "store").rglob("*"):
        if file.is_file() and file.suffix == ".json":
            file.write_bytes(b"insecure garbage")
    response = ask(api, endpoints.SIGN_IN, sign_in_body(person, clock))
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert str(tmp_path) not in response.text


def joined_device(api: FlaskClient, token: str) -> tuple[Device, messages.JoinReply]:
    device = Device()
    response = ask(api, endpoints.JOIN, device.request(token).to_dict())
    assert response.status_code == 200
    return device, messages.JoinReply.from_dict(response.get_json())


def challenge_for(api: FlaskClient, node_id: str) -> str:
    response = ask(api, endpoints.RENEW_CHALLENGE, {"node_id": node_id})
    assert response.status_code == 200
    return Challenge.from_dict(response.get_json()).challenge


def renew(api: FlaskClient, device: Device, node_id: str, generation: int, attempt: str = "a" * 32) -> TestResponse:
    body = device.renewal(node_id, generation, challenge_for(api, node_id), attempt)
    return ask(api, endpoints.RENEW, body.to_dict())


def a_token(lab: Lab, *, approve: bool = False) -> str:
    made, _ = lab.enrolment.tokens.add(
        ttl=limits.JOIN_TOKEN_TTL, uses=1, labels={}, claimable=None, origin=Origin(via="tctl"), approve=approve
    )
    return made.reveal()


def test_a_node_renews_over_the_web_door(api: FlaskClient, lab: Lab) -> None:
    device, joined = joined_device(api, a_token(lab))
    response = renew(api, device, joined.node_id, 1)
    assert response.status_code == 200
    reply = messages.JoinReply.from_dict(response.get_json())
    assert (reply.node_id, reply.generation, reply.pending) == (joined.node_id, 2, False)
    assert reply.host_certificate != joined.host_certificate


def test_a_challenge_tells_the_time_and_not_whether_there_is_such_a_node(
    api: FlaskClient, lab: Lab, clock: HandClock
) -> None:
    _, joined = joined_device(api, a_token(lab))
    known = ask(api, endpoints.RENEW_CHALLENGE, {"node_id": joined.node_id})
    stranger = ask(api, endpoints.RENEW_CHALLENGE, {"node_id": "00000000-0000-4000-8000-000000000009"})
    assert known.status_code == stranger.status_code == 200
    challenges = [Challenge.from_dict(each.get_json()) for each in (known, stranger)]
    assert [each.time for each in challenges] == [int(clock().timestamp() * 1000)] * 2
    assert len({len(each.challenge) for each in challenges}) == 1


def test_whatever_is_wrong_with_a_renewal_is_told_in_one_sentence(api: FlaskClient, lab: Lab) -> None:
    stranger = NodeId("00000000-0000-4000-8000-000000000009")
    device, joined = joined_device(api, a_token(lab))
    renew(api, device, joined.node_id, 1)
    good = device.renewal(joined.node_id, 2, challenge_for(api, joined.node_id), "b" * 32)
    bodies = [
        replace(good, proof="AAAA"),
        replace(good, node_id=stranger, challenge=challenge_for(api, stranger)),
        device.renewal(joined.node_id, 1, challenge_for(api, joined.node_id), "b" * 32),
        device.renewal(joined.node_id, 2, challenge_for(api, joined.node_id), "c" * 32),  # locked by the one before
    ]
    answers = [ask(api, endpoints.RENEW, body.to_dict()) for body in bodies]
    assert {(answer.status_code, error_of(answer)) for answer in answers} == {(403, api_v1.RENEWAL_REFUSED)}
    checks = [entry["check"] for entry in lab.audit.entries(kinds=["SK043W"])]
    assert checks == ["N3", "N1", "N4"]
    assert len(list(lab.audit.entries(kinds=["TCB03W"]))) == 1


def test_a_challenge_that_is_no_good_is_worth_another_try_and_does_not_tell_whether_there_is_such_a_node(
    api: FlaskClient, lab: Lab
) -> None:
    device, joined = joined_device(api, a_token(lab))
    good = device.renewal(joined.node_id, 1, challenge_for(api, joined.node_id), "b" * 32)
    stranger = NodeId("00000000-0000-4000-8000-000000000009")
    bodies = [replace(good, challenge="x" * 76), replace(good, challenge="x" * 76, node_id=stranger)]
    answers = [ask(api, endpoints.RENEW, body.to_dict()) for body in bodies]
    assert {(answer.status_code, error_of(answer)) for answer in answers} == {(409, api_v1.RENEWAL_REFUSED)}
    assert [entry["check"] for entry in lab.audit.entries(kinds=["SK043W"])] == ["N2", "N2"]


def test_a_node_that_waits_is_told_when_to_come_again(api: FlaskClient, lab: Lab) -> None:
    device, joined = joined_device(api, a_token(lab, approve=True))
    assert joined.pending
    response = renew(api, device, joined.node_id, 0)
    assert (response.status_code, response.get_json()) == (202, {"pending": True})
    assert response.headers["Retry-After"] == str(int(limits.PENDING_RETRY.total_seconds()))
    lab.enrolment.nodes.approve(joined.node_id, Origin(via="tctl"))
    approved = renew(api, device, joined.node_id, 0)
    assert approved.status_code == 200
    assert messages.JoinReply.from_dict(approved.get_json()).generation == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"\xff", b'{"node_id": "../x"}', b'{"node_id": 7}', b"[" * 100_000, b'{"node_id": "\\ud800"}'],
)
@pytest.mark.parametrize("endpoint", [endpoints.RENEW, endpoints.RENEW_CHALLENGE], ids=["renew", "challenge"])
def test_a_renewal_that_is_none_is_told_so(api: FlaskClient, endpoint: endpoints.Endpoint, body: bytes) -> None:
    assert ask(api, endpoint, body).status_code == 400


def test_renewals_count_against_the_address(lab: Lab) -> None:
    api = lab.app(per_minute=2).test_client()
    node = "00000000-0000-4000-8000-000000000009"
    answers = [ask(api, endpoints.RENEW_CHALLENGE, {"node_id": node}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
