"""Settings, from the process that read the command line to the one that serves: the same process, begun anew.

What serves for months should not keep what was needed once: the libraries for command lines and YAML, and what joining
takes, some 2.5 MiB. `execv` alone gives that back; process id, parent, standard streams and the command line that `ps`
shows stay as they are. The settings cross in a file without a name, whose descriptor a variable tells. A join token
crosses in no way; an installation, which has yet to join by it, takes it across in such a file.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from edge_agent.config import Settings

VARIABLE = "SKERRY_HANDOVER"
TOKEN_VARIABLE = "SKERRY_TOKEN"  # noqa: S105 - the variable's name
_SETTINGS_MAX = 4 * 1024 * 1024


class HandoverError(Exception):
    """The settings did not cross. The message is for the person."""


def hand_over(settings: Settings) -> NoReturn:
    """Begin anew with `settings`, which `take_over` returns there. Raises `HandoverError`."""
    try:
        memory = os.memfd_create("settings")
        os.write(memory, encode(settings))
        os.set_inheritable(memory, True)
    except OSError as err:
        raise HandoverError(f"cannot keep the settings in memory: {err.strerror}") from None
    os.environ[VARIABLE] = str(memory)
    begin_anew()


def begin_anew() -> NoReturn:
    """Begin again as the same process, with the same command line but for the join token. Raises `HandoverError`."""
    os.environ.pop(TOKEN_VARIABLE, None)
    try:
        os.execv(sys.executable, [sys.executable, *without_token(sys.orig_argv[1:])])  # noqa: S606 - our own command line
    except OSError as err:
        raise HandoverError(f"cannot start {sys.executable} again: {err.strerror}; is it still installed?") from None


def hide_token(text: str) -> None:
    """Where this process was called with the join token `text`, begin anew, with a file of it that has no name.

    Raises:
        HandoverError: it could not.
    """
    arguments = sys.orig_argv[1:]
    if text not in arguments and f"--token={text}" not in arguments:
        return
    try:
        memory = os.memfd_create("token")
        os.write(memory, text.encode())
        os.set_inheritable(memory, True)
        words = [*without_token(arguments), "--token", f"/proc/self/fd/{memory}"]
        os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - our own command line
    except OSError as err:
        raise HandoverError(f"cannot take the token off the command line: {err.strerror}") from None


def is_handed_over() -> bool:
    """Tell whether there are settings to take over."""
    return VARIABLE in os.environ


def take_over() -> Settings:
    """Return the settings that were handed over, once. Raises `HandoverError`."""
    told = os.environ.pop(VARIABLE, "")
    try:
        return decode(_read(int(told)))
    except (OSError, OverflowError, ValueError, TypeError, KeyError):
        raise HandoverError(f"{VARIABLE} is set and names no settings: unset it, it is the agent's own") from None


def _read(memory: int) -> bytes:
    if not stat.S_ISREG(os.fstat(memory).st_mode):
        raise ValueError("not a file")
    os.lseek(memory, 0, os.SEEK_SET)
    with os.fdopen(memory, "rb") as file:
        return file.read(_SETTINGS_MAX)


def encode(settings: Settings) -> bytes:
    """Return `settings` as bytes."""
    return json.dumps(asdict(settings), default=os.fspath).encode()


def decode(data: bytes) -> Settings:
    """Return the settings of which `encode` made `data`. Raises `ValueError`, `TypeError` or `KeyError`."""
    from edge_agent.config import Settings
    from edge_agent.policy.upload import RecordingSettings, Window

    found: Mapping[str, Any] = json.loads(data)
    recording, window = found["recording"], found["recording"]["upload_window"]
    return Settings(
        **{
            **found,
            "controller": tuple(found["controller"]),
            "data_dir": Path(found["data_dir"]),
            "ca_pins": tuple(found["ca_pins"]),
            "token_file": Path(found["token_file"]) if found["token_file"] else None,
            "recording": RecordingSettings(**{**recording, "upload_window": Window(**window) if window else None}),
            "listen": tuple(found["listen"]) if found["listen"] else None,
            "severity_file": Path(found["severity_file"]) if found["severity_file"] else None,
        }
    )


def shows_token() -> bool:
    """Tell whether a join token can be read off this process by others."""
    arguments = sys.orig_argv[1:]
    return TOKEN_VARIABLE in os.environ or without_token(arguments) != arguments


def without_token(arguments: Sequence[str]) -> list[str]:
    """Return a command line without what is for joining alone.

    The token may be good for others still, and `ps` shows it to everyone.
    """
    kept: list[str] = []
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if "--token" not in (before, argument) and not argument.startswith("--token=") and argument != "--rejoin":
            kept.append(argument)
    return kept
