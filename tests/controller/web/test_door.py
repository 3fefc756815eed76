"""The web application behind its real server: TLS, threads, a store on disk that two processes share."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.accounts import codes
from controller.web.headers import HEADERS
from protocol import limits
from tests.controller.web.lab import PASSWORD, Lab
from tests.harness.running_door import RunningDoor

StartDoor = Callable[..., RunningDoor]


@pytest.fixture
def shared(tmp_path: Path) -> Lab:
    return Lab.open(tmp_path)


@pytest.fixture
def door(start_door: StartDoor, shared: Lab, tmp_path: Path) -> RunningDoor:
    assert isinstance(shared, Lab)  # opened first: it makes the keys
    return start_door("web", data_dir=str(tmp_path), numbers={"workers": 2})


def ask(
    door: RunningDoor, method: str, path: str, body: bytes | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPSConnection("localhost", door.port, timeout=100, context=door.client())
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def public_key() -> str:
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def test_a_hundred_sign_ins_at_once_with_one_code_are_answered_and_one_succeeds(door: RunningDoor, shared: Lab) -> None:
    person = shared.person("ada")
    secret = person.secret
    used, code = person.code(shared.clock()), codes.code_at(secret, shared.clock() + limits.TOTP_PERIOD)
    assert used != code
    body = json.dumps(
        {"user": "ada", "password": PASSWORD, "otp": code, "public_key": public_key(), "ttl_seconds": 600}
    ).encode()
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: ask(door, "POST", "/v1/sign-in", body)[0], range(100)))
    assert Counter(answers) == {200: 1, 401: 99}
    assert "Traceback" not in door.log()


def test_the_log_holds_no_token_and_one_line_a_request(door: RunningDoor, shared: Lab) -> None:
    token = shared.invite("ada").token.reveal()
    assert ask(door, "GET", f"/web/invite/{token}")[0] == 200
    assert ask(door, "GET", f"/nowhere/{token}")[0] == 404
    assert ask(door, "GET", f"/web/invite/{token}/{'x' * 9000}")[0] == 414
    log = door.wait_for_log("(no such path) 404 127.0.0.1")
    assert token not in log
    assert len(re.findall(r"GET /web/invite/<token> 200 127\.0\.0\.1 \d+ ms", log)) == 1


def test_a_body_over_the_bound_is_a_413_that_the_peer_can_read(door: RunningDoor) -> None:
    size = limits.HTTP_BODY_MAX + 1
    status, headers, body = ask(door, "POST", "/v1/sign-in", b" " * size)
    assert (status, headers["Content-Type"]) == (413, "application/json")
    assert b"larger than this door accepts" in body


@pytest.mark.parametrize("body", [b"zz\r\n", b"-5\r\nabcde\r\n0\r\n\r\n", b"5\r\nabcdeXX0\r\n\r\n"])
def test_a_body_of_malformed_chunks_is_a_400(door: RunningDoor, body: bytes) -> None:
    with door.connect() as sock:
        sock.sendall(b"POST /v1/join HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        assert sock.recv(100).startswith(b"HTTP/1.1 400 ")
    assert ask(door, "GET", "/v1/ping")[0] == 200


def test_a_huge_body_that_dawdles_is_refused_before_it_comes(door: RunningDoor) -> None:
    with door.connect() as sock:
        began = time.monotonic()
        sock.sendall(b"POST /v1/join HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 413 ")
        assert time.monotonic() - began < limits.HTTP_REQUEST_GRACE.total_seconds()


def test_real_answers_carry_the_headers(door: RunningDoor) -> None:
    for path in ("/web/login", "/v1/ping", "/nowhere"):
        _, headers, _ = ask(door, "GET", path)
        for name, value in HEADERS.items():
            assert headers[name] == value
