"""The agent's log: one line an event on standard error, ``2026-11-22T10:00:00Z INFO  [AGENT] text``."""

from __future__ import annotations

import logging
import sys
import time


def set_up_log(severity: str) -> None:
    """Log what is of `severity` (DEBUG, INFO, WARN, ERROR) and above."""
    formatter = logging.Formatter("%(asctime)s %(levelname)-5s [AGENT] %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    logging.addLevelName(logging.WARNING, "WARN")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL if severity != "DEBUG" else logging.INFO)
    logging.getLogger("skerry").setLevel(logging.getLevelName("WARNING" if severity == "WARN" else severity))
