"""Which recordings a listing is of: the flags, and what is said where there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from controller.tctl.setting import parsed
from protocol.durations import format_duration, parse_duration
from protocol.instants import parse_day

F = TypeVar("F", bound=Callable[..., Any])
_LAST = timedelta(hours=24)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """A time that sessions are asked for.

    Attributes:
        last: how far to look back, where nothing is said of days.
        since: those that were going on then, or later; None for no bound.
        until: those that began before it; None for no bound.
    """

    last: timedelta | None
    since: datetime | None
    until: datetime | None

    @classmethod
    def of(cls, now: datetime, last: timedelta | None, first: datetime | None, final: datetime | None) -> Period:
        """Return what the flags mean. Raises `click.UsageError`."""
        if first is None and final is None:
            span = last or _LAST
            return cls(span, before(now, span), None)
        if last is not None:
            raise click.UsageError("--last goes with neither --from-utc nor --to-utc")
        if first and final and final < first:
            raise click.UsageError("--to-utc names a day before --from-utc")
        return cls(None, first, _end_of(final))

    def describe_none(self) -> str:
        """Return what to say where there are none."""
        if self.last is None:
            return "No recordings found of that time"
        return f"No recordings found of the last {format_duration(self.last)}: --last looks further back"


def period_options(function: F) -> F:
    """Give a command the flags: ``last``, ``since`` and ``until``, each None where it is not given."""
    last = click.option(
        "--last",
        type=parsed("TIME", parse_duration),
        metavar="TIME",
        help="Sessions that were going on within this time: 5h30m, 7d.  [default: 24h]",
    )
    since = click.option(
        "--from-utc",
        "since",
        type=parsed("DATE", parse_day),
        metavar="DATE",
        help="Going on this day or later (2006-01-02, UTC).",
    )
    until = click.option(
        "--to-utc",
        "until",
        type=parsed("DATE", parse_day),
        metavar="DATE",
        help="Begun by the end of this day (UTC).",
    )
    return last(since(until(function)))


def before(now: datetime, span: timedelta) -> datetime | None:
    """Return the moment `span` before `now`; None where the calendar does not reach that far back."""
    try:
        return now - span
    except OverflowError:
        return None


def _end_of(day: datetime | None) -> datetime | None:
    try:
        return day and day + _DAY
    except OverflowError:  # the calendar's last
        return None
