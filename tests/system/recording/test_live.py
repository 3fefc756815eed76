"""A session is watched while it runs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.real_cluster import LOGIN, Person
from tests.harness.recordings import Archive
from tests.harness.running_program import BIN, PATIENCE
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system
ROUNDS = 6
BEHIND = 3.0
# Prints the next number only when somebody who has read the one before has put a file there.
_WAIT = """
echo "session $SSH_SESSION_ID"
for number in {numbers}; do
  echo "number $number"
  until test -e "{folder}/$number"; do sleep 0.02; done
done
echo over
"""


@contextmanager
def started(person: Person, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `tsh` with its output on a pipe, and end it."""
    process = subprocess.Popen(
        [str(BIN / "tsh"), *arguments],
        env=person.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def read_until(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdout
    while (read := process.stdout.readline()) != line:
        assert read, f"it ended before {line!r}"


def test_what_a_session_prints_can_be_read_while_it_runs_and_is_at_most_three_seconds_old(
    harbour: Harbour, tmp_path: Path
) -> None:
    command = _WAIT.format(numbers=" ".join(map(str, range(ROUNDS))), folder=tmp_path)
    with started(harbour.alice, "ssh", f"{LOGIN}@edge-1", command) as session:
        assert session.stdout
        name = session.stdout.readline().decode().removeprefix("session ").strip()
        Archive(harbour.cluster).await_state(name, "arriving")
        behind = []
        with started(harbour.alice, "play", name, "--format", "text") as viewer:
            for number in range(ROUNDS):
                read_until(session, f"number {number}\n".encode())
                printed = time.monotonic()
                read_until(viewer, f"number {number}\n".encode())  # the program waits for this, and so did the viewer
                behind.append(time.monotonic() - printed)
                (tmp_path / str(number)).touch()
            read_until(session, b"over\n")
            read_until(viewer, b"over\n")
            assert viewer.stdout
            assert viewer.stdout.read() == b""
            assert viewer.wait(PATIENCE) == 0
    # The best of several: a machine that is busy with other things makes none of them quicker than it could be.
    assert min(behind[1:]) <= BEHIND, behind
    print(f"behind by {', '.join(f'{lag:.2f}' for lag in behind)} s")
    Archive(harbour.cluster).await_state(name, "complete")
