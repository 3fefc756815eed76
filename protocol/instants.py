"""Instants as text, RFC 3339, UTC, milliseconds, ``2026-11-22T10:00:00.000Z``, and as milliseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def format_instant(instant: datetime) -> str:
    """Return an aware `instant` as text, in UTC, cut to milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
