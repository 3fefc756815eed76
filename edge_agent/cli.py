"""`edge-agent`: the device's own command.

The process that serves is begun anew by the one that read the command line (see `edge_agent.handover`). That one comes
by here a second time, and imports what it needs to serve alone.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from edge_agent.handover import HandoverError, is_handed_over, take_over

_MEND = "install the agent again: pip install -r requirements/agent.txt (it is the extra skerry[agent])"
_REQUIRED = {"asyncssh", "click", "cryptography", "yaml"}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, with the process's arguments unless others are given, and exit."""
    try:
        if is_handed_over():
            _serve()
        else:
            from edge_agent.commands import program

            program.main(arguments)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except ModuleNotFoundError as err:
        package = (err.name or "").partition(".")[0]
        if package not in _REQUIRED:
            raise
        _fail(f"the Python package {package} is not installed; {_MEND}")
    sys.exit(0)


def _serve() -> None:
    from edge_agent.identity import IdentityError
    from edge_agent.log import set_up_log
    from edge_agent.service import StartError, serve

    try:
        settings = take_over()
        set_up_log(settings.severity)
        serve(settings)
    except (HandoverError, IdentityError, StartError) as err:
        _fail(str(err))


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"ERROR: {message}\n")
    sys.exit(1)
