"""`tsh version`."""

from __future__ import annotations

import platform

import click

from protocol.version import __version__


def describe_version() -> str:
    """Return what this program is, in one line."""
    return f"Skerry v{__version__} tsh python{platform.python_version()}"


@click.command(name="version")
def command() -> None:
    """Show the version."""
    click.echo(describe_version())
