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
_OURS = ("controller", "protocol")


def describe_version(program: str) -> str:
    """Return what a program is, in one line."""
    return f"Skerry v{__version__} {program} python{platform.python_version()}"


def version_option(program: str) -> Callable[[F], F]:
    """Return what gives a program the flag ``--version``, which prints what its command ``version`` prints."""
    return click.version_option(__version__, message=describe_version(program), help="Show the version.")


def describe_misuse(err: click.ClickException) -> str:
    """Return what a person reads who typed what the program does not take: as click says it, marked as our errors."""
    shown = io.StringIO()
    err.show(shown)
    text = shown.getvalue().rstrip("\n").replace("\n\t", " ")  # click lists what may be chosen on indented lines
    text = text.replace("is not a valid integer range", "is not a whole number")
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
