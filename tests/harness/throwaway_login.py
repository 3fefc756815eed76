"""Users of this machine that are there for the length of a test run: agents become them, and sudo and su know them.

A run that is killed leaves its users behind: the next one removes them, by the process that stands in their name.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_NAME = re.compile(r"sk-[a-z](\d+)")


def login_name(letter: str) -> str:
    """Return the name of this process's user that is called by `letter`."""
    return f"sk-{letter}{os.getpid()}"


@contextlib.contextmanager
def throwaway_login(name: str, *options: str) -> Iterator[str]:
    """Have a user whom `login_name` named, made with these options of useradd(8)."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a user to serve")
    remove_left_logins()
    subprocess.run(["useradd", "-s", "/bin/sh", *options, name], check=True, capture_output=True)
    try:
        yield name
    finally:
        _remove(name)


def remove_left_logins() -> None:
    """Remove the users of runs that are no more."""
    for user in pwd.getpwall():
        found = _NAME.fullmatch(user.pw_name)
        if found and not Path("/proc", found[1]).exists():
            _remove(user.pw_name)


def _remove(name: str) -> None:
    # A process of theirs that is still ending would keep the user in place; -f does not mind.
    subprocess.run(["userdel", "-r", "-f", name], check=False, capture_output=True)
