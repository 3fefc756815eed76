"""One TLS connection that sends at a set pace, and lets others on the same link go first.

The library's own TLS sockets write as fast as the kernel takes it. Here TLS works in memory, and what comes out of it
is counted, the headers below it included, and handed to a small kernel buffer packet by packet.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from edge_agent.policy.upload import Pace
from edge_agent.tls_times import judge_dates

# IPv4 and IPv6 with TCP and its time stamps.
_HEADERS = {socket.AF_INET: 52, socket.AF_INET6: 72}
_SEGMENT_MAX = 1280
_SEGMENT_MIN = 512
# Of a second's worth: a packet on a slow link is in everybody's way for as long as it takes.
_SEGMENT_SHARE = 8
_BURST = 0.25
_UNPACED_PIECE = 16 * 1024
# What the kernel may hold that is not on its way yet.
_UNSENT = 4 * 1024
# DSCP CS1, and Linux's own bulk band: behind everything else wherever queues know classes.
_TOS_CS1 = 0x20
_PRIORITY_BULK = 2
_TCP_NOTSENT_LOWAT = 25
_RECEIVE = 16 * 1024
_RECORD = 16 * 1024
# What an early answer may come to while we still send.
_EARLY_MAX = 256 * 1024


class HungUpError(Exception):
    """Whoever gave the order is gone."""


@dataclass
class Throttle:
    """Where the pace stands, whatever connection it is sent on.

    Attributes:
        pace: None for no limit.
        orders: a file descriptor that becomes readable when whoever gave the order is gone.
    """

    pace: Pace | None
    orders: int

    @classmethod
    def at(cls, rate: int | None, orders: int) -> Throttle:
        """Return a throttle of `rate` bytes a second, its bucket empty: a new process gains nothing."""
        return cls(Pace(rate, _BURST, time.monotonic()) if rate else None, orders)

    @property
    def piece(self) -> int:
        """Bytes to write at once."""
        if self.pace is None:
            return _UNPACED_PIECE
        return max(_SEGMENT_MIN, min(int(self.pace.rate) // _SEGMENT_SHARE, _SEGMENT_MAX))

    def spend(self, size: int) -> None:
        """Wait until `size` bytes may be sent. Raises `HungUpError`."""
        if self.pace:
            self.pace, seconds = self.pace.take(size, time.monotonic())
            if seconds and select.select([self.orders], [], [], seconds)[0]:
                raise HungUpError


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect, the name that the certificate there must carry, and between which instants the time is."""

    host: str
    port: int
    name: str
    span: tuple[datetime, datetime]


