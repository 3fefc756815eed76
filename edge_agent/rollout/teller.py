"""What is said to the person, and kept in a log once the device is changed."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path


class Teller:
    """Says lines. They are kept in memory until there is a log for them: a refusal leaves none."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._log: Path | None = None
        self._said = ""

    def say(self, text: str) -> None:
        """Say a line, once: what is repeated is passed over."""
        if text != self._said:
            self._said = text
            self._print(text, "")

    def warn(self, text: str) -> None:
        """Say that something is not as it should be."""
        self._print(text, "WARNING: ")

    def keep(self, log: Path) -> None:
        """Append what was said, and what will be, to the file `log`. One that cannot be written stops nothing."""
        self._log = log
        lines, self._lines = self._lines, []
        self._append(lines)

    def _print(self, text: str, kind: str) -> None:
        self._append([f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {kind}{text}\n"])
        stream = sys.stderr if kind else sys.stdout
        with suppress(OSError, ValueError):  # the terminal may be gone: of an upgrade that is what one expects
            stream.write(f"{kind}{text}\n")
            stream.flush()

    def _append(self, lines: list[str]) -> None:
        if self._log is None:
            self._lines += lines
            return
        with suppress(OSError), self._log.open("a", encoding="utf-8") as file:
            file.writelines(lines)
