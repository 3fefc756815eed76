"""One MQTT connection on the agent's event loop: paho-mqtt speaks MQTT, `edge_agent.tls` carries it.

paho is imported late and lean: it asks for `urllib.request` (and with it for HTTP and e-mail), which it needs for
proxies alone, and for `ssl`, of which we need nothing but the names of two errors. It sends no PINGREQ, as nobody calls
its `loop_misc`: heartbeats are the keepalive. That the link is dead is told by the kernel (TCP_USER_TIMEOUT), and how
long a round trip takes is asked of it (TCP_INFO): neither costs a byte. The kernel at the other end answers also for a
broker that hangs: where not even a pulse came for long, one PINGREQ asks the broker itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edge_agent.policy.presence import Doubt, Patience, decide_doubt
from edge_agent.tls import Tls, TlsError
from protocol import limits

_log = logging.getLogger("skerry.agent")
_DIAL = limits.DIAL_TIMEOUT.total_seconds()
_SILENCE_MS = int(limits.LINK_SILENCE_MAX.total_seconds() * 1000)
_PLAIN_PIECE = 16 * 1024
# What waits to be sent while the link stalls: a heartbeat more is worth nothing then.
_UNSENT_MAX = 16 * 1024
_QOS = 1
# What we missed is of no use later, only what is retained: the broker is to queue nothing for us while we are away.
_QOS_HERE = 0
# In `struct tcp_info` (linux/tcp.h) the smoothed round trip time, microseconds, stands after 8 bytes and 15 words.
_ROUND_TRIP = struct.Struct("8x15I2I")
_PATIENCE = Patience()

Take = Callable[[str, bytes, bool], None]


class MqttError(Exception):
    """There is no connection. The message says why.

    Attributes:
        is_refusal: whether the broker was reached and would not have us, or we not it: no use in hurrying.
    """

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class Place:
    """Where the broker is, and the name that its certificate must bear."""

    host: str
    port: int
    name: str


@dataclass(frozen=True, slots=True)
class Hello:
    """What is said first.

    Attributes:
        client_id: ours; the broker holds it against our certificate.
        keepalive: seconds; the broker gives us up after one and a half times that without a word.
        will_topic, will: what the broker is to publish, retained, when we are lost.
    """

    client_id: str
    keepalive: int
    will_topic: str
    will: bytes


async def dial(place: Place, tls: Tls, hello: Hello, take: Take, patience: Patience = _PATIENCE) -> Line:
    """Connect and be greeted. `take` gets every message: topic, payload, and whether it was retained.

    After that the line is cut where the broker's silence lasts longer than `patience`.

    Raises:
        MqttError: it did not come about.
    """
    loop = asyncio.get_running_loop()
    line = Line(tls, place, hello, take, loop.create_future())
    try:
        async with asyncio.timeout(_DIAL):
            await loop.create_connection(lambda: line, place.host, place.port)
            await line.greeted
    except (OSError, ValueError) as err:  # the latter for a host name that cannot be one
        line.abort()
        raise MqttError(getattr(err, "strerror", None) or str(err) or "no answer in time") from None
    except BaseException:
        line.abort()
        raise
    line.watch(patience)
    return line


class Line(asyncio.Protocol):
    """The connection.

    Attributes:
        greeted: done when the broker has let us in.
        is_lost: whether the connection is gone.
        reason: why, for the log.
        on_lost: called once, when it is gone.
    """

    def __init__(self, tls: Tls, place: Place, hello: Hello, take: Take, greeted: asyncio.Future[None]) -> None:
        self.greeted = greeted
        self.is_lost = False
        self.reason = "closed by the broker"
        self.on_lost: Callable[[], None] = lambda: None
        self._tls = tls
        self._place = place
        self._hello = hello
        self._is_secure = self._has_ended = False
        self._plain = bytearray()
        self._transport: asyncio.Transport | None = None
        self._client = _make_client(self, hello, take)
        self._acknowledged, self._gone = asyncio.Event(), asyncio.Event()
        self._heard, self._asked = 0.0, -1.0
        self._look: asyncio.TimerHandle | None = None

    # --- for the agent ------------------------------------------------------------------------------------------------

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for what is retained for `topics`, and for what is published to them as long as we are here."""
        self._client.subscribe([(topic, _QOS_HERE) for topic in topics])

    def keep(self, topic: str, payload: bytes) -> None:
        """Publish what the broker is to keep."""
        self._client.publish(topic, payload, qos=_QOS, retain=True)

    def mention(self, topic: str, payload: bytes) -> None:
        """Publish what may be lost; where the link stalls, it is."""
        if self._transport and self._transport.get_write_buffer_size() < _UNSENT_MAX:
            self._client.publish(topic, payload)

    @property
    def voucher(self) -> bytes:
        """The certificate of the authority that vouched for the broker, DER; empty where nothing tells."""
        return self._tls.voucher

    def watch(self, patience: Patience) -> None:
        """Cut the line where the broker says nothing for too long, and does not answer either."""
        if self.is_lost:
            return
        loop = asyncio.get_running_loop()
        doubt, seconds = decide_doubt(self._heard, self._asked, loop.time(), patience)
        if doubt is Doubt.GONE:
            self.reason = "the broker has said nothing for long, and does not answer"
            self.abort()
            return
        if doubt is Doubt.ASK:
            self._asked = loop.time()
            self._client._send_pingreq()  # noqa: SLF001 - paho's own way to it is a timer, which we do without
        self._look = loop.call_later(seconds, self.watch, patience)

    @property
    def round_trip(self) -> int | None:
        """How long a round trip takes, in tenths of a millisecond; None where the system does not say."""
        plain: Any = self._transport.get_extra_info("socket") if self._transport else None
        with suppress(OSError, AttributeError, struct.error):
            found = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ROUND_TRIP.size)
            return int(_ROUND_TRIP.unpack(found)[15]) // 100
        return None

    async def say_last(self, topic: str, payload: bytes, seconds: float) -> None:
        """Publish what the broker is to keep, wait until it has it or `seconds` are over, and close."""
        self._acknowledged.clear()
        self.keep(topic, payload)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._acknowledged.wait()
        self.close()

    def close(self) -> None:
        """Close in good form: the broker publishes no will."""
        if not self.is_lost:
            self._client.disconnect()  # closes the pipe once it is said

    async def wait_closed(self, seconds: float) -> None:
        """Wait until it is gone; after `seconds` it is cut."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        self.abort()

    def abort(self) -> None:
        """Close without a word."""
        if self._transport:
            self._transport.abort()

    # --- for the event loop -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with TLS."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - the loop makes no other for TCP
        self._transport = transport
        with suppress(OSError):
            plain = transport.get_extra_info("socket")
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
        self._carry_on()

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        self._heard = asyncio.get_running_loop().time()
        self._tls.feed(data)
        self._carry_on()

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so to whoever waits."""
        if exc is not None:
            self.reason = getattr(exc, "strerror", None) or str(exc)
        self.is_lost = True
        if self._look:
            self._look.cancel()
        self._gone.set()
        self._acknowledged.set()
        self._fail(MqttError(self.reason))
        self.on_lost()

    def _carry_on(self) -> None:
        try:
            self._advance()
        except TlsError as err:
            self.reason = str(err)
            self._fail(MqttError(str(err), is_refusal=err.is_refusal))
            self.abort()
        except Exception as err:  # noqa: BLE001 - nonsense from the broker, whatever the library makes of it, ends this connection alone
            self.reason = f"the broker sent what cannot be understood ({type(err).__name__}: {err})"
            self._fail(MqttError(self.reason))
            self.abort()
        self._flush()

    def _advance(self) -> None:
        if not self._is_secure:
            if not self._tls.shake_hands():
                return
            self._is_secure = True
            self._flush()
            self._client.connect(self._place.name, self._place.port, self._hello.keepalive)
        while (data := self._tls.read(_PLAIN_PIECE)) is not None:
            self._plain += data
            self._has_ended = not data
            self._have_read()
            if not data:
                self._client.loop_read()
                break

    def _have_read(self) -> None:
        before = -1
        while self._plain and len(self._plain) != before:
            before = len(self._plain)
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()

    def _flush(self) -> None:
        if self._transport and (data := self._tls.outgoing()):
            self._transport.write(data)

    def _fail(self, err: MqttError) -> None:
        if not self.greeted.done():
            self.greeted.set_exception(err)
            self.greeted.exception()  # it has been seen, whether anybody still waits or not

    # --- for paho -----------------------------------------------------------------------------------------------------

    def connected(self, reason: Any) -> None:  # noqa: ANN401 - paho's, imported late
        """Note the broker's answer."""
        if reason.is_failure:
            self._fail(MqttError(f"the broker says: {reason}", is_refusal=True))
            self.abort()
        elif not self.greeted.done():
            self.greeted.set_result(None)

    def subscribed(self, answers: Sequence[Any]) -> None:
        """Note what became of our subscriptions: without them we should hear of no lock, and never ask again."""
        if any(answer.is_failure for answer in answers):
            self.reason = "the broker refuses to let us hear what the controller says"
            self.abort()

    def acknowledged(self) -> None:
        """Note that what was published has arrived."""
        self._acknowledged.set()

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes of what came in, as a socket that does not block."""
        if size > limits.MQTT_MESSAGE_MAX:
            self.reason = f"a message larger than {limits.MQTT_MESSAGE_MAX} bytes"
            raise OSError(self.reason)
        if not self._plain and not self._has_ended:
            raise BlockingIOError
        data = bytes(self._plain[:size])
        del self._plain[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Send some of `data`."""
        if self.is_lost:
            raise BrokenPipeError
        try:
            count = self._tls.write(data)
        except TlsError as err:  # it has broken already, and is about to be lost
            raise OSError(str(err)) from None
        self._flush()
        return count

    def hang_up(self) -> None:
        """Close: paho has said all it had to say."""
        if self._transport and not self.is_lost:
            with suppress(TlsError):
                self._tls.close()
            self._flush()
            self._transport.close()


