"""What a door says about bad peers."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from controller.policy.rate import Rate, draw, full_bucket
from protocol.decision import Granted

_COMPLAINTS = Rate(per_minute=120, burst=240)


class Complaints:
    """Lines about bad peers: so many a minute, so that a flood of them does not fill the disk."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._bucket = full_bucket(_COMPLAINTS, datetime.now(UTC))
        self._left_out = 0
        self._lock = threading.Lock()

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
