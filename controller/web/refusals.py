"""Which refusals the audit log was told of: each once in a while, and then how many there were."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from protocol import limits
from protocol.events import Json

_REMEMBERED = 10_000
Fields = dict[str, Json]


@dataclass(slots=True)
class _Told:
    """What was told, when, and how often the same was refused since."""

    fields: Fields
    at: datetime
    untold: int = 0


class Refusals:
    """Who was refused what. May be asked by any thread; each process keeps its own.

    One who asks again and again would bury the log. Those that were not told are counted, and the count is told with
    the first refusal, of anybody's, after `limits.REFUSAL_AGAIN`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], _Told] = {}

    def tell(self, user: str, what: str, fields: Fields, now: datetime, write: Callable[[Fields], object]) -> None:
        """Have the audit log told of a refusal, where it is due, and of what is due beside.

        Args:
            user: who was refused: a name, or an address where that is nobody's.
            what: what they asked for.
            fields: the event's.
            now: the time.
            write: tells the audit log; what it raises is raised, and nothing is taken for told.
        """
        key = (user, what)
        with self._lock:
            known = self._told.get(key)
            if known is not None and known.at <= now < known.at + limits.REFUSAL_AGAIN:
                known.untold += 1
                known.fields = fields
                return
            self._told.pop(key, None)
            due = [key for key, told in self._told.items() if not told.at <= now < told.at + limits.REFUSAL_AGAIN]
            others = [told for told in map(self._told.pop, due) if told.untold]
        count = 1 + (known.untold if known else 0)
        for told in others:
            write(told.fields | {"count": told.untold})
        write(fields | ({"count": count} if count > 1 else {}))
        with self._lock:
            if len(self._told) >= _REMEMBERED:
                self._told.clear()
            self._told[key] = _Told(fields, now)
