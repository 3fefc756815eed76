"""How long the machine let a thread wait that wanted to run: what a promise about time is judged against."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

_BEAT = 0.05


class Stalls:
    """Watches from a thread of its own while it is entered."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._run, name="stalls")

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watch.join()

    def worst(self, since: float, until: float) -> float:
        """Return the longest wait between two instants of the monotonic clock, in seconds."""
        return max((late for at, late in self._late if since <= at <= until + _BEAT), default=0.0)

    def _run(self) -> None:
        due = time.monotonic() + _BEAT
        while not self._over.wait(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            self._late.append((now, now - due))
            due = now + _BEAT
