"""The agent's log: one line an event on standard error, ``2026-11-22T10:00:00Z INFO  [AGENT] text``.

Where standard error is the journal's, a line bears its priority (sd-daemon(3)) in place of the time, which the journal
has itself: `journalctl -p warning` then finds what is grave.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping

# The journal's priorities: syslog(3)'s.
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_LOWEST = 7


class _ForJournal(logging.Formatter):
    """Begins each line with its priority, which the journal takes off again."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), _LOWEST)
        return f"<{priority}>" + super().format(record).replace("\n", f"\n<{priority}>")


def set_up_log(severity: str) -> None:
    """Log what is of `severity` (DEBUG, INFO, WARN, ERROR) and above."""
    logging.addLevelName(logging.WARNING, "WARN")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    set_severity(severity)


def set_severity(severity: str) -> None:
    """Log what is of `severity` and above, from now on."""
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL if severity != "DEBUG" else logging.INFO)
    logging.getLogger("skerry").setLevel(logging.getLevelName("WARNING" if severity == "WARN" else severity))


def _formatter() -> logging.Formatter:
    if is_journal(os.environ):
        return _ForJournal("%(levelname)-5s [AGENT] %(message)s")
    formatter = logging.Formatter("%(asctime)s %(levelname)-5s [AGENT] %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    return formatter


def is_journal(environment: Mapping[str, str], fd: int = 2) -> bool:
    """Tell whether what is written to `fd` goes to the journal (systemd.exec(5), ``$JOURNAL_STREAM``)."""
    try:
        stat = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"
