"""Instants as text and as milliseconds since 1970.

For programs, and where they are kept or logged: RFC 3339, UTC, milliseconds, ``2026-11-22T10:00:00.000Z``.
For people who read what a command prints: RFC 822 as RFC 1123 mends it, ``22 Nov 2026 10:00 UTC``: a clock may be wrong
by decades, and then a year of two digits misleads. Only where Teleport's own listing has two, there are two.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def format_instant(instant: datetime) -> str:
    """Return an aware `instant` as text, in UTC, cut to milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_instant(instant: datetime, *, seconds: bool = False) -> str:
    """Return an aware `instant` as people read it, in UTC: ``22 Nov 2026 22:17 UTC``, or to the second."""
    return instant.astimezone(UTC).strftime("%d %b %Y %H:%M:%S UTC" if seconds else "%d %b %Y %H:%M UTC")


def show_short_instant(instant: datetime) -> str:
    """Return an aware `instant` as Teleport's listing of tokens has it, in UTC: ``11 Oct 19 22:17 UTC``."""
    return instant.astimezone(UTC).strftime("%d %b %y %H:%M UTC")


def parse_instant(text: object) -> datetime:
    """Return the instant that `text` names.

    Raises:
        ValueError: it is no RFC 3339 instant with a zone.
    """
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("not an RFC 3339 instant")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not an RFC 3339 instant") from None
    if instant.tzinfo is None:
        raise ValueError("not an RFC 3339 instant: it has no zone")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("not an RFC 3339 instant: it is beyond the calendar's ends") from None


def parse_day(text: str) -> datetime:
    """Return the beginning of a day that is written ``2026-11-22``, UTC.

    Raises:
        ValueError: it is none; the message is safe to show.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"not a date: {text!r} (write 2006-01-02)") from None


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the instant so many `milliseconds` after 1970 began, UTC.

    Raises:
        OverflowError: the calendar does not reach that far.
    """
    return _EPOCH + timedelta(milliseconds=milliseconds)


def to_milliseconds(instant: datetime) -> int:
    """Return how many milliseconds after 1970 began an aware `instant` is, cut to whole ones."""
    return (instant - _EPOCH) // _MILLISECOND
