"""What mosquitto says, in our own log: so many lines and no more, for strangers at the door may cause them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import datetime

from controller.policy.rate import Rate, TooSoon, draw, full_bucket

LOG = logging.getLogger("BROKER")
_RATE = Rate(per_minute=6, burst=30)
_LINE_MAX_CHARS = 300
# Before it has read its configuration, mosquitto puts the time before what it says.
_TIME = re.compile(r"^\d{9,}: ", re.ASCII)
# Said at every start and reload: topics that are everybody's are the same for all, and are meant to be.
_KNOWN = re.compile(r"Warning: ACL pattern 'c/\w+' does not contain")


class BrokerLog:
    """Writes lines of mosquitto's to the log, and how many were left out. `clock` returns the time, UTC."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._bucket = full_bucket(_RATE, clock())
        self._left_out = 0

    def write(self, line: str) -> None:
        """Take one line."""
        line = _TIME.sub("", line)
        if not line or _KNOWN.match(line):
            return
        drawn = draw(self._bucket, _RATE, self._clock())
        if isinstance(drawn, TooSoon):
            self._left_out += 1
            return
        self._bucket = drawn.value
        if self._left_out:
            LOG.warning("%d more lines of the broker's were left out", self._left_out)
            self._left_out = 0
        LOG.log(_level(line), "%s", line[:_LINE_MAX_CHARS])


def _level(line: str) -> int:
    """Return how grave it is: mosquitto's own troubles begin with ``Error:``, those of peers do not."""
    if line.startswith("Error:"):
        return logging.ERROR
    return logging.WARNING if line.startswith(("Warning:", "OpenSSL Error")) else logging.INFO
