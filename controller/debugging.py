"""`controller debug`: commands for the controller that runs on this host."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from controller.policy.debug_order import Describe, Order, SetLevel
from controller.policy.severity import SEVERITIES, parse_severity

_FORMAT = click.option(
    "-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it."
)


def _severity(_context: object, _parameter: object, text: str) -> str:
    try:
        return parse_severity(text)
    except ValueError as err:
        raise click.BadParameter(str(err)) from None


@click.group()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/etc/skerry/controller.yaml"),
    show_default=True,
    metavar="FILE",
    help="The controller's configuration.",
)
@click.pass_context
def debug(context: click.Context, path: Path) -> None:
    """Change the log level of a running controller.

    Of the one that runs on this host, as root, or as the user that runs it.
    """
    context.obj = path


@debug.command()
@click.argument("severity", metavar="|".join(SEVERITIES), callback=_severity)
@click.pass_obj
def set_log_level(path: Path, severity: str) -> None:
    """Log by another level, in all of its processes, at once.

    It holds until the controller is started or reloaded (systemctl reload, SIGHUP): then teleport.log.severity in its
    configuration counts again.
    """
    told = _ask(path, SetLevel(severity))
    click.echo(f"The log level is {told['level']} now; it was {told['before']}.")


@debug.command()
@click.pass_obj
def get_log_level(path: Path) -> None:
    """Print the level by which it logs."""
    click.echo(_ask(path, Describe())["level"])


@debug.command()
@_FORMAT
@click.pass_obj
def processes(path: Path, form: str) -> None:
    """List its processes."""
    told = _ask(path, Describe())
    if form == "json":
        click.echo(json.dumps(told["processes"], indent=2))
        return
    for each in told["processes"]:
        state = "ready" if each["ready"] else "running" if each["pid"] else "down"
        hung = f"  hung {each['hung']} time{'' if each['hung'] == 1 else 's'}" if each.get("hung") else ""
        click.echo(f"{each['name']:<10} {each['pid'] or '-':>8}  {state}{hung}")


def _ask(path: Path, order: Order) -> dict[str, Any]:
    from controller.config import ConfigError, load_config
    from controller.debug_door import DebugError, give_order

    try:
        return dict(give_order(load_config(path).data_dir, order))
    except ConfigError as err:
        _give_up(str(err), 2)
    except DebugError as err:
        _give_up(str(err), 1)


def _give_up(message: str, status: int) -> NoReturn:
    click.echo(f"ERROR: {message}", err=True)
    sys.exit(status)
