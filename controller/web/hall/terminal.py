"""One terminal: a browser's WebSocket on this side, an SSH channel to the node on the other.

Binary messages are the terminal's bytes, both ways; text messages are JSON objects with a ``type``. From the browser:
``size`` (columns, rows; the first message is one), ``took`` (bytes it has shown since). To the browser: ``open``,
``took`` (typed bytes that the node has read since), ``news`` (`protocol.joining.SessionNews`), ``exit`` (status or
signal), ``end`` (code and text) as the last.

What the browser has not shown yet is bounded by `limits.SOCKET_BEHIND`: beyond half of it the channel is held, and with
it the program on the node, as by any terminal that cannot keep up. What the node has not read yet is bounded by
`limits.TYPED_MAX`: a page sends a paste in pieces and goes on as they are taken. Nothing here ever waits to be able to
type, for the same messages say what was shown: a node that is held for want of them would never read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from datetime import timedelta

import asyncssh

from controller.policy.ticket import Order
from controller.web.hall.guest import BAD_MESSAGE, FAILED, NORMAL, Ending, Guest
from controller.web.hall.road import Road, RoadError, Traveller
from controller.web.hall.web_socket import WebSocket
from protocol import limits
from protocol.fields import Fields, MessageError, decode, text, whole
from protocol.joining import MODE_VARIABLE, NEWS_REQUEST, NEWS_VARIABLE, SESSION_VARIABLE, SessionNews
from protocol.ssh.caller import describe_loss

TERM = "xterm-256color"
SIDE_MAX = 1000

_WINDOW = 256 * 1024
_PACKET = 32 * 1024
_HOLD = limits.SOCKET_BEHIND // 2
_GO_ON = limits.SOCKET_BEHIND // 8
_TYPED_HOLD = limits.TYPED_AHEAD // 2
_TOOK_STEP = limits.TYPED_AHEAD // 4
_SIZE_PACE = 0.1
_FIRST_WORD = timedelta(seconds=10)
_LAST_WORDS = timedelta(seconds=5)
_FAREWELL = timedelta(seconds=2)
# The node's own, where it has one, goes before what we say.
_LANGUAGE = "C.UTF-8"
_TOO_MUCH = Ending(BAD_MESSAGE, "more was typed than the device takes in: send it as a file, or in smaller pieces")
_NEWS_METHOD = "_process_" + NEWS_REQUEST.decode().replace("-", "_").replace("@", "_at_") + "_request"


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's size, in characters."""

    columns: int
    rows: int

    @classmethod
    def from_fields(cls, fields: Fields) -> Size:
        """Read it from a message of the browser's. Raises `MessageError`."""
        columns, rows = fields.take("columns", whole), fields.take("rows", whole)
        if not (0 < columns <= SIDE_MAX and 0 < rows <= SIDE_MAX):
            raise MessageError(f"a size beyond {SIDE_MAX} by {SIDE_MAX}")
        return cls(columns, rows)


class Screen(asyncssh.SSHClientSession[bytes]):
    """The node's side of a terminal: what it prints goes to the browser.

    Attributes:
        closed: done when the channel is closed.
        outcome: how the program ended, as the browser is told; None where it never said.
    """

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._untaken = 0
        self._is_held = False
        self._is_full = False
        self._untold = 0
        self._size: Size | None = None
        self._pacing: asyncio.TimerHandle | None = None
        self.closed = asyncio.Event()
        self.outcome: dict[str, object] | None = None
        self.lost: Exception | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Take the channel, and teach it to hear who comes and goes."""
        self._channel = chan
        chan.set_write_buffer_limits(_TYPED_HOLD)
        # The library looks for a method of this name for each request that the node makes on the channel.
        setattr(chan, _NEWS_METHOD, self._on_news)

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - the library's signature
        """Send the browser what the node printed."""
        self._untaken += len(data)
        self._socket.send_bytes(data)
        self._hold_or_go_on()

    def exit_status_received(self, status: int) -> None:
        """Keep how the program ended."""
        self.outcome = {"type": "exit", "status": status}

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002 - the library's
        """Keep which signal ended the program."""
        self.outcome = {"type": "exit", "signal": signal[:32]}

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the channel is closed."""
        self.lost = exc
        self.closed.set()
        if self._pacing:
            self._pacing.cancel()

    def pause_writing(self) -> None:
        """Hold the browser's paste: the node does not read what is typed."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Let the browser go on."""
        self._is_full = False
        self._tell_taken()

    def took(self, count: int) -> None:
        """Count what the browser has shown."""
        self._untaken = max(0, self._untaken - count)
        self._hold_or_go_on()

    def type(self, data: bytes) -> bool:
        """Send what was typed; False where more waits for the node than may."""
        if self._channel is None or self.closed.is_set():
            return True
        if self._channel.get_write_buffer_size() + len(data) > limits.TYPED_MAX:
            return False
        self._untold += len(data)
        # The program may have ended: its channel is closed for us before its last output is shown.
        with contextlib.suppress(OSError):
            self._channel.write(data)
        if not self._is_full:
            self._tell_taken()
        return True

    async def leave(self) -> None:
        """Close the channel, and wait until the node has: so it knows that the person went, and was not cut off."""
        if self._channel is None or self.closed.is_set():
            return
        self._channel.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL.total_seconds()):
                await self.closed.wait()

    def resize(self, size: Size) -> None:
        """Tell the node that the browser's window has another size: the last of many, a few times a second."""
        self._size = size
        if self._pacing is None:
            self._resize_now()

    def _resize_now(self) -> None:
        self._pacing = None
        size, self._size = self._size, None
        if size is None or self._channel is None or self.closed.is_set():
            return
        with contextlib.suppress(OSError):
            self._channel.change_terminal_size(size.columns, size.rows)
        self._pacing = asyncio.get_running_loop().call_later(_SIZE_PACE, self._resize_now)

    def _tell_taken(self) -> None:
        if self._untold >= _TOOK_STEP:
            self._socket.send_text(json.dumps({"type": "took", "bytes": self._untold}))
            self._untold = 0

    def _hold_or_go_on(self) -> None:
        if self._channel is None or self.closed.is_set():
            return
        if not self._is_held and self._untaken > _HOLD:
            self._is_held = True
            self._channel.pause_reading()
        elif self._is_held and self._untaken <= _GO_ON:
            self._is_held = False
            self._channel.resume_reading()

    def _on_news(self, packet: asyncssh.packet.SSHPacket) -> bool:
        """Tell the browser who takes part now. What is no such news is passed over: it is the device's word."""
        try:
            news = SessionNews.decode(packet.get_string())
        except (MessageError, asyncssh.packet.PacketDecodeError):
            return False
        self._socket.send_text(json.dumps({"type": "news", **json.loads(news.encode())}))
        return True


