"""The operating system's users: who may be served, and how a process of theirs is to start."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol import joining
from protocol.decision import Granted, Refused

# What Debian's sshd gives without PAM.
PATH_OF_ROOT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATH_OF_OTHERS = "/usr/local/bin:/usr/bin:/bin:/usr/games"
_SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True)
class Account:
    """One user of the operating system, with every group it is in."""

    login: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    def environment(self) -> dict[str, str]:
        """Return what every process of this user starts with."""
        return {
            "HOME": self.home,
            "USER": self.login,
            "LOGNAME": self.login,
            "SHELL": self.shell,
            "PATH": with_own_folder(PATH_OF_ROOT if self.uid == 0 else PATH_OF_OTHERS),
        }

    def is_quiet(self) -> bool:
        """Tell whether the user wants no message of the day (``~/.hushlogin``)."""
        try:
            return Path(self.home, ".hushlogin").exists()
        except OSError:
            return False


def with_own_folder(path: str) -> str:
    """Return `path` with the agent's own folder last, so that `edge-agent status` is found wherever it is installed."""
    own = str(Path(sys.executable).parent)
    return path if own in path.split(":") else f"{path}:{own}"


def find_account(login: str, *, euid: int) -> Granted[Account] | Refused:
    """Return the account of `login`, if an agent that runs as user `euid` can serve it.

    The reason of a refusal may be told: who asks has proved to be allowed this login here.
    """
    try:
        entry = pwd.getpwnam(login)
    except KeyError:
        return Refused(f'this device has no user "{login}"', "L1")
    if euid not in (0, entry.pw_uid):
        own = own_login(euid)
        return Refused(f'the agent runs as "{own}" and serves that login alone, not "{login}"', "L2")
    groups = tuple(os.getgrouplist(login, entry.pw_gid))
    return Granted(Account(login, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/", entry.pw_shell or _SHELL))


def admit(login: str, *, euid: int) -> Granted[Account] | Refused:
    """Return the account of `login` where it may be served now: the one question for whatever a person does here."""
    found = find_account(login, euid=euid)
    if isinstance(found, Granted) and (notice := closing_notice(found.value)):
        return Refused(notice.strip(), "L3")
    return found


def own_login(euid: int) -> str:
    """Return the login of user `euid`, or its number where it has none."""
    try:
        return pwd.getpwuid(euid).pw_name
    except KeyError:
        return str(euid)


def closing_notice(account: Account) -> str:
    """Return what ``/etc/nologin`` says, where it stands and keeps this user out; otherwise nothing."""
    if account.uid == 0:
        return ""
    try:
        with Path("/etc/nologin").open(errors="replace") as file:
            return file.read(4096) or "this device is closed for logins"
    except OSError:
        return ""


_ADMITTED = frozenset({"TERM", "LANG", "LANGUAGE", "COLORTERM", "NO_COLOR"})
_VALUE_MAX = 4096


def admits_variable(name: str, value: str) -> bool:
    """Tell whether a client may say this variable: those that say how to talk to a person, and those for joining.

    The latter may be anything: who names a session that cannot be there is refused, and not given one of their own.
    """
    return name in joining.VARIABLES or _reaches_programs(name, value)


def _reaches_programs(name: str, value: str) -> bool:
    spelt = name.isascii() and name.replace("_", "").isalnum()
    named = name in _ADMITTED or (spelt and name.startswith("LC_") and len(name) <= 32)
    return named and len(value) <= _VALUE_MAX and "\0" not in value


def admitted(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those of a client's variables that reach its programs."""
    return {name: value for name, value in variables.items() if _reaches_programs(name, value)}
