from __future__ import annotations

import os
import signal

import pytest

from edge_agent.rollout.lock import interruptible


def be_ended(by: signal.Signals, done: list[str], *, is_held: bool = False) -> None:
    with interruptible() as interruption:
        if is_held:
            interruption.hold()
        os.kill(os.getpid(), by)
        done.append("gone on with")


@pytest.mark.parametrize("is_held", [False, True])
def test_a_signal_is_an_exception_at_once_and_one_that_is_held_at_the_end(is_held: bool) -> None:
    done: list[str] = []
    for by in (signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(SystemExit) as ended:
            be_ended(by, done, is_held=is_held)
        assert ended.value.code == 128 + by
    with pytest.raises(KeyboardInterrupt):
        be_ended(signal.SIGINT, done, is_held=is_held)
    assert done == ["gone on with"] * 3 * is_held
