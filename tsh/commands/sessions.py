"""`tsh sessions ls`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from protocol.console import terminal_width
from tsh.setting import connection_options, settings_of

if TYPE_CHECKING:
    from protocol.fleet_sessions import SessionEntry


@click.group(name="sessions")
@connection_options
def command() -> None:
    """List the sessions that are going on."""


@command.command(name="ls")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@connection_options
@click.pass_context
def ls(ctx: click.Context, *, form: str) -> int:
    """List those that you may join or are in, the newest first."""
    from tsh.live_sessions import list_sessions

    entries = list_sessions(settings_of(ctx))
    sys.stdout.write(_as_json(entries) if form == "json" else _as_text(entries))
    sys.stdout.flush()
    if form == "text":
        sys.stderr.write(_describe_next(entries))
    return 0


def _describe_next(entries: Sequence[SessionEntry]) -> str:
    if not entries:
        return "Nobody is at work on a node that you may see; begin a session with: tsh ssh LOGIN@NODE\n"
    joinable = next((entry.live.session for entry in entries if entry.may_join), None)
    return f"Join one by its ID, to watch or to type: tsh join [--mode peer] {joinable}\n" if joinable else ""


def _as_json(entries: Sequence[SessionEntry]) -> str:
    import json

    from protocol.listing import session_json

    # In ASCII: a command may hold characters that a terminal obeys.
    return json.dumps([session_json(entry) for entry in entries], indent=2) + "\n"


def _as_text(entries: Sequence[SessionEntry]) -> str:
    from datetime import UTC, datetime

    from protocol.listing import render_sessions

    return render_sessions(entries, datetime.now(UTC), width=terminal_width()) + "\n"
