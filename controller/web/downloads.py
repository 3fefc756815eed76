"""Who downloads large files just now: so many at once, and of one address so many, for they need no sign-in."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import IO

from werkzeug.wsgi import FileWrapper

_PIECE = 64 * 1024


class Downloads:
    """Those of one worker.

    Args:
        most: how many there may be at a time.
        per_address: how many of them one address may have.
    """

    def __init__(self, most: int = 64, per_address: int = 8) -> None:
        self._most = most
        self._per_address = per_address
        self._going: Counter[str] = Counter()
        self._counting = threading.RLock()  # the end of one may come in the midst of that, by the collector

    def begin(self, address: str) -> Callable[[], None] | None:
        """Count one in; return what is to be called once when it is over. None where there are too many."""
        with self._counting:
            if self._going.total() >= self._most or self._going[address] >= self._per_address:
                return None
            self._going[address] += 1
        return lambda: self._end(address)

    def _end(self, address: str) -> None:
        with self._counting:
            self._going[address] -= 1
            self._going += Counter()  # forgets those at nought


class Download(FileWrapper):
    """The pieces of a file, counted until it is closed, or nobody has it any more."""

    def __init__(self, file: IO[bytes], over: Callable[[], None]) -> None:
        super().__init__(file, _PIECE)
        self._over = weakref.finalize(self, over)

    def close(self) -> None:
        """End it. May be called again."""
        super().close()
        self._over()
