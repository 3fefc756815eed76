"""The terminal of who runs a command."""

from __future__ import annotations

import os


def terminal_width() -> int | None:
    """Return how wide the terminal is, in cells; None where standard output is none."""
    try:
        return os.get_terminal_size(1).columns or None
    except OSError:
        return None
