from __future__ import annotations

import os
import pwd

import pytest

from edge_agent.accounts import PATH_OF_OTHERS, PATH_OF_ROOT, Account, admits_variable, find_account, own_login
from protocol.decision import Granted, Refused

OTHER = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, os.geteuid()))


def test_root_serves_everybody() -> None:
    found = find_account(OTHER.pw_name, euid=0)
    assert isinstance(found, Granted)
    assert (found.value.uid, found.value.gid, found.value.home) == (OTHER.pw_uid, OTHER.pw_gid, OTHER.pw_dir)
    assert set(found.value.groups) == set(os.getgrouplist(OTHER.pw_name, OTHER.pw_gid))


def test_others_serve_themselves() -> None:
    assert isinstance(find_account(OTHER.pw_name, euid=OTHER.pw_uid), Granted)


def test_others_serve_nobody_else_and_say_so() -> None:
    found = find_account("root", euid=OTHER.pw_uid)
    assert isinstance(found, Refused)
    assert found.reason == f'the agent runs as "{OTHER.pw_name}" and serves that login alone, not "root"'


def test_who_is_not_there_is_not_served() -> None:
    found = find_account("no-such-user-here", euid=0)
    assert found == Refused('this device has no user "no-such-user-here"', "L1")


def test_a_user_without_a_name_is_called_by_number() -> None:
    assert own_login(4_000_000) == "4000000"


def test_root_and_others_find_their_programs_as_under_sshd() -> None:
    account = Account("a", 1, 1, (1,), "/", "/bin/sh")
    assert account.environment()["PATH"].startswith(PATH_OF_OTHERS)
    root = Account("root", 0, 0, (0,), "/root", "/bin/sh")
    assert root.environment()["PATH"].startswith(PATH_OF_ROOT)


@pytest.mark.parametrize("name", ["TERM", "LANG", "LC_ALL", "LC_TIME", "COLORTERM", "NO_COLOR"])
def test_what_tells_how_to_talk_to_a_person_is_admitted(name: str) -> None:
    assert admits_variable(name, "x")


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "PATH", "IFS", "BASH_ENV", "LC_", "LC_A=B", "LC_\n", "lc_all", "", "ENV"]
)
def test_no_other_variable_is(name: str) -> None:
    assert name == "LC_" or not admits_variable(name, "x")


@pytest.mark.parametrize("value", ["a\0b", "x" * 5000])
def test_nor_is_a_value_that_no_terminal_has(value: str) -> None:
    assert not admits_variable("TERM", value)
