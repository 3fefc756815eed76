"""Our end of an MQTT connection against a broker that says what it is told to, and against the real one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.mqtt import Hello, Line, MqttError, Place, dial
from edge_agent.policy.presence import Patience
from edge_agent.tls import Context, Credentials, Tls
from protocol import limits, topics
from protocol.names import NodeId
from tests.harness.simulated_controller import TlsAuthority

NAME = "mqtt.harbour"
NODE = NodeId("00000000-0000-4000-8000-000000000001")
_PATIENCE = 60.0
CONNACK, PINGRESP = b"\x20\x02\x00\x00", b"\xd0\x00"
CONNECT, SUBSCRIBE, PUBLISH, PINGREQ = 1, 8, 3, 12
Talk = Callable[["Scripted"], Awaitable[None]]


def suback(asked: bytes, answer: int) -> bytes:
    """Answer a SUBSCRIBE for one topic (MQTT 3.1.1 section 3.9)."""
    return b"\x90\x03" + asked[:2] + bytes([answer])


def message(topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH of QoS 0 of less than 128 bytes."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    return bytes([0x30, len(body)]) + body


@dataclass
class Scripted:
    """The broker's end of one connection.

    Attributes:
        heard: the kinds of packets that came, in their order.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[int] = field(default_factory=list)

    async def packet(self) -> tuple[int, bytes]:
        """Return kind and content of the next packet."""
        kind = (await self.reader.readexactly(1))[0] >> 4
        size = shift = 0
        while True:
            digit = (await self.reader.readexactly(1))[0]
            size |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                break
        self.heard.append(kind)
        return kind, await self.reader.readexactly(size)

    async def expect(self, kind: int) -> bytes:
        found, content = await self.packet()
        assert found == kind
        return content

    async def say(self, data: bytes, piece: int = 65536) -> None:
        for start in range(0, len(data), piece):
            self.writer.write(data[start : start + piece])
            await self.writer.drain()

    async def greet(self) -> None:
        await self.expect(CONNECT)
        await self.say(CONNACK)


