"""`edge-agent doctor` on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pexpect


def test_its_table_is_as_wide_as_the_terminal_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "a-directory-that-is-not-there" / ("and-whose-name-is-long-" * 5) / "data"
    options = ["doctor", "--controller", "127.0.0.1:9", "--data-dir", str(data)]
    terminal = pexpect.spawn(sys.executable, ["-m", "edge_agent", *options], dimensions=(40, 70), timeout=120)
    terminal.expect(pexpect.EOF)
    terminal.close()
    shown = terminal.before.decode().splitlines()
    table = shown[shown.index(next(line for line in shown if line.startswith("Check "))) :]
    table = table[: table.index("")]
    assert all(len(line) <= 70 for line in table)
    assert " ".join(" ".join(table).split()).count("not known") == 1
    found = table[0].index("Found")
    assert str(data) in "".join(line[found:] for line in table)
    row = table.index(next(line for line in table if line.startswith("clock ")))
    assert table[row + 1].startswith(" " * found)
    assert terminal.exitstatus == 1