class _Pipe:
    """What paho takes for its socket."""

    def __init__(self, line: Line) -> None:
        self.recv = line.recv
        self.send = line.send
        self.close = line.hang_up

    def fileno(self) -> int:
        """Return no file descriptor: nobody waits on this one."""
        return -1

    def setblocking(self, _: bool) -> None:
        """Do nothing: it never blocks."""


def _make_client(line: Line, hello: Hello, take: Take) -> Any:  # noqa: ANN401 - paho's, imported late
    paho = _load_paho()
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=hello.client_id,
        clean_session=True,  # what we subscribe to is said each time
        protocol=paho.MQTTv311,
        reconnect_on_failure=False,
    )
    client._create_socket = lambda: _Pipe(line)  # noqa: SLF001 - where paho would connect by itself
    client.will_set(hello.will_topic, hello.will, qos=_QOS, retain=True)
    client.on_connect = lambda _client, _data, _flags, reason, _more: line.connected(reason)
    client.on_message = lambda _client, _data, message: take(
        message.topic, bytes(message.payload), bool(message.retain)
    )
    client.on_subscribe = lambda _client, _data, _number, answers, _more: line.subscribed(answers)
    client.on_publish = lambda _client, _data, _number, _reason, _more: line.acknowledged()
    return client


def _load_paho() -> Any:  # noqa: ANN401 - a module
    with _stand_ins():
        from paho.mqtt import client
    return client


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Put something small in the place of the large modules that paho asks for and we do not use."""
    if "paho.mqtt.client" in sys.modules:
        yield
        return
    proxies, tls = ModuleType("urllib.request"), ModuleType("ssl")
    for name in ("SSLWantReadError", "SSLWantWriteError"):
        setattr(tls, name, type(name, (OSError,), {}))
    mine = {module.__name__: module for module in (proxies, tls) if not sys.modules.get(module.__name__)}
    absent = {name for name in mine if name in sys.modules}  # None there: kept out on purpose
    sys.modules.update(mine)
    try:
        yield
    finally:
        for name in mine:
            if name in absent:
                sys.modules[name] = None  # type: ignore[assignment]  # "not installed", as it was
            else:
                del sys.modules[name]
