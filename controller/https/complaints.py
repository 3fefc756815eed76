"""What a door says about bad peers."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta

from controller.policy.rate import Rate, draw, full_bucket
from protocol.decision import Granted

_COMPLAINTS = Rate(per_minute=120, burst=240)
# Who does the same again and again is complained of again after so long.
_REST = timedelta(minutes=10)
_SUBJECTS_MAX = 1_000


class Complaints:
    """Lines about bad peers: so many a minute, so that a flood of them does not fill the disk."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._bucket = full_bucket(_COMPLAINTS, datetime.now(UTC))
        self._left_out = 0
        self._subjects: dict[str, tuple[datetime, int]] = {}
        self._lock = threading.Lock()

    def say_once(self, subject: str, text: str, *values: object) -> None:
        """Write a line, unless it was written of this subject a short while ago; then it is counted."""
        with self._lock:
            count = self._count(subject, datetime.now(UTC))
        if count:
            more = f" ({count} times since it was last told)" if count > 1 else ""
            self.say(text + "%s", *values, more)

    def _count(self, subject: str, now: datetime) -> int:
        """Return how often it has happened since it was told, this time included; 0 where it is not to be told yet."""
        told, count = self._subjects.get(subject, (None, 0))
        if told is not None and told <= now < told + _REST:
            self._subjects[subject] = (told, count + 1)
            return 0
        if len(self._subjects) >= _SUBJECTS_MAX:
            self._subjects.clear()
        self._subjects[subject] = (now, 0)
        return count + 1

    def say(self, text: str, *values: object, level: int = logging.WARNING) -> None:
        """Write a line, or count it as left out."""
        with self._lock:
            answer = draw(self._bucket, _COMPLAINTS, datetime.now(UTC))
            if not isinstance(answer, Granted):
                self._left_out += 1
                return
            self._bucket, left_out, self._left_out = answer.value, self._left_out, 0
        if left_out:
            self._log.warning("%d lines about bad requests left out", left_out)
        self._log.log(level, text, *values)
