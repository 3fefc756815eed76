"""`tctl version`."""

from __future__ import annotations

import click

from controller.command_line import describe_version
from controller.tctl.setting import say


@click.command(name="version")
def command() -> None:
    """Show the version."""
    say(describe_version("tctl"))
