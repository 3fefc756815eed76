"""The controller's log: one line an event on standard error, ``TIME LEVEL [PART] text``."""

from __future__ import annotations

import logging
import sys
import time

_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}


class _OneLine(logging.Formatter):
    """Writes a record as one line; what a peer put into it cannot begin another."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        return super().formatException(ei).replace("\n", " | ")  # type: ignore[arg-type]  # logging passes sys.exc_info()


def set_up_log(severity: str) -> None:
    """Send everything of `severity` (DEBUG, INFO, WARN, ERROR) and above to standard error."""
    logging.addLevelName(logging.WARNING, "WARN")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)-5s [%(name)s] %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
    logging.basicConfig(level=_LEVELS[severity], handlers=[handler], force=True)
    # asyncssh logs every connection and channel at INFO, under our own lines about the same.
    logging.getLogger("asyncssh").setLevel(logging.DEBUG if severity == "DEBUG" else logging.WARNING)
