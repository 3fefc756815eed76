from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.harness.warm_program import TSH, exchange, warm_program


def test_a_program_that_has_ended_is_followed_by_another() -> None:
    first = warm_program(TSH)
    assert first is warm_program(TSH)
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    second = warm_program(TSH)
    assert second is not first
    assert second.run("--help").returncode == 0


def test_who_holds_the_pipes_when_the_time_is_over_keeps_nobody_waiting() -> None:
    (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
    holder = subprocess.Popen(["sleep", "infinity"], stdin=theirs_in, stdout=theirs_out)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        with pytest.raises(TimeoutError):
            exchange(ours_in, b"x" * (1 << 20), [ours_out], 0.1)
    finally:
        holder.kill()
        holder.wait()


def test_all_that_is_typed_is_read_and_all_that_is_said_comes_back() -> None:
    (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
    typed = os.urandom(1 << 20)
    with subprocess.Popen(["cat"], stdin=theirs_in, stdout=theirs_out):
        os.close(theirs_in)
        os.close(theirs_out)
        assert exchange(ours_in, typed, [ours_out], 60) == [typed]


def test_a_program_that_does_not_want_to_know_is_heard_all_the_same() -> None:
    (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
    with subprocess.Popen(["sh", "-c", "exec <&-; echo done"], stdin=theirs_in, stdout=theirs_out):
        os.close(theirs_in)
        os.close(theirs_out)
        assert exchange(ours_in, b"x" * (1 << 20), [ours_out], 60) == [b"done\n"]
