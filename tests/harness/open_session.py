"""A session of a person's that goes on until somebody ends it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.real_cluster import Person
from tests.harness.running_program import BIN, PATIENCE


class OpenSession:
    """A `tsh ssh` that has begun."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def is_open(self) -> bool:
        return self._process.poll() is None

    def echo(self, line: str) -> str:
        """Send a line, and return the one that comes back."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().decode().rstrip("\n")

    def await_end(self) -> str:
        """Wait until it was ended from elsewhere, and return what it said on standard error."""
        assert self._process.stderr
        said = self._process.stderr.read().decode()
        assert self._process.wait(PATIENCE) != 0
        return said


@contextmanager
def open_session(person: Person, *arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[OpenSession]:
    """Open a session with ``tsh ssh ARGUMENTS``; what is typed there comes back."""
    command = [*prefix, str(BIN / "tsh"), "ssh", *arguments, "echo begun; exec cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=person.environment) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"begun\n"
            yield OpenSession(process)
        finally:
            process.kill()
