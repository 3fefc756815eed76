"""What the commands share: flags, the words they take, and how they print."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from protocol.console import terminal_width
from protocol.durations import format_duration, parse_duration
from protocol.events import Json
from protocol.table import escape_text, render_facts, render_table

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_CONFIG = Path("/etc/skerry/controller.yaml")
_HIDDEN = re.compile(r"[^\n\x20-\x7e]")  # perhaps


@dataclass(slots=True)
class Settings:
    """The flags that every command shares. Filled while the command line is read.

    Attributes:
        config: the controller's configuration file.
        debug: show tracebacks and the whole log.
    """

    config: Path = DEFAULT_CONFIG
    debug: bool = False


class LazyGroup(click.Group):
    """Knows its commands by name and line; imports ``controller.tctl.NAME`` when one is called."""

    def __init__(self, *args: Any, lines: dict[str, str], **attributes: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(*args, **attributes)
        self._lines = lines

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the commands' names."""
        return list(self._lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import the command and return it."""
        if cmd_name not in self._lines:
            return None
        import importlib

        module = importlib.import_module(f"controller.tctl.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the commands and their lines."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._lines.items()))


def _remember(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
    if value:
        setattr(ctx.ensure_object(Settings), str(parameter.name), value)


def shared_options(function: F) -> F:
    """Give a command the shared flags; before or after the command's name, the later one counts."""
    config = click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=_remember,
        expose_value=False,
        help=f"The controller's configuration.  [default: {DEFAULT_CONFIG}]",
    )
    debug = click.option(
        "-d", "--debug", is_flag=True, callback=_remember, expose_value=False, help="Show details of failures."
    )
    return config(debug(function))


format_option = click.option(
    "-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it."
)


def parsed(name: str, parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return the type of an option or argument that `parse` reads; `name` is shown in the help.

    What `parse` refuses with a ValueError is a usage error with its words.
    """

    def convert(value: Any) -> Any:  # noqa: ANN401 - click's
        if not isinstance(value, str):
            return value  # a default that is no text
        try:
            return parse(value)
        except ValueError as err:
            raise click.BadParameter(f"{err}.") from None

    convert.__name__ = name
    return convert


def ttl_option(default: timedelta, most: timedelta) -> Callable[[F], F]:
    """Return the option ``--ttl``, with its default and the longest that will be accepted in the help."""
    return click.option(
        "--ttl",
        type=parsed("TIME", parse_duration),
        default=default,
        metavar="TIME",
        help=f"How long it is valid, such as 30m.  [default: {format_duration(default)}, max: {format_duration(most)}]",
    )


def say(text: str) -> None:
    """Print `text`, with a final newline. Ends the program where nobody reads it any more (``tctl … | head``)."""
    try:
        sys.stdout.write(text + "\n")
    except BrokenPipeError:
        raise SystemExit(128 + signal.SIGPIPE) from None


def complain(text: str) -> None:
    """Print `text` on standard error, after everything that was said so far."""
    with contextlib.suppress(OSError, ValueError):  # standard output is full or closed: that must not hide the rest
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):  # nobody reads it; the exit status tells
        sys.stderr.write(escape_text(text, keep="\n") + "\n")
        sys.stderr.flush()


def say_json(value: Json | Sequence[Json]) -> None:
    """Print `value` as JSON: no text in it can steer a terminal, and what standard output cannot hold is escaped."""
    is_unicode = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    say(_HIDDEN.sub(_escape, json.dumps(value, indent=2, ensure_ascii=not is_unicode)))


def _escape(found: re.Match[str]) -> str:
    """Return a character as JSON writes it in ASCII, where it is not one to be seen."""
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def say_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as wide as the terminal."""
    say(render_table(headers, rows, terminal_width()))


def say_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print a line for each fact, its title in front, within the terminal's width."""
    say(render_facts(facts, terminal_width()))


def show_names(named: Sequence[str], most: int) -> str:
    """Return the first names of a list, in order, and how many there are beside them."""
    shown, rest = ", ".join(sorted(named)[:most]), len(named) - most
    return f"{shown} and {rest} more" if rest > 0 else shown
