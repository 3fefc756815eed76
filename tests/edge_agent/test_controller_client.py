"""The agent's HTTPS client against servers that behave as none should."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edge_agent import controller_client
from edge_agent.controller_client import Door, anchored_trust, ask, no_trust, pinned_trust, system_trust
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from protocol import endpoints
from tests.harness.simulated_controller import TlsAuthority

Serve = Callable[[bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]], Awaitable[int]]


class Doorway:
    """A TLS server with one certificate that answers everybody alike."""

    def __init__(self, directory: Path) -> None:
        self.authority = TlsAuthority()
        self.key = generate_private_key(SECP256R1())
        self.leaf = self.authority.issue("insecure test server", self.key.public_key(), [x509.DNSName("api.simulated")])
        chain, private = directory / "chain.pem", directory / "key.pem"
        chain.write_text(self.leaf + self.authority.pem)
        private.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, private)
        self.answer: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] = b""
        self.port = 0

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def door(self, name: str | None = "api.simulated") -> Door:
        return Door("127.0.0.1", self.port, anchored_trust([self.authority.pem]), name)


@pytest.fixture
async def doorway(tmp_path: Path) -> AsyncIterator[Doorway]:
    made = Doorway(tmp_path)
    server = await asyncio.start_server(made.greet, "127.0.0.1", 0, ssl=made.context)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_an_answer_is_read(doorway: Doorway) -> None:
    doorway.answer = http("200 OK", b'{"sequence": 4}')
    assert await ask(doorway.door(), endpoints.EVENTS, {"events": []}) == {"sequence": 4}


async def test_a_server_of_another_name_is_not_trusted(doorway: Doorway) -> None:
    doorway.answer = http("200 OK", b"{}")
    with pytest.raises(UntrustedError, match=r"(IP address|Hostname) mismatch"):
        await ask(doorway.door(None), endpoints.EVENTS, {})


async def test_a_server_of_another_authority_is_not_trusted(doorway: Doorway) -> None:
    stranger = Door("127.0.0.1", doorway.port, anchored_trust([TlsAuthority().pem]), "api.simulated")
    with pytest.raises(UntrustedError):
        await ask(stranger, endpoints.EVENTS, {})
    with pytest.raises(UntrustedError):
        await ask(Door("127.0.0.1", doorway.port, system_trust(), "api.simulated"), endpoints.EVENTS, {})


async def test_a_pinned_leaf_is_trusted_and_the_name_still_checked(doorway: Doorway) -> None:
    spki = doorway.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = doorway.leaf.replace("\n", "\\n")
    doorway.answer = http("200 OK", f'{{"anchors": "{pem}"}}'.encode())
    context = await pinned_trust("127.0.0.1", doorway.port, ["sha256:" + hashlib.sha256(spki).hexdigest()])
    assert await ask(Door("127.0.0.1", doorway.port, context, "api.simulated"), endpoints.AUTHORITIES)
    with pytest.raises(UntrustedError):
        await ask(Door("127.0.0.1", doorway.port, context, "another.name"), endpoints.AUTHORITIES)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"anchors": 1}', b'{"anchors": "no PEM"}'])
async def test_what_holds_no_pinned_certificate_is_not_trusted(doorway: Doorway, body: bytes) -> None:
    doorway.answer = http("200 OK", body)
    with pytest.raises(UntrustedError):
        await pinned_trust("127.0.0.1", doorway.port, ["sha256:" + "0" * 64])


@pytest.mark.parametrize(
    ("answer", "status", "words", "wait", "final"),
    [
        (http("403 Forbidden", b'{"error": {"message": "no"}}'), 403, "no", None, True),
        (http("429 Slow", b"", "Retry-After: 7"), 429, "HTTP status 429", 7.0, False),
        (
            http("503 Busy", b"<html>", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"),
            503,
            "HTTP status 503",
            None,
            False,
        ),
        (http("302 Found", b"", "Location: https://elsewhere/"), 302, "HTTP status 302", None, False),
    ],
)
async def test_an_error_is_told_with_its_wait(
    doorway: Doorway, answer: bytes, status: int, words: str, wait: float | None, final: bool
) -> None:
    doorway.answer = answer
    with pytest.raises(RefusedError, match=words) as caught:
        await ask(doorway.door(), endpoints.EVENTS, {})
    assert (caught.value.status, caught.value.retry_after, caught.value.is_final) == (status, wait, final)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        http("200 OK", b"not JSON"),
        http("200 OK", b"[" * 100_000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_nonsense_is_as_good_as_no_answer(doorway: Doorway, answer: bytes) -> None:
    doorway.answer = answer
    with pytest.raises(UnreachableError):
        await ask(doorway.door(), endpoints.EVENTS, {})


async def test_an_answer_without_end_is_cut_off(doorway: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.limits.HTTP_REPLY_MAX", 1_000_000)

    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(bytes(65536))
            await writer.drain()
            await asyncio.sleep(0)  # asyncio's own TLS goes on taking what nobody reads any more

    doorway.answer = flood
    with pytest.raises(UnreachableError, match="more than 1000000 bytes"):
        await ask(doorway.door(), endpoints.EVENTS, {})


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["header", "body"])
async def test_an_answer_that_drips_is_given_up(
    doorway: Doorway, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(controller_client, "_EXCHANGE_MAX", 0.4)

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.is_closing():
            writer.write(b"X")
            await writer.drain()
            await asyncio.sleep(0.05)

    doorway.answer = drip
    with pytest.raises(UnreachableError, match="no whole answer within"):
        await ask(doorway.door(), endpoints.EVENTS, {})
    assert await threads_end()


async def threads_end() -> bool:
    """Tell whether the worker threads have nothing left to do: each takes one more task at once."""
    await asyncio.gather(*(asyncio.to_thread(threading.get_ident) for _ in range(8)))
    return True


async def test_one_that_is_not_there_is_named_as_such() -> None:
    with pytest.raises(UnreachableError, match="Connection refused"):
        await ask(Door("127.0.0.1", 9, no_trust()), endpoints.AUTHORITIES)


def test_certificates_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        anchored_trust(["no certificate"])
    with pytest.raises(ValueError, match="cannot be used"):
        anchored_trust([TlsAuthority().pem], (tmp_path / "none.pem", tmp_path / "none.key"))
