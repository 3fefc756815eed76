"""Instants as text: RFC 3339, UTC, milliseconds, ``2026-11-22T10:00:00.000Z``."""

from __future__ import annotations

from datetime import UTC, datetime


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
