"""The `tctl` command: which commands there are, and how any of them ends.

Commands are imported when they are called: `tctl --help` opens nothing and loads next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import NoReturn

import click

from controller.command_line import describe_missing, describe_misuse, version_option
from controller.tctl.error import TctlError
from controller.tctl.setting import LazyGroup, Settings, complain, shared_options

_COMMANDS = {
    "users": "Add, list, update, reset and remove users.",
    "tokens": "Make, list and remove join tokens for devices.",
    "nodes": "List, approve, label and remove devices.",
    "lock": "Keep a person, a login or a node out.",
    "locks": "List and remove the locks in force.",
    "auth": "Show the cluster's authorities, and replace their keys.",
    "sessions": "List the sessions that are going on.",
    "recordings": "List, check, export and remove recordings of sessions.",
    "audit": "Read the audit log, and check that nobody changed it.",
    "status": "Show the cluster, and whether its controller runs.",
    "version": "Show the version.",
}


@click.group(cls=LazyGroup, lines=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
@version_option("tctl")
def program() -> None:
    """Administer a Skerry cluster.

    It works on the controller's host, as root or as the user that runs the controller.
    """


def _keep_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams: a file must not become one of them."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8")


def _explain(err: Exception, settings: Settings) -> None:
    """Say in one message why a command failed; with -d also where."""
    if settings.debug:
        traceback.print_exception(err)
    if isinstance(err, TctlError):
        complain(f"ERROR: {err}")
    elif isinstance(err, OSError):
        complain(f"ERROR: {f'{err.filename}: ' if err.filename else ''}{err.strerror or err}")
    elif isinstance(err, ModuleNotFoundError) and (missing := describe_missing("tctl", err)):
        complain(missing)
    else:
        complain(
            f"ERROR: something unforeseen went wrong in tctl ({type(err).__name__}); run it again with -d for details"
        )


def run(arguments: list[str]) -> int:
    """Run one command and return the exit status. A failure is one message on standard error."""
    settings = Settings()
    try:
        status = program.main(arguments, prog_name="tctl", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except click.ClickException as err:
        complain(describe_misuse(err))
        return err.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Exception as err:  # noqa: BLE001 - a person gets a message, not a traceback
        _explain(err, settings)
        return err.status if isinstance(err, TctlError) else 1
    return status if isinstance(status, int) else 0


def main() -> NoReturn:
    """Run `tctl` with this process's arguments."""
    _keep_standard_streams()
    os.umask(0o077)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character gets its number
    try:
        status = run(sys.argv[1:])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    # Everything is written; a pipe that broke would only be complained about on the way out.
    os._exit(status)
