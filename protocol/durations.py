"""Spans of time as people type and read them here: Go's notation, ``1h30m0s``."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PIECE = re.compile(r"(\d{1,9})([dhms])", re.ASCII)


class BadDurationError(ValueError):
    """A text is not a span of time. Its message is safe to show."""


def parse_duration(text: str) -> timedelta:
    """Return the span that `text` names, such as ``30m``, ``1h0m0s``, ``7d`` or bare minutes, ``90``.

    Raises:
        BadDurationError: it is none, or not longer than nothing.
    """
    if text.isascii() and text.isdigit():
        text += "m"  # bare minutes, as `tsh login --ttl` takes them
    pieces = _PIECE.findall(text)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in pieces)
    whole = "".join(number + unit for number, unit in pieces) == text
    if pieces and whole and not seconds:
        message = f"not a span of time: {text!r} (it has to be more than nothing)"
        raise BadDurationError(message)
    if not whole or not 0 < seconds <= timedelta.max.days * 86400:
        message = f"not a span of time: {text!r} (write 30m, 12h, 1h30m or 7d)"
        raise BadDurationError(message)
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """Return `span` in whole seconds as Go prints it: ``12h0m0s``, ``30m0s``, ``5s``; never below ``0s``."""
    seconds = max(0, round(span.total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def describe_duration(span: timedelta) -> str:
    """Return `span` as a sentence names it: ``30 minutes``, ``1 hour``, ``8 hours``, ``90 seconds``."""
    seconds = max(0, round(span.total_seconds()))
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"{count} {word}" + ("" if count == 1 else "s")
    return f"{seconds} second" + ("" if seconds == 1 else "s")


def brief_duration(seconds: int) -> str:
    """Return a span as a table has room for: its two largest units, such as ``3d 4h``, ``5m 2s``, ``0s``."""
    left = min(seconds, int(timedelta.max.total_seconds()))
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join([part for part in parts[:2] if not part.startswith("0")]) or "0s"
