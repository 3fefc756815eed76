"""What `controller` and `tctl` have in common as programs: their version, and what they say when they are misused."""

from __future__ import annotations

import io
import platform
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from protocol.version import __version__

F = TypeVar("F", bound=Callable[..., Any])
VERSION = f"Skerry v{__version__} python {platform.python_version()}"
_OURS = ("controller", "protocol")


def version_option(function: F) -> F:
    """Give a program the flag ``--version``, which prints what its command ``version`` prints."""
    return click.version_option(__version__, message=VERSION, help="Show the version.")(function)


def describe_misuse(err: click.ClickException) -> str:
    """Return what a person reads who typed what the program does not take: as click says it, marked as our errors."""
    shown = io.StringIO()
    err.show(shown)
    text = shown.getvalue().rstrip("\n").replace("\n\t", " ")  # click lists what may be chosen on indented lines
    return re.sub(r"^Error: ", "ERROR: ", text, count=1, flags=re.MULTILINE)


def describe_missing(program: str, err: ModuleNotFoundError) -> str | None:
    """Return what a person reads where a library is not installed; None where what is missing is a part of ours."""
    library = (err.name or "").partition(".")[0]
    if library in _OURS:
        return None
    return (
        f"ERROR: {program} needs the Python package {library}, which is not installed here: "
        "pip install --require-hashes -r requirements/controller.txt"
    )
