"""The real `tsh`, run as a person or a script runs it: as a process, on pipes or on a pseudo-terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pexpect

from tests.harness.warm_program import TSH, warm_program

_ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 20


@dataclass(frozen=True)
class Running:
    """A `tsh` that runs, and its standard streams."""

    process: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]


@dataclass(frozen=True)
class TshProgram:
    """`tsh` with a home of its own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SKERRY_")}
        return kept | {"SKERRY_HOME": str(self.home), "PYTHONPATH": str(_ROOT), "TERM": "xterm"}

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "tsh"]

    def run(self, *arguments: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run to the end, standard streams on pipes; forked warm, which `started` and `on_terminal` are not."""
        return warm_program(TSH).converse(*arguments, environment=self.environment, typed=typed, timeout=TIMEOUT)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Running]:
        """Start with pipes; whatever is left of it is killed in the end."""
        with subprocess.Popen(
            [*self.command, *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin
            assert process.stdout
            assert process.stderr
            try:
                yield Running(process, process.stdin, process.stdout, process.stderr)
            finally:
                process.kill()

    def on_terminal(self, *arguments: str, size: tuple[int, int] = (24, 80)) -> pexpect.spawn:
        """Start on a pseudo-terminal of `size` rows and columns."""
        return pexpect.spawn(
            sys.executable,
            ["-m", "tsh", *arguments],
            env=self.environment,
            dimensions=size,
            timeout=TIMEOUT,
            echo=True,
        )

    def copied_to(self, home: Path) -> TshProgram:
        """Return the same sign-in in another home."""
        shutil.copytree(self.home, home)
        return TshProgram(home)
