"""Playing a recording: in time on a terminal, or all of it at once as text or JSON."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from protocol.recording.cast import CastHeader, Code, Event
from protocol.recording.fault import RecordingError
from protocol.recording.plain import PlainText
from protocol.sizes import format_size
from protocol.table import cut_text
from tsh.caption import describe_exit
from tsh.error import TshError
from tsh.keyboard import KeyReader
from tsh.player import Mode, Player
from tsh.recording import Recording
from tsh.reel import Reel
from tsh.screen import Screen
from tsh.step import Step
from tsh.terminal import is_terminal, raw_terminal, terminal_size

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_BITE = 16 * 1024
_WAIT_MAX = 60.0
_PROGRESS_EVERY = 0.2
_EVENTS: dict[Code, str] = {
    "o": "output",
    "e": "error",
    "i": "input",
    "r": "resize",
    "m": "marker",
    "b": "binary",
    "j": "join",
    "l": "leave",
    "x": "exit",
}


def play(recording: Recording, *, speed: float, skip_idle: bool, live: bool) -> None:
    """Play on standard output, in time; keys are taken from standard input where both are terminals.

    Args:
        recording: what to play.
        speed: 2 for twice as fast.
        skip_idle: shorten the time in which nothing happens.
        live: begin with what happens now.

    Raises:
        TshError: the recording is broken, or no more of it can be had; what came before was played.
    """
    reel, screen = Reel(recording), Screen()
    with reel.fetched(), _stage(screen, reel):
        player = Player(reel, screen, now=time.monotonic(), speed=speed, skip_idle=skip_idle)
        if live:
            player.follow()
        ended = _run(reel, player)
    if ended and reel.fault is not None:
        raise _as_error(reel.fault)
    if ended and (said := recording.note or _describe_exit(reel)):
        say(said)


def _describe_exit(reel: Reel) -> str:
    """Return how the session ended, for a person: nothing where nobody would see it below what was shown."""
    if not is_terminal(_STDOUT) or not reel.count:
        return ""
    exits = [event.data for event in reel.events(reel.count - 1) if event.code == "x"]
    return f"the session ended: {describe_exit(exits[-1])}" if exits else ""


@contextmanager
def _stage(screen: Screen, reel: Reel) -> Iterator[None]:
    """Set the terminal up, and leave it fit for a shell."""
    with ExitStack() as restored:
        if _hears_keys():
            restored.enter_context(raw_terminal(_STDIN))
            restored.callback(termios.tcflush, _STDIN, termios.TCIFLUSH)
        if is_terminal(_STDOUT):
            before = signal.signal(signal.SIGWINCH, lambda *_: reel.ring())
            restored.callback(signal.signal, signal.SIGWINCH, before)
            restored.callback(lambda: _write(screen.restore()))
        yield


def _hears_keys() -> bool:
    """Tell whether keys are ours: where the output goes to a pager, they are the pager's."""
    return is_terminal(_STDIN) and is_terminal(_STDOUT)


def _run(reel: Reel, player: Player) -> bool:
    """Play until the end, or until somebody quits. Returns whether it was the end."""
    keys, introduced = KeyReader(), False
    heard = [reel.changes, *([_STDIN] if _hears_keys() else [])]
    wait: float | None = 0.0
    while True:
        ready, _, _ = select.select(heard, [], [], wait)
        if reel.changes in ready:
            reel.hear()
        player.resize(_screen_size(), time.monotonic())
        if _STDIN in ready and not _press(keys, player):
            return False
        if reel.count and not introduced:
            introduced = True
            _introduce(reel, player)
        step = player.step(time.monotonic())
        _show(step)
        if step.over:
            return True
        reel.want(player.block, player.target if player.mode is Mode.SEEKING else 0.0)
        wait = None if step.wait is None else min(step.wait, _WAIT_MAX)


