"""The users that these tests make on this machine."""

from __future__ import annotations

import os
import pwd
import subprocess

import pytest

from tests.harness.road import OWN
from tests.harness.throwaway_login import remove_left_logins


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
def test_what_a_killed_run_left_behind_is_removed_and_what_a_running_one_has_is_not() -> None:
    gone = subprocess.Popen(["true"])
    assert gone.wait() == 0
    left = f"sk-o{gone.pid}"
    subprocess.run(["useradd", "-M", left], check=True)
    remove_left_logins()
    names = {user.pw_name for user in pwd.getpwall()}
    assert left not in names
    assert OWN in names
