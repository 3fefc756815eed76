"""Joining while the controller's web door turns from one authority's certificate to another's."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.config import Settings
from edge_agent.identity import DataDirectory
from edge_agent.join import JoinFailed, join
from protocol.names import TokenText, parse_node_name
from protocol.secret import Secret
from tests.harness.simulated_controller import TlsAuthority

TOKEN = Secret(TokenText("a-token-of-the-tests-0123456789"))


class TurningDoor:
    """A web door that shows the old authority's certificate to so many, and to all others the new one's.

    It tells of both authorities, and lets nobody join.

    Attributes:
        old_left: to how many more it shows the old one.
        asked: the requests that it was sent, as method and path.
    """

    def __init__(self, directory: Path, old_left: int, name: str) -> None:
        self.old, self.new = TlsAuthority(), TlsAuthority()
        self.old_left = old_left
        self.asked: list[str] = []
        self.port = 0
        self._contexts = {each: self._context(directory / each, name) for each in ("old", "new")}
        self._contexts["old"].sni_callback = self._turn
        self.context = self._contexts["old"]

    def _context(self, directory: Path, name: str) -> ssl.SSLContext:
        directory.mkdir()
        authority: TlsAuthority = getattr(self, directory.name)
        key, chain, private = generate_private_key(SECP256R1()), directory / "chain.pem", directory / "key.pem"
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(name))]
        chain.write_text(authority.issue("insecure test door", key.public_key(), names) + authority.pem)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, private)
        return context

    def _turn(self, connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        """Choose what is shown: the library asks at every connection, whether or not it names a server."""
        self.old_left -= 1
        if self.old_left < 0:
            connection.context = self._contexts["new"]

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.partition(" HTTP")[0])
            is_look = head.startswith("GET")
            body = {"anchors": self.old.pem + self.new.pem} if is_look else {"error": {"message": "not today"}}
            answer, status = json.dumps(body).encode(), "200 OK" if is_look else "403 Forbidden"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def turning(directory: Path, *, after: int, name: str = "127.0.0.1") -> AsyncIterator[TurningDoor]:
    door = TurningDoor(directory, after, name)
    server = await asyncio.start_server(door.greet, "127.0.0.1", 0, ssl=door.context)
    door.port = server.sockets[0].getsockname()[1]
    yield door
    server.close()


async def try_to_join(door: TurningDoor, directory: Path, pin: str) -> str:
    """Try, and return why it failed."""
    settings = Settings(("127.0.0.1", door.port), parse_node_name("young"), directory / "data", ca_pins=(pin,))
    kept = DataDirectory(settings.data_dir)
    kept.claim()
    try:
        answer = await join(settings, TOKEN, kept, look_pause=0.0)
    finally:
        kept.release()
    assert isinstance(answer, JoinFailed)
    return answer.reason


LOOK, JOIN = "GET /v1/authorities", "POST /v1/join"


async def test_a_door_that_is_just_turning_to_the_pinned_authority_is_looked_at_again(tmp_path: Path) -> None:
    # The first looks, tries, and looks again.
    async with turning(tmp_path, after=3) as door:
        assert "refused: not today" in await try_to_join(door, tmp_path, door.new.pin)
        assert door.asked == [LOOK, LOOK, JOIN]


async def test_a_door_that_turns_from_the_pinned_authority_is_sent_no_token(tmp_path: Path) -> None:
    async with turning(tmp_path, after=1) as door:
        said = await try_to_join(door, tmp_path, door.old.pin)
        assert "did not prove to be the controller" in said
        assert "the token was not sent" in said
        assert door.asked == [LOOK] * 5


async def test_a_door_of_another_name_is_not_looked_at_again(tmp_path: Path) -> None:
    async with turning(tmp_path, after=0, name="127.0.0.2") as door:
        assert "IP address mismatch" in await try_to_join(door, tmp_path, door.new.pin)
        assert door.asked == [LOOK]