async def serve_terminal(guest: Guest, socket: WebSocket, order: Order, road: Road, traveller: Traveller) -> Ending:
    """Serve one terminal until the program, the browser or the hall ends it; return why."""
    size = await _first_size(socket)
    if size is None:
        return Ending(BAD_MESSAGE, "the page did not say how large its terminal is")
    screen = Screen(socket)
    try:
        async with road.to(traveller, order.node, order.login) as reached:
            await _open(reached.connection, screen, order, size)
            socket.send_text(json.dumps({"type": "open"}))
            return await _converse(guest, socket, screen, order) or Ending(FAILED, reached.explain(screen.lost))
    except RoadError as err:
        return Ending(FAILED, str(err))
    except TimeoutError:
        return Ending(FAILED, "the device did not answer in time")


def _counts(order: Order) -> bool:
    """Tell whether the browser's size counts: that of who only watches makes nobody's terminal smaller."""
    return order.session is None or order.mode == "peer"


async def _first_size(socket: WebSocket) -> Size | None:
    """Return what the first message says, or None where none comes or it is something else."""
    try:
        async with asyncio.timeout(_FIRST_WORD.total_seconds()):
            said = await socket.receive()
        return Size.from_fields(Fields(decode(said.encode()))) if isinstance(said, str) else None
    except (TimeoutError, MessageError):
        return None


async def _open(connection: asyncssh.SSHClientConnection, screen: Screen, order: Order, size: Size) -> None:
    """Open the channel."""
    env: dict[str | bytes, str | bytes] = {NEWS_VARIABLE: "1"}
    if order.session is not None:
        env |= {SESSION_VARIABLE: order.session, MODE_VARIABLE: order.mode}
    else:
        env["LANG"] = _LANGUAGE
    try:
        await connection.create_session(
            lambda: screen,
            env=env,
            request_pty="force",
            term_type=TERM,
            term_size=(size.columns, size.rows, 0, 0) if _counts(order) else (0, 0, 0, 0),
            encoding=None,
            window=_WINDOW,
            max_pktsize=_PACKET,
        )
    except (OSError, asyncssh.Error) as err:
        raise RoadError(f"the device did not open the session: {describe_loss(err)}") from err


async def _converse(guest: Guest, socket: WebSocket, screen: Screen, order: Order) -> Ending | None:
    """Carry what is typed, until either side ends; None where the connection to the node was lost."""
    async with asyncio.TaskGroup() as group:
        hearing = group.create_task(_hear(guest, socket, screen, order), name="browser")
        closing = group.create_task(screen.closed.wait(), name="node")
        await asyncio.wait({hearing, closing}, return_when=asyncio.FIRST_COMPLETED)
        hearing.cancel()
        closing.cancel()
    if not screen.closed.is_set():
        await screen.leave()
        return hearing.result()
    if screen.outcome is None:
        return None
    await _shown(socket)
    socket.send_text(json.dumps(screen.outcome))
    return Ending(NORMAL, "")


async def _shown(socket: WebSocket) -> None:
    """Let the browser take the program's last words."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS.total_seconds()):
            await socket.drained()


async def _hear(guest: Guest, socket: WebSocket, screen: Screen, order: Order) -> Ending:
    """Do what the browser says, until it says no more."""
    while (said := await socket.receive()) is not None:
        try:
            if isinstance(said, bytes):
                guest.is_used = guest.is_used or bool(said)
                if not screen.type(said):
                    return _TOO_MUCH
            else:
                _obey(said, screen, order)
        except MessageError as err:
            return Ending(BAD_MESSAGE, f"the page said something that is not understood: {err}")
    return Ending(NORMAL, "")


def _obey(said: str, screen: Screen, order: Order) -> None:
    """Do what one text message says. Raises `MessageError`."""
    fields = Fields(decode(said.encode()))
    kind = fields.take("type", text)
    if kind == "size":
        size = Size.from_fields(fields)
        if _counts(order):
            screen.resize(size)
    elif kind == "took":
        screen.took(fields.take("bytes", whole))
    elif kind == "answer":  # the terminal's own, to what a program asked of it: nobody has typed that
        screen.type(fields.take("data", text).encode())  # where there is no room, it goes unanswered
    else:
        raise MessageError("type: none that is known")
