"""A session: one program, its terminal or pipes, and those who take part.

The session owns the program; a party (see `edge_agent.party`) is one channel's end of it, and any number may
attend. Whoever only wants to see what happens, such as the audit log or a recorder, is a `Tap`.

Output is read straight from the file descriptor in large pieces and handed on at once; a party that cannot
keep up holds the session, which then stops reading, and the program blocks: nothing is gathered in memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from contextlib import suppress
from typing import Literal, Protocol

from edge_agent.child import Child, Children, Ended, Program, TerminalSize, ignores_hangup, signal_as, spawn
from edge_agent.terminal_modes import set_size, within_bounds
from edge_agent.terminal_output import PIECE, TerminalOutput

Stream = Literal["output", "error"]
_READ_MAX = 64 * 1024
# How often a terminal is asked for more before others have their turn.
_TERMINAL_READS = 16
# Input that the program has not read yet; beyond it the parties are asked to wait.
_INPUT_HIGH = 128 * 1024
# After a program on a terminal has ended, what others still print there is awaited for so long.
_LINGER = 0.1
# A terminal that nobody has open is asked again after so long, until its program has ended.
_RECESS = 0.5
HANGUP_GRACE = 5.0
# Signals that are being delivered; beyond them, more are passed over.
_SIGNALS_MAX = 4


class Tap(Protocol):
    """What a session tells of itself."""

    def started(self, session: Session) -> None:
        """Hear that the program runs."""

    def output(self, data: bytes, stream: Stream) -> None:
        """Hear that it has written `data`."""

    def input(self, data: bytes) -> None:
        """Hear that it is given `data` to read."""

    def resized(self, size: TerminalSize) -> None:
        """Hear that its terminal has a new size."""

    def input_ready(self) -> None:
        """Hear that it takes input again, after `feed` had answered False."""

    def ended(self, how: Ended) -> None:
        """Hear that it has ended, and that all its output has been told. The last call."""


class Session:
    """One program and those who attend it."""

    def __init__(self, program: Program, children: Children, *, taps: tuple[Tap, ...] = ()) -> None:
        self.program = program
        self._children = children
        self._taps = list(taps)
        self._loop = asyncio.get_running_loop()
        self._child: Child | None = None
        self._reading: set[int] = set()
        self._holders: set[object] = set()
        self._input: deque[bytes | memoryview] = deque()
        self._input_size = 0
        self._input_full = False
        self._input_holders: set[object] = set()
        self._input_ends = False
        self._how: Ended | None = None
        self._over = False
        self._signalling = 0
        self._timer: asyncio.TimerHandle | None = None
        self._printed = TerminalOutput(self._loop, lambda data: self._tell(data, "output"))

    # --- the program ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the program. Raises `OSError` where it cannot be."""
        child = self._child = spawn(self.program, self._children.threshold)
        self._children.watch(child.process, self._exited)
        self._reading = set(child.outputs)
        self._read_on()
        for tap in self._taps:
            tap.started(self)

    @property
    def is_over(self) -> bool:
        """Whether all parties have been told that it ended."""
        return self._over

    def resize(self, size: TerminalSize) -> None:
        """Give the terminal a new size; without one, nothing happens."""
        if self._child and self._child.terminal is not None:
            size = within_bounds(size)  # the same for the terminal and for whoever hears of it
            with suppress(OSError):
                set_size(self._child.terminal, size)
            for tap in self._taps:
                tap.resized(size)

    def redraw(self) -> None:
        """Tell the program on the terminal to look at its size (SIGWINCH): one that paints all of it paints anew."""
        child = self._child
        if child and child.terminal is not None and self._how is None:
            with suppress(OSError):
                self._kill(os.tcgetpgrp(child.terminal), signal.SIGWINCH)

    def send_signal(self, name: str) -> None:
        """Send the program a signal, by its name without SIG: on a terminal, to whoever is in the foreground."""
        child = self._child
        if child is None or self._how is not None:
            return
        group = child.pid
        with suppress(OSError):
            if child.terminal is not None:
                group = os.tcgetpgrp(child.terminal) or group
        if group > 1:
            self._deliver(group, name)

    def _deliver(self, group: int, name: str) -> None:
        """Send a signal that the peer asked for, with no more rights than the login has."""
        account = self.program.account
        if account.uid == os.geteuid():
            self._kill(group, signal.Signals[f"SIG{name}"])
        elif self._signalling < _SIGNALS_MAX:
            with suppress(OSError):
                sender = signal_as(account, group, name, self._children.threshold)
                self._children.watch(sender, self._delivered)
                self._signalling += 1

    def _delivered(self, how: Ended) -> None:  # noqa: ARG002 - the kernel has its reasons
        self._signalling -= 1

    def hang_up(self, *, grace: float = HANGUP_GRACE, spare: bool = True) -> None:
        """End it as a lost line would: SIGHUP now, SIGKILL after `grace` seconds.

        With `spare`, a program that ignores SIGHUP, as under `nohup`, lives on without us.
        """
        child = self._child
        if child is None or self._over:
            return
        if self._how is None:
            if child.terminal is not None:
                with suppress(OSError):
                    self._kill(os.tcgetpgrp(child.terminal), signal.SIGHUP)
            self._kill(child.pid, signal.SIGHUP)
        self._close_input()
        self._close_outputs()
        if self._how is not None or (spare and ignores_hangup(child.pid)):
            self._finish(self._how or Ended(None))
        else:
            self._later(grace, self._kill, child.pid, signal.SIGKILL)

    # --- output -----------------------------------------------------------------------------------------------

    def hold(self, holder: object) -> None:
        """Read no more output until `holder` has released the session."""
        if not self._holders:
            for fd in self._reading:
                self._loop.remove_reader(fd)
        self._holders.add(holder)

    def release(self, holder: object) -> None:
        """Take back a `hold`."""
        if holder in self._holders:
            self._holders.discard(holder)
            if not self._holders:
                self._read_on()
                self._after_exit()

    def _read_on(self) -> None:
        if self._child and not self._holders:
            for fd in self._reading:
                self._loop.add_reader(fd, self._read, fd)

    def _read(self, fd: int) -> None:
        child = self._child
        if child is None or self._holders:
            return
        open_still = self._read_terminal(fd) if child.terminal is not None else self._read_pipe(fd, child)
        if not open_still and child.terminal is not None and self._how is None:
            self._recess(fd)
        elif not open_still:
            self._close_output(fd)
            self._after_exit()
        elif self._timer and self._how is not None:
            self._later(_LINGER, self._lingered)

    def _recess(self, fd: int) -> None:
        """Read on a little later: the program has closed its terminal, and may open it again.

        Most are about to end. Our side stays open until they have: to close it is to send them SIGHUP (POSIX, close()),
        which would end them before they have said how they end.
        """
        self._loop.remove_reader(fd)
        self._printed.flush()
        self._later(_RECESS, self._read_on)

    def _read_pipe(self, fd: int, child: Child) -> bool:
        """Read once; return whether there may be more some time."""
        data = _read(fd, _READ_MAX)
        if data:
            self._tell(data, "error" if len(child.outputs) > 1 and fd == child.outputs[1] else "output")
        return data != b""

    def _read_terminal(self, fd: int) -> bool:
        """Read what the terminal has at hand; return whether there may be more some time."""
        for _ in range(_TERMINAL_READS):
            data = _read(fd, PIECE)
            if not data:
                return data is None
            self._printed.add(data)
            if self._holders:
                break
        return True

    def _tell(self, data: bytes, stream: Stream) -> None:
        for tap in self._taps:
            tap.output(data, stream)

    def _close_outputs(self) -> None:
        for fd in tuple(self._reading):
            self._close_output(fd)

    def _close_output(self, fd: int) -> None:
        child = self._child
        self._reading.discard(fd)
        self._loop.remove_reader(fd)
        if child and fd == child.terminal:
            self._printed.flush()
            self._close_input()
            child.terminal = None
        os.close(fd)

    # --- input ------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Give the program input. False: enough for now, until the taps hear `input_ready`."""
        child = self._child
        if child is None or child.input is None or self._input_ends:
            return True  # it reads no more: what comes is dropped
        for tap in self._taps:
            tap.input(data)
        self._input.append(data)
        self._input_size += len(data)
        if len(self._input) == 1:
            self._write()
        self._input_full = self._input_size > _INPUT_HIGH or bool(self._input_holders)
        return not self._input_full

    def hold_input(self, holder: object) -> None:
        """Ask the parties to wait with their input until `holder` has released it."""
        self._input_holders.add(holder)

    def release_input(self, holder: object) -> None:
        """Take back a `hold_input`."""
        self._input_holders.discard(holder)
        self._take_more()

    def feed_end(self) -> None:
        """Say that no more input comes. A terminal has no such thing, and takes no notice."""
        if self._child and self._child.terminal is None:
            self._input_ends = True
            if not self._input:
                self._close_input()

    def _write(self) -> None:
        child = self._child
        if child is None or child.input is None:
            return
        try:
            self._write_to(child.input)
            self._loop.remove_writer(child.input)
            if self._input_ends:
                self._close_input()
        except BlockingIOError:
            self._loop.add_writer(child.input, self._write)
        except OSError:
            self._close_input()  # it closed its standard input, or is gone
        self._take_more()

    def _take_more(self) -> None:
        if self._input_full and self._input_size <= _INPUT_HIGH // 2 and not self._input_holders:
            self._input_full = False
            for tap in self._taps:
                tap.input_ready()

    def _write_to(self, fd: int) -> None:
        while self._input:
            first = self._input[0]
            written = os.write(fd, first)
            self._input_size -= written
            if written < len(first):
                self._input[0] = memoryview(first)[written:]
            else:
                self._input.popleft()

    def _close_input(self) -> None:
        child = self._child
        self._input.clear()
        self._input_size = 0
        if child and child.input is not None:
            self._loop.remove_writer(child.input)
            if child.input != child.terminal:
                os.close(child.input)
            child.input = None

    # --- the end ----------------------------------------------------------------------------------------------

    def _exited(self, how: Ended) -> None:
        self._how = how
        self._cancel_timer()
        if self._child and self._child.terminal is not None:
            self._later(_LINGER, self._lingered)
            self._read_on()  # it may be at recess
        self._after_exit()

    def _after_exit(self) -> None:
        """End where the program has ended and its output is read to the end, whoever else holds a pipe of it open."""
        if self._how is not None and not self._reading:
            self._finish(self._how)

    def _lingered(self) -> None:
        """Stop waiting for those who print on a terminal whose owner has gone, unless a party is still behind."""
        if self._holders:
            self._later(_LINGER, self._lingered)
        else:
            self._close_outputs()
            self._after_exit()

    def _finish(self, how: Ended) -> None:
        if self._over:
            return
        self._over = True
        self._cancel_timer()
        self._close_input()
        self._close_outputs()
        for tap in self._taps:
            tap.ended(how)
        self._taps.clear()

    def _later(self, seconds: float, call: object, *arguments: object) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, call, *arguments)  # type: ignore[arg-type]

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _kill(self, group: int, number: signal.Signals) -> None:
        if group > 1:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)


def _read(fd: int, most: int) -> bytes | None:
    """Return what is there to read; nothing at the end; None where there is nothing yet."""
    try:
        return os.read(fd, most)
    except BlockingIOError:
        return None
    except OSError:
        return b""
