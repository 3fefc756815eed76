"""`tctl sessions`: the sessions that are going on."""

from __future__ import annotations

import click

from controller.tctl.host import at_desk
from controller.tctl.setting import Settings, complain, format_option, say, say_json, shared_options
from protocol.console import terminal_width
from protocol.listing import render_sessions, session_json


@click.group(name="sessions")
@shared_options
def command() -> None:
    """List the sessions that are going on."""


@command.command(name="ls")
@format_option
@shared_options
@click.pass_obj
def list_(settings: Settings, form: str) -> None:
    """List all of them, the newest first, as their nodes tell."""
    with at_desk(settings) as desk:
        found, broker, now = desk.cluster.live.everywhere(), desk.cluster.mirror.health, desk.now()
    if form == "json":
        # Without what it would say of tctl, which joins nothing.
        say_json([{key: value for key, value in session_json(entry).items() if key != "may_join"} for entry in found])
    elif found:
        say(render_sessions(found, now, width=terminal_width()))
    else:
        say("No sessions are going on")
    if not broker.is_up:
        complain(f"WARNING: this may not be up to date: {broker.reason}")