class Wire:
    """A connection; what `http.client.HTTPResponse` needs of a socket, and `sendall`.

    Every wait ends by `deadline` (of `time.monotonic`), and without any progress after `patience` seconds.
    """

    def __init__(self, place: Place, context: ssl.SSLContext, throttle: Throttle, patience: float) -> None:
        """Connect. Raises `OSError`, also where the certificate is not good."""
        self.deadline = time.monotonic() + 3 * patience
        self._throttle = throttle
        self._patience = patience
        # It cannot be sent on; and nothing can come any more.
        self._is_broken = self._has_ended = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._plain, self._header = _connect(place, throttle, patience)
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=place.name)
            self._shake_hands(place.span)
        except BaseException:
            self._plain.close()
            raise

    def _shake_hands(self, span: tuple[datetime, datetime]) -> None:
        self._drive(self._tls.do_handshake)
        if problem := judge_dates(self._tls.getpeercert(), span):
            raise ssl.SSLError(problem)

    def sendall(self, data: bytes) -> None:
        """Send all of `data`, or as much as the other end takes before it hangs up: its answer then tells."""
        rest = memoryview(data)
        while rest and not self._is_broken:
            rest = rest[self._tls.write(rest[:_RECORD]) :]
            self._flush()

    def makefile(self, _mode: str = "rb") -> io.BufferedReader:
        """Return what comes in as a file."""
        return io.BufferedReader(_Incoming(self))

    def receive(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end."""
        try:
            return bytes(self._drive(lambda: self._tls.read(size)))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def is_stale(self) -> bool:
        """Tell whether the other end has hung up while nothing was asked."""
        if self._is_broken or not select.select([self._plain], [], [], 0)[0]:
            return self._is_broken
        self._take_in()
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:  # a session ticket, say
            return False
        except ssl.SSLError:
            return True
        return True  # whatever it says unasked is not for us

    def close(self) -> None:
        """Close it, without ceremony."""
        self._plain.close()

    def _drive(self, act: Callable[[], bytes | None]) -> bytes:
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                self._flush()
                if self._is_broken:
                    self._take_rest()
                else:
                    self._wait(reading=True)
                    self._take_in()
            else:
                self._flush()
                return done or b""

    def _flush(self) -> None:
        while piece := self._outgoing.read(self._throttle.piece):
            if not self._is_broken:
                self._throttle.spend(len(piece) + self._header * -(-len(piece) // _SEGMENT_MAX))
                self._push(memoryview(piece))

    def _push(self, piece: memoryview) -> None:
        while piece and not self._is_broken:
            if self._wait(reading=self._incoming.pending < _EARLY_MAX, writing=True):
                self._take_in()
                continue
            try:
                piece = piece[self._plain.send(piece) :]
            except BlockingIOError:
                continue
            except ConnectionError:
                self._is_broken = True

    def _take_in(self) -> None:
        try:
            data = self._plain.recv(_RECEIVE)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if data:
            self._incoming.write(data)
        else:
            self._end()

    def _take_rest(self) -> None:
        """Take in what had arrived before the connection broke, up to its end. Raises `SSLEOFError` beyond that."""
        if self._has_ended:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the connection has ended")
        try:
            data = self._plain.recv(_RECEIVE)
        except OSError:  # also where there is nothing: nothing will come any more
            data = b""
        self._incoming.write(data) if data else self._end()

    def _end(self) -> None:
        self._is_broken = self._has_ended = True
        self._incoming.write_eof()

    def _wait(self, *, reading: bool, writing: bool = False) -> bool:
        """Wait until the connection can be read or written; tell whether it can be read."""
        left = min(self._patience, self.deadline - time.monotonic())
        watched: list[int | socket.socket] = [self._throttle.orders, *([self._plain] if reading else [])]
        readable, writable, _ = select.select(watched, [self._plain] if writing else [], [], max(0.0, left))
        if self._throttle.orders in readable:
            raise HungUpError
        if not readable and not writable:
            raise TimeoutError("no answer in time")
        return self._plain in readable


class _Incoming(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a writable buffer, as the caller has it
        data = self._wire.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _connect(place: Place, throttle: Throttle, patience: float) -> tuple[socket.socket, int]:
    """Return a connection to the first address that answers, and the size of the headers on each of its packets."""
    failure = OSError("no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM):
        header = _HEADERS.get(family, max(_HEADERS.values()))
        throttle.spend(3 * header)
        plain = socket.socket(family, kind, protocol)
        plain.settimeout(patience)
        try:
            _make_humble(plain, family, throttle.pace)
            plain.connect(address)
            plain.setblocking(False)
        except OSError as err:
            plain.close()
            failure = err
        else:
            return plain, header
    raise failure


def _make_humble(plain: socket.socket, family: int, pace: Pace | None) -> None:
    """Put a connection behind others. What the system would not have is left out."""
    marking = (socket.IPPROTO_IP, socket.IP_TOS)
    if family == socket.AF_INET6:
        marking = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    wishes = [
        (*marking, _TOS_CS1),
        (socket.SOL_SOCKET, socket.SO_PRIORITY, _PRIORITY_BULK),
        (socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ]
    if pace:  # a second's worth on the way at most: what is lost is not sent again in one go
        wishes.append((socket.SOL_SOCKET, socket.SO_SNDBUF, max(_UNSENT, min(int(pace.rate), 4 * 2**20))))
    for level, option, value in wishes:
        with suppress(OSError):
            plain.setsockopt(level, option, value)
