"""One at a time: whoever installs, upgrades or removes the agent of this device."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from edge_agent.rollout.fault import RolloutError, reason


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock while the block runs; afterwards it is gone. Raises `RolloutError` where somebody else does."""
    held = _take(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(held)


class Interruption:
    """What becomes of the signals that end a program: each is an exception at once, or kept until the block's end."""

    def __init__(self) -> None:
        self._is_held = False
        self._kept: int | None = None

    def hold(self) -> None:
        """Have none of them come between what is done from now on."""
        self._is_held = True

    def hear(self, number: int, _: FrameType | None) -> None:
        """Be told of one. Raises `SystemExit`, and `KeyboardInterrupt` for the one from the keyboard."""
        if self._is_held:
            self._kept = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    def release(self) -> None:
        """Have one that was kept take effect now. Raises as `hear` does."""
        self._is_held = False
        if self._kept is not None:
            self.hear(self._kept, None)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Have the signals that end a program be exceptions while the block runs, so that what was done is undone."""
    interruption = Interruption()
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, interruption.hear) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    interruption.release()


def _take(path: Path) -> int:
    while True:
        try:
            held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as err:
            raise RolloutError(f"{path} cannot be made: {reason(err)}") from None
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            raise RolloutError(
                "the agent of this device is being installed, upgraded or removed already: wait until that is over"
            ) from None
        with suppress(OSError):  # whoever held it before may have taken it away
            if os.path.samestat(os.fstat(held), os.stat(path)):  # noqa: PTH116 - beside its descriptor's
                return held
        os.close(held)
