"""What is logged, told anew while the agent runs: by the settings, or by an order for this run alone.

The order is a file beside the status file, which the agent takes away as it heeds it. The settings are read by a
process of their own (``python -m edge_agent.severity FILE``), which brings in the YAML library and takes it away again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edge_agent.config import SEVERITIES, ConfigError, Settings, read_severity
from edge_agent.directory import open_anew
from edge_agent.side_thread import SideThread

ORDER = "log-level"
_ORDER_MAX = 64
_ANSWER_MAX = 2048
# On a slow device, with a slow disk.
_PATIENCE = 30.0


class SeverityError(Exception):
    """It is not told what is to be logged. The message says why."""


async def find_severity(settings: Settings, runtime: Path) -> str:
    """Return what is to be logged from now on: as ordered, or else as the settings say by now. Raises `SeverityError`.

    Where the command line said it, the settings have no say.
    """
    ordered = take_order(runtime)
    if ordered is not None:
        return ordered
    file = settings.severity_file
    if file is None:
        return settings.severity
    thread = SideThread("settings")
    try:
        return await thread.submit(lambda: _ask(file))
    except OSError as err:
        raise SeverityError(f"{file}: cannot be read again: {err.strerror}") from None
    finally:
        thread.close()


def give_order(severity: str, runtime: Path) -> Path:
    """Order what is to be logged; the agent heeds it at the next SIGHUP. Return the file. Raises `OSError`."""
    path = runtime / ORDER
    new = path.with_name(f".{ORDER}.new")
    with os.fdopen(open_anew(new), "w") as file:
        file.write(severity)
    return new.replace(path)


def take_order(runtime: Path) -> str | None:
    """Return what was ordered, once; None where nothing was, or nothing that makes sense."""
    path = runtime / ORDER
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)) as file:
            severity = file.read(_ORDER_MAX)
        path.unlink()
    except (OSError, UnicodeDecodeError):
        return None
    return severity if severity in SEVERITIES else None


def _ask(file: Path) -> str:
    command = [sys.executable, "-P", "-m", "edge_agent.severity", str(file)]
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise SeverityError(f"{file}: not read within {_PATIENCE:.0f} s") from None
    text = (answer.stderr if answer.returncode else answer.stdout).decode("utf-8", "replace")[:_ANSWER_MAX].strip()
    if answer.returncode or text not in SEVERITIES:
        raise SeverityError(text.rpartition("\n")[2] or f"{file}: cannot be read again")
    return text


def main() -> None:
    """Print what the settings say is to be logged."""
    try:
        sys.stdout.write(read_severity(Path(sys.argv[1])))
    except ConfigError as err:
        sys.stderr.write(str(err))
        sys.exit(2)


if __name__ == "__main__":
    main()
