"""The `tsh` command: which commands there are, and how any of them ends.

Commands are imported when they are called: `tsh --help` must not load the SSH library.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import signal
import sys
from types import FrameType
from typing import NoReturn

from tsh.error import TshError, describe_missing

try:
    import click
except ModuleNotFoundError as err:
    raise SystemExit(f"ERROR: {describe_missing(err.name)}") from None

from tsh.setting import Settings, connection_options, login_option, ttl_option

_COMMANDS = {
    "login": "Sign in to a cluster and get a certificate.",
    "logout": "Sign out and delete the certificate.",
    "status": "Show who is signed in where, and until when.",
    "ls": "List the nodes you may see.",
    "ssh": "Open a shell or run a command on a node.",
    "sessions": "List the sessions that are going on.",
    "join": "Join somebody's session, to watch or to type.",
    "recordings": "List recordings of sessions.",
    "play": "Play a recording back.",
    "mfa": "List, add and remove your second factors.",
    "proxy": "Connect through the proxy for other programs.",
    "config": "Print an OpenSSH configuration for the cluster.",
    "version": "Show the version.",
}
# Messages that say by themselves what they are, as OpenSSH and Teleport print them.
_BARE = "Connection to "
_REQUIRED = {"asyncssh", "cryptography", "zstandard"}  # and click, without which there is no command line


class _LazyGroup(click.Group):
    """Knows its commands by name and line; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        if ctx.resilient_parsing:
            return click.Command(cmd_name)
        module = importlib.import_module(f"tsh.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _say_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from tsh.commands.version import describe_version

        click.echo(describe_version())
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@login_option
@ttl_option
@connection_options
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version, help="Show the version."
)
def program() -> None:
    """Reach Linux devices behind NAT through a Skerry cluster."""


def _end_by_signal(number: int, _frame: FrameType | None) -> NoReturn:
    """Turn a signal that ends the program into an exception, so that the terminal is set right on the way out."""
    raise SystemExit(128 + number)


def _keep_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams: a socket must not become one of them."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _say(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads it; the exit status tells


def _explain(err: Exception, settings: Settings) -> None:
    """Say in one message why a command failed; with -d also where."""
    if settings.debug:
        import traceback

        traceback.print_exception(err)
    package = (err.name or "").partition(".")[0] if isinstance(err, ModuleNotFoundError) else ""
    if isinstance(err, TshError):
        text = str(err)
        _say(text if text.startswith(_BARE) else f"ERROR: {text}")
    elif package in _REQUIRED:
        _say(f"ERROR: {describe_missing(package)}")
    elif isinstance(err, OSError):
        _say(f"ERROR: {f'{err.filename}: ' if err.filename else ''}{err.strerror or err}")
    else:
        _say(f"ERROR: something unforeseen went wrong in tsh ({type(err).__name__}); run it again with -d for details")


def run(arguments: list[str]) -> int:
    """Run one command and return the exit status. A failure is one message on standard error."""
    settings = Settings()
    try:
        status = program.main(arguments, prog_name="tsh", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except click.ClickException as err:
        said = io.StringIO()
        err.show(said)
        text = said.getvalue().replace("is not a valid integer range", "is not a whole number")
        _say(re.sub(r"(?m)^Error: ", "ERROR: ", text, count=1).rstrip("\n"))
        return err.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Exception as err:  # noqa: BLE001 - a person gets a message, not a traceback
        _explain(err, settings)
        return err.status if isinstance(err, TshError) else 1
    return status if isinstance(status, int) else 0


def main() -> NoReturn:
    """Run `tsh` with this process's arguments."""
    _keep_standard_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end_by_signal)
    try:
        status = run(sys.argv[1:])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    # Everything is written and closed: what is left is the interpreter taking itself apart, for 20 ms.
    os._exit(status)
