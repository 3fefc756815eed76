"""The one error that ends a command with a message instead of a traceback."""

from __future__ import annotations

REFUSED = 1
MISUSED = 2
# What `tctl recordings verify` ends with where a recording is sound, but not whole, or in nobody's word but its own.
INTERRUPTED = 3
UNFINISHED = 4
UNVOUCHED = 5


class TctlError(Exception):
    """A command cannot go on. Its text says what was being done, what went wrong and what to do next.

    Attributes:
        status: the exit status, `REFUSED` or, for a wrong command line or configuration, `MISUSED`.
    """

    def __init__(self, message: str, status: int = REFUSED) -> None:
        super().__init__(message)
        self.status = status
