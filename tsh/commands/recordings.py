"""`tsh recordings ls`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from protocol import limits
from protocol.console import terminal_width
from protocol.durations import BadDurationError, format_duration, parse_duration
from protocol.instants import parse_day
from tsh.setting import connection_options, settings_of

if TYPE_CHECKING:
    from protocol.recordings import RecordingEntry

_LAST = timedelta(hours=24)
_LAST_MAX = timedelta(days=365 * 50)
_DAY = timedelta(days=1)


@click.group(name="recordings")
@connection_options
def command() -> None:
    """List recordings of sessions."""


def _read_last(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    try:
        return parse_duration(value) if value is not None else None
    except BadDurationError as err:
        raise click.BadParameter(str(err)) from None


def _read_date(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    try:
        return parse_day(value) if value is not None else None
    except ValueError as err:
        raise click.BadParameter(str(err)) from None


@command.command(name="ls")
@click.option(
    "--last",
    metavar="TIME",
    callback=_read_last,
    help="Sessions that were going on within this time: 5h30m, 7d.  [default: 24h]",
)
@click.option(
    "--from-utc",
    "since",
    metavar="DATE",
    callback=_read_date,
    help="Going on this day or later (2006-01-02, UTC).",
)
@click.option("--to-utc", "until", metavar="DATE", callback=_read_date, help="Begun by the end of this day (UTC).")
@click.option(
    "--limit",
    type=click.IntRange(1, limits.RECORDINGS_LISTED_MAX),
    default=50,
    show_default=True,
    help="No more than so many.",
)
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@connection_options
@click.pass_context
def ls(
    ctx: click.Context,
    *,
    last: timedelta | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    form: str,
) -> int:
    """List the recordings that you may play, the newest first."""
    if last and (since or until):
        raise click.UsageError("--last goes with neither --from-utc nor --to-utc")
    if since and until and until < since:
        raise click.UsageError("--to-utc names a day before --from-utc")
    from tsh.archive import Archive

    found = Archive(settings_of(ctx)).entries({**_period(last, since, until), "limit": limit})
    entries = found.recordings
    sys.stdout.write(_as_json(entries) if form == "json" else _as_text(entries))
    sys.stdout.flush()
    if found.is_cut:
        sys.stderr.write(_describe_rest(len(entries), limit))
    elif form == "text" and not entries:
        sys.stderr.write(_describe_none(last, since, until))
    return 0


def _period(last: timedelta | None, since: datetime | None, until: datetime | None) -> dict[str, int]:
    if since is None and until is None:
        return {"last": int(min(last or _LAST, _LAST_MAX).total_seconds())}
    asked = {"since": since, "until": until and until + _DAY}
    return {name: int(moment.timestamp() * 1000) for name, moment in asked.items() if moment}


def _describe_none(last: timedelta | None, since: datetime | None, until: datetime | None) -> str:
    if since or until:
        return "There is no recording of that time that you may play.\n"
    span = format_duration(last or _LAST)
    return f"There is no recording of the last {span} that you may play; look further back with --last=7d\n"


def _describe_rest(count: int, limit: int) -> str:
    if count == limit < limits.RECORDINGS_LISTED_MAX:
        more = min(10 * limit, limits.RECORDINGS_LISTED_MAX)
        return f"There may be more than these {count}: --limit={more} shows more\n"
    return "There may be more than these: name fewer days with --from-utc and --to-utc\n"


def _as_json(entries: Sequence[RecordingEntry]) -> str:
    import json

    # In ASCII: what a recording claims may hold characters that a terminal obeys.
    return json.dumps([entry.to_dict() for entry in entries], indent=2) + "\n"


def _as_text(entries: Sequence[RecordingEntry]) -> str:
    from protocol.listing import render_recordings

    return render_recordings(entries, width=terminal_width()) + "\n"
