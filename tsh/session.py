"""One session on a node: standard streams and terminal on this side, an SSH channel on the other.

No stream objects in between: what arrives is written at once, and what cannot be written holds the
channel, so that a stalled reader costs one window of memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import ExitStack

import asyncssh
from asyncssh.constants import EXTENDED_DATA_STDERR

from protocol.ssh.caller import describe_loss
from tsh.client import FAILED, PACKET, WINDOW
from tsh.error import TshError
from tsh.plan import Journey
from tsh.stream import Sink, Source
from tsh.terminal import HELP, Escape, EscapeReader, is_terminal, raw_terminal, terminal_modes, terminal_size
from tsh.traces import Traces

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_DEFAULT_SIZE = (80, 24, 0, 0)
_TYPED_MAX = 1024 * 1024
_WORDS_MAX = 256  # of what a node says first, to whom it does not let join
_BROKEN_PIPE = 128 + signal.SIGPIPE
# What the node is told of this side's settings when there is a terminal: what Debian's ssh sends.
_SENT_ENVIRONMENT = ("LANG", "LC_")


class _Session(asyncssh.SSHClientSession[bytes]):
    def __init__(self, journey: Journey) -> None:
        # Several nodes cannot share one standard input: then each command finds it at its end.
        self._reads = journey.stdin and len(journey.stops) == 1
        self._joining = journey.joining
        self._traces = Traces() if journey.pty and is_terminal(_STDOUT) else None
        self._begin = b""
        self._changed = asyncio.Event()
        self._out = Sink(_STDOUT, self._on_sink)
        self._err = Sink(_STDERR, self._on_sink)
        self._source = Source(_STDIN, self._on_typed)
        self._escapes = EscapeReader() if journey.pty and is_terminal(_STDIN) else None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._held = False
        self._closed = self._has_exited = False
        self.disconnect = False
        self.lost: Exception | None = None
        self.status: int | None = None

    # --- what the channel tells ---

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        if self._escapes:  # a node that stalls must not keep `~.` from being read
            chan.set_write_buffer_limits(_TYPED_MAX)

    def session_started(self) -> None:
        if self._reads:
            self._source.start()
        elif self._channel and not self._joining:  # who only watches has no input to end
            self._channel.write_eof()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._joining:
            self._begin += data[: _WORDS_MAX - len(self._begin)]
        if self._traces:
            self._traces.see(data)
        sink = self._err if datatype == EXTENDED_DATA_STDERR else self._out
        sink.write(data)
        if sink.stalled and self._channel and not self._held:
            self._held = True
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        return True  # the command may close its output and still read

    def exit_status_received(self, status: int) -> None:
        self.status = status
        self._has_exited = True

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002 - the library's
        self.status = 128 + _signal_number(signal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._source.pause()
        self.lost = exc
        self._closed = True
        self._changed.set()

    def pause_writing(self) -> None:
        self._source.pause()

    def resume_writing(self) -> None:
        if not self._closed and self._reads:
            self._source.start()

    # --- what this side tells ---

    def _on_sink(self) -> None:
        self._changed.set()
        stalled = self._out.stalled or self._err.stalled
        if self._held and not stalled and self._channel and not self._closed:
            self._held = False
            self._channel.resume_reading()
        if self.broken and self._channel:
            self._channel.abort()

    def _on_typed(self, data: bytes) -> None:
        if not self._channel or self._closed:
            return
        if not data:
            self._channel.write_eof()
            return
        for piece in self._escapes.read(data) if self._escapes else (data,):
            if isinstance(piece, bytes):
                self._channel.write(piece)
            elif piece is Escape.HELP:
                self._err.write(HELP + (self._joining.help if self._joining else b""))
            else:
                self.disconnect = True
                self._source.pause()
                self._channel.abort()
                return

    @property
    def broken(self) -> bool:
        """Whether nobody reads our output any more."""
        return bool(self._out.broken or self._err.broken)

    @property
    def advice(self) -> str:
        """What to say to somebody whom the node did not let join; empty where there is nothing to say."""
        refused = self._joining and self.status == FAILED and self._joining.words in self._begin
        return self._joining.advice if self._joining and refused else ""

    def resize(self) -> None:
        size = terminal_size(_STDIN) or terminal_size(_STDOUT)
        if size and self._channel and not self._closed:
            self._channel.change_terminal_size(*size)

    async def finished(self) -> None:
        """Wait until the channel is closed and everything that came is written."""
        while not (self._closed and (self.broken or not (self._out.stalled or self._err.stalled))):
            await self._changed.wait()
            self._changed.clear()

    def close(self) -> None:
        self._closed = True
        self._source.pause()
        # A program that goes on, or was cut off, has not put the terminal right.
        if self._traces and (self._joining or not self._has_exited):
            self._out.write(self._traces.undo())
        self._out.close()
        self._err.close()


def _signal_number(name: str) -> int:
    try:
        return signal.Signals[f"SIG{name}"].value
    except KeyError:
        return 127  # a signal this system does not have


def _environment(journey: Journey) -> dict[str | bytes, str | bytes]:
    if journey.joining:
        return dict(journey.joining.variables.items())
    if not journey.pty:
        return {}
    return {name: value for name, value in os.environ.items() if name.startswith(_SENT_ENVIRONMENT)}


async def run_session(connection: asyncssh.SSHClientConnection, name: str, journey: Journey) -> int:
    """Run one session to its end and return its exit status: the command's, 128 + n for a signal.

    Args:
        connection: to the node.
        name: what to call the node in messages.
        journey: what is wanted of the session.

    Raises:
        TshError: the node refused the session, or the connection went.
    """
    session = _Session(journey)
    try:
        with ExitStack() as restored:
            await _open(connection, session, name, journey)
            if journey.pty and is_terminal(_STDIN):
                restored.enter_context(raw_terminal(_STDIN))
            if journey.pty:
                asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, session.resize)
            await session.finished()
    finally:
        session.close()
    return _outcome(session, name, journey)


async def _open(connection: asyncssh.SSHClientConnection, session: _Session, name: str, journey: Journey) -> None:
    terminal = _STDIN if is_terminal(_STDIN) else _STDOUT
    try:
        await connection.create_session(
            lambda: session,
            journey.command,
            env=_environment(journey),
            request_pty="force" if journey.pty else False,
            term_type=os.environ.get("TERM", "xterm") if journey.pty else None,
            term_size=(terminal_size(terminal) or _DEFAULT_SIZE) if journey.pty else (),
            term_modes=terminal_modes(terminal) if journey.pty else {},
            encoding=None,
            window=WINDOW,
            max_pktsize=PACKET,
        )
    except asyncssh.ChannelOpenError as err:
        raise TshError(f"{name} refused the session: {describe_loss(err)}", FAILED) from err
    except (OSError, asyncssh.Error) as err:
        raise TshError(f"Connection to {name} lost: {describe_loss(err)}", FAILED) from err


def _outcome(session: _Session, name: str, journey: Journey) -> int:
    if session.disconnect and journey.joining:
        sys.stderr.write(f"{journey.joining.farewell}\n")
        return 0
    if session.disconnect:
        raise TshError(f"Connection to {name} closed.", FAILED)
    if session.broken:
        return _BROKEN_PIPE
    if session.advice:
        raise TshError(session.advice, FAILED)
    if session.status is not None:
        return session.status
    raise TshError(f"Connection to {name} lost: {describe_loss(session.lost)}", FAILED)