@dataclass
class Lab:
    """Credentials of both ends, and what came to ours."""

    folder: Path
    authority: TlsAuthority = field(default_factory=TlsAuthority)
    taken: asyncio.Queue[tuple[str, bytes, bool]] = field(default_factory=asyncio.Queue)

    def pair(self, stem: str, *names: str) -> tuple[Path, Path]:
        key = generate_private_key(SECP256R1())
        certificate, private = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        certificate.write_text(self.authority.issue(stem, key.public_key(), [x509.DNSName(name) for name in names]))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private

    @contextlib.asynccontextmanager
    async def broker(self, talk: Talk) -> AsyncIterator[int]:
        """Have every connection go as `talk` says; yield the port. What went wrong in `talk` is raised at the end."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.pair("server", NAME))
        talking: list[asyncio.Task[None]] = []
        problems: list[Exception] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            this = asyncio.current_task()
            assert this
            talking.append(this)
            try:
                await talk(Scripted(reader, writer))
            except (OSError, asyncio.IncompleteReadError):
                return  # our end has gone
            except Exception as err:  # noqa: BLE001 - raised below
                problems.append(err)
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for task in talking:
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)
            await server.wait_closed()
        assert not problems, problems

    async def dial(self, port: int, patience: Patience | None = None) -> Line:
        certificate, key = self.pair(NODE)
        now = datetime.now(UTC)
        tls = Tls(Context(Credentials((self.authority.pem,), certificate, key)), NAME, lambda: (now, now))
        hello = Hello(NODE, 60, topics.state(NODE), b"{}")
        place = Place("127.0.0.1", port, NAME)
        return await dial(place, tls, hello, lambda *found: self.taken.put_nowait(found), patience or Patience())


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def lost(line: Line) -> str:
    """Return why the line was lost, once it is."""
    gone = asyncio.Event()
    line.on_lost = gone.set
    async with asyncio.timeout(_PATIENCE):
        if not line.is_lost:
            await gone.wait()
    return line.reason


async def test_what_comes_byte_by_byte_is_understood(lab: Lab) -> None:
    async def talk(broker: Scripted) -> None:
        await broker.expect(CONNECT)
        await broker.say(CONNACK, 1)
        asked = await broker.expect(SUBSCRIBE)
        await broker.say(suback(asked, 0) + message(topics.PULSE, b"one") + message(topics.PULSE, b"two"), 1)
        await broker.packet()

    async with lab.broker(talk) as port:
        line = await lab.dial(port)
        line.subscribe([topics.PULSE])
        async with asyncio.timeout(_PATIENCE):
            assert [await lab.taken.get() for _ in range(2)] == [
                (topics.PULSE, b"one", False),
                (topics.PULSE, b"two", False),
            ]
        assert not line.is_lost
        line.abort()


async def test_what_is_large_is_said_in_pieces_and_arrives_whole(lab: Lab) -> None:
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(broker: Scripted) -> None:
        await broker.greet()
        arrived.put_nowait(await broker.expect(PUBLISH))

    said = bytes(range(256)) * 800  # many records of TLS
    async with lab.broker(talk) as port:
        line = await lab.dial(port)
        line.keep("n/x/s", said)
        async with asyncio.timeout(_PATIENCE):
            assert (await arrived.get()).endswith(said)
        line.abort()


async def test_heartbeats_pile_up_nowhere_while_nothing_can_be_sent(lab: Lab) -> None:
    over = asyncio.Event()

    async def talk(broker: Scripted) -> None:
        await broker.greet()
        broker.writer.transport.pause_reading()  # type: ignore[attr-defined]  # the loop's own has it
        await over.wait()

    async with lab.broker(talk) as port:
        line = await lab.dial(port)
        for _ in range(30_000):
            line.mention(topics.beat(NODE), bytes(400))
        assert line._transport
        assert line._transport.get_write_buffer_size() < 64 * 1024
        over.set()
        line.abort()


async def test_refused_subscription_ends_the_line_for_it_is_asked_for_again_on_the_next(lab: Lab) -> None:
    async def talk(broker: Scripted) -> None:
        await broker.greet()
        await broker.say(suback(await broker.expect(SUBSCRIBE), 0x80))
        await broker.packet()

    async with lab.broker(talk) as port:
        line = await lab.dial(port)
        line.subscribe([topics.POLICY])
        assert "refuses to let us hear" in await lost(line)


@pytest.mark.parametrize(
    "poison",
    [
        b"\x30\xff\xff\xff\xff\xff",  # a length of more than four bytes
        b"\x30\x02\xff\xff",  # a topic longer than its packet
        b"\x90\x00",  # no answer to anything
        b"\x00\x00",  # no such packet
        b"SSH-2.0-OpenSSH_9.2\r\n" * 10,
        bytes([0x30, *(0x80 | 0x7F, 0x80 | 0x7F, 0x7F)]) + bytes(limits.MQTT_MESSAGE_MAX),
    ],
    ids=["length", "topic", "suback", "kind", "text", "large"],
)
async def test_nonsense_ends_the_line_and_nothing_else(lab: Lab, poison: bytes) -> None:
    async def talk(broker: Scripted) -> None:
        await broker.greet()
        await broker.say(poison)
        broker.writer.write_eof() if broker.writer.can_write_eof() else broker.writer.close()
        await broker.packet()

    async with lab.broker(talk) as port:
        line = await lab.dial(port)
        assert await lost(line)
        assert lab.taken.empty()


async def test_broker_that_ends_before_it_greets_is_not_reached(lab: Lab) -> None:
    async def talk(broker: Scripted) -> None:
        await broker.expect(CONNECT)

    async with lab.broker(talk) as port:
        with pytest.raises(MqttError) as failed:
            await lab.dial(port)
    assert not failed.value.is_refusal


async def test_broker_that_says_no_refuses(lab: Lab) -> None:
    async def talk(broker: Scripted) -> None:
        await broker.expect(CONNECT)
        await broker.say(b"\x20\x02\x00\x05")
        await broker.packet()

    async with lab.broker(talk) as port:
        with pytest.raises(MqttError, match="the broker says: Not authorized") as failed:
            await lab.dial(port)
    assert failed.value.is_refusal


async def test_broker_that_fell_silent_is_asked_and_stays_where_it_answers(lab: Lab) -> None:
    answered = asyncio.Event()

    async def talk(broker: Scripted) -> None:
        await broker.greet()
        for _ in range(2):
            await broker.expect(PINGREQ)
            await broker.say(PINGRESP)
        answered.set()
        await broker.packet()

    async with lab.broker(talk) as port:
        line = await lab.dial(port, Patience(0.05, 5.0))
        async with asyncio.timeout(_PATIENCE):
            await answered.wait()
        assert not line.is_lost
        line.abort()


async def test_broker_that_hangs_is_given_up_though_its_system_acknowledges_what_we_send(lab: Lab) -> None:
    heard: list[int] = []
    over = asyncio.Event()

    async def talk(broker: Scripted) -> None:
        await broker.greet()
        await broker.expect(PINGREQ)
        heard.extend(broker.heard)
        await over.wait()

    async with lab.broker(talk) as port:
        line = await lab.dial(port, Patience(0.05, 1.0))
        assert "has said nothing for long, and does not answer" in await lost(line)
        over.set()
    assert heard == [CONNECT, PINGREQ], "it is asked once"


async def test_real_broker_that_is_stopped_is_given_up(tmp_path: Path) -> None:
    from tests.harness.simulated_broker import SimulatedBroker

    lab = Lab(tmp_path)
    broker = SimulatedBroker(tmp_path / "broker", lab.authority, "harbour")
    await asyncio.to_thread(broker.start)
    process = broker._process
    assert process
    try:
        line = await lab.dial(broker.port, Patience(0.05, 1.0))
        line.subscribe([topics.POLICY])
        process.send_signal(signal.SIGSTOP)
        assert "does not answer" in await lost(line)
    finally:
        process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(broker.close)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "'urllib.request' not in sys.modules and hasattr(sys.modules['ssl'], 'SSLContext')"),  # asyncio's
        ("import ssl, urllib.request", "sys.modules['ssl'] is ssl and hasattr(ssl, 'SSLContext')"),
        ("sys.modules['ssl'] = None", "sys.modules['ssl'] is None and 'urllib.request' not in sys.modules"),
    ],
    ids=["one there", "both there", "kept out"],
)
def test_paho_is_loaded_lean_and_leaves_no_stand_in_behind(before: str, after: str) -> None:
    script = (
        f"import sys\n{before}\nfrom edge_agent.mqtt import _load_paho\nassert _load_paho().Client\nassert {after}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
