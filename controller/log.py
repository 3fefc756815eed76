"""The controller's log: one line an event on standard error, ``TIME LEVEL [PART] text``, and the level they share.

Where standard error is the journal's, a line bears its priority (sd-daemon(3)) in place of the time, which the journal
has itself: `journalctl -p warning` then finds what is grave.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping

from controller.policy.severity import SEVERITIES

_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}
# The journal's priorities: syslog(3)'s.
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_LOWEST = 7


class _OneLine(logging.Formatter):
    """Writes a record as one line; what a peer put into it cannot begin another."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        return super().formatException(ei).replace("\n", " | ")  # type: ignore[arg-type]  # logging passes sys.exc_info()


class _ForJournal(_OneLine):
    """Begins a line with its priority, as the journal takes it off again."""

    def format(self, record: logging.LogRecord) -> str:
        return _mark(record.levelno) + super().format(record)


class LevelBoard:
    """By which level all processes of one controller log: a byte of memory that they share, and each looks at.

    Args:
        fd: the descriptor of that memory, from `make` or inherited.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._seen = b""

    @classmethod
    def make(cls, severity: str) -> LevelBoard:
        """Return a board that says `severity`. Raises `OSError`."""
        board = cls(os.memfd_create("skerry-log-level"))
        board.write(severity)
        return board

    def write(self, severity: str) -> None:
        """Say another level: DEBUG, INFO, WARN or ERROR. Raises `OSError`."""
        os.pwrite(self.fd, bytes([SEVERITIES.index(severity)]), 0)

    def read(self) -> str:
        """Return the level it says. Raises `OSError`."""
        return SEVERITIES[os.pread(self.fd, 1, 0)[0]]

    def follow(self) -> None:
        """Log by what it says from now on; where it says what it said at the last call, nothing is done."""
        told = os.pread(self.fd, 1, 0)
        if told != self._seen:
            self._seen = told
            set_level(SEVERITIES[told[0]])


def set_up_log(severity: str) -> None:
    """Send everything of `severity` (DEBUG, INFO, WARN, ERROR) and above to standard error."""
    logging.addLevelName(logging.WARNING, "WARN")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter())
    logging.basicConfig(handlers=[handler], force=True)
    set_level(severity)


def set_level(severity: str) -> None:
    """Log what is of `severity` and above, from now on."""
    logging.getLogger().setLevel(_LEVELS[severity])
    # asyncssh logs every connection and channel at INFO, under our own lines about the same.
    logging.getLogger("asyncssh").setLevel(logging.DEBUG if severity == "DEBUG" else logging.WARNING)


def priority(level: int) -> str:
    """Return what stands before a line of that level where standard error is the journal's, and nothing elsewhere."""
    return _mark(level) if is_journal(os.environ) else ""


def _mark(level: int) -> str:
    return f"<{next((number for least, number in _PRIORITIES if level >= least), _LOWEST)}>"


def _formatter() -> logging.Formatter:
    if is_journal(os.environ):
        return _ForJournal("%(levelname)-5s [%(name)s] %(message)s")
    return _OneLine("%(asctime)s %(levelname)-5s [%(name)s] %(message)s", "%Y-%m-%dT%H:%M:%SZ")


def is_journal(environment: Mapping[str, str], fd: int = 2) -> bool:
    """Tell whether what is written to `fd` goes to the journal (systemd.exec(5), ``$JOURNAL_STREAM``)."""
    try:
        stat = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"
