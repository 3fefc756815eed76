"""What goes wrong."""

from __future__ import annotations


class RolloutError(Exception):
    """Something cannot be done, and was not. The message is one line that says what and what to do about it."""


def reason(err: Exception) -> str:
    """Return why something of the system did not work, on one line."""
    said = str(getattr(err, "strerror", None) or err).strip() or type(err).__name__
    return said.splitlines()[0][:300]