def _press(keys: KeyReader, player: Player) -> bool:
    """Hand on what was typed; return whether it goes on."""
    typed = os.read(_STDIN, 1024)
    if not typed:
        return False  # the terminal has gone
    for key in keys.read(typed):
        player.press(key, time.monotonic())
    if player.mode is not Mode.OVER:
        return True
    _write(player.step(time.monotonic()).output)
    return False


def _introduce(reel: Reel, player: Player) -> None:
    reel.events(0)
    header, size = reel.header, _screen_size()
    if header is None:
        return
    player.introduce(header)
    if size and (size[0] < header.width or size[1] < header.height):
        text = (
            f"WARNING: this terminal has {size[0]} columns and {size[1]} lines, and the session's had {header.width} "
            f"and {header.height}: what is shown may look broken until you enlarge it"
        )
        say(f"{text}\r" if _hears_keys() else text)  # it is raw


def _screen_size() -> tuple[int, int] | None:
    size = terminal_size(_STDOUT)
    return size[:2] if size else None


def _show(step: Step) -> None:
    _write(step.output)
    size = _screen_size()
    if step.status is not None and size is not None:
        _write(f"\x1b7\x1b[?6l\x1b[{size[1]};1H\x1b[0;7m{cut_text(step.status, size[0])}\x1b[0m\x1b[K\x1b8")


def _write(text: str) -> None:
    data = memoryview(text.encode(errors="replace"))
    while data:
        data = data[os.write(_STDOUT, data[:_BITE]) :]


def say(text: str) -> None:
    """Tell the person something that is no output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


# --- all at once ---


def print_text(recording: Recording) -> None:
    """Write everything that was shown to standard output, ignoring time. Raises as `play` does."""
    screen, plain = Screen() if is_terminal(_STDOUT) else None, PlainText()
    try:
        for item in _items(recording):
            if isinstance(item, Event) and (text := plain.show(item)):
                _write(screen.show(text) if screen else text)
    finally:
        _write(plain.end())
        if screen:
            _write(screen.restore())


def print_json(recording: Recording) -> None:
    """Write one line of JSON for each event to standard output, the session's beginning first. Raises as `play`."""
    for item in _items(recording):
        _write(json.dumps(_describe(item)) + "\n")


def _describe(item: CastHeader | Event) -> dict[str, object]:
    if isinstance(item, Event):
        return {"time": item.time / 1000, "event": _EVENTS[item.code], "data": item.data}
    size = {"width": item.width, "height": item.height}
    known = {"time": 0.0, "event": "start", **size, "command": item.command, "env": dict(item.env)}
    return known | {name: value for name, value in item.said.items() if name not in known}


def _items(recording: Recording) -> Iterator[CastHeader | Event]:
    shows_progress = is_terminal(_STDERR) and not is_terminal(_STDOUT)
    progress = _Progress(recording) if shows_progress else None
    stop = threading.Event()
    try:
        for block in recording.blocks(stop.wait):
            if block is not None:
                yield from recording.open(block)
            if progress:
                progress.tell()
    except RecordingError as err:
        raise _as_error(err) from None
    finally:
        if progress:
            progress.erase()
    if recording.note:
        say(recording.note)


class _Progress:
    """A line on standard error that tells how much has come, for transfers that last."""

    def __init__(self, recording: Recording) -> None:
        self._content = recording.content
        self._next = time.monotonic() + 1.0
        self._shown = False

    def tell(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next, self._shown = now + _PROGRESS_EVERY, True
        content = self._content
        part = f"{100 * content.held // max(content.total, 1)} %, " if content.total > content.held else ""
        whole = f"{format_size(content.total)}{', still arriving' if content.state == 'arriving' else ''}"
        sys.stderr.write(f"\r{part}{format_size(content.held)} of {whole}\x1b[K")
        sys.stderr.flush()

    def erase(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _as_error(err: Exception) -> Exception:
    return TshError(f"the recording is broken at {err}") if isinstance(err, RecordingError) else err
