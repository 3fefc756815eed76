from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.log import LevelBoard, is_journal
from controller.policy.severity import SEVERITIES

ROOT = Path(__file__).parents[2]
SPEAK = """
import logging, sys
from controller.log import set_up_log, set_level, LevelBoard
set_up_log("INFO")
log = logging.getLogger("TEST")
"""


def spoken(code: str, *, to_journal: bool = False, fds: tuple[int, ...] = ()) -> list[str]:
    """Run a process that logs; return what it wrote to standard error, a pipe that may be the journal's."""
    reads, writes = os.pipe()
    stat = os.fstat(writes)
    variables = {"PYTHONPATH": str(ROOT), "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino + (not to_journal)}"}
    with os.fdopen(reads, encoding="utf-8") as said:
        try:
            subprocess.run([sys.executable, "-c", SPEAK + code], stderr=writes, env=variables, pass_fds=fds, check=True)
        finally:
            os.close(writes)
        return said.read().splitlines()


def test_a_line_for_people_bears_the_time() -> None:
    (line,) = spoken("log.warning('it rains')")
    assert line[4] == line[7] == "-"
    assert line[10] == "T"
    assert line.endswith("Z WARN  [TEST] it rains")


def test_a_line_for_the_journal_bears_its_priority_and_no_time() -> None:
    code = "set_level('DEBUG'); log.error('e'); log.warning('w'); log.info('i'); log.debug('d')"
    lines = spoken(code, to_journal=True)
    assert lines == ["<3>ERROR [TEST] e", "<4>WARN  [TEST] w", "<6>INFO  [TEST] i", "<7>DEBUG [TEST] d"]


def test_what_a_peer_puts_into_a_line_begins_no_other_in_the_journal_either() -> None:
    (line,) = spoken("log.info('%s', 'a\\n<0>EMERGENCY')", to_journal=True)
    assert line == "<6>INFO  [TEST] a\\x0a<0>EMERGENCY"


def test_a_process_takes_up_the_level_that_another_writes() -> None:
    board = LevelBoard.make("ERROR")
    try:
        code = f"board = LevelBoard({board.fd}); board.follow(); log.info('unheard'); log.error('heard')\n"
        code += "board.write('DEBUG'); board.follow(); board.follow(); log.debug('heard too')"
        heard = [line.rpartition("] ")[2] for line in spoken(code, fds=(board.fd,))]
        assert heard == ["heard", "heard too"]
        assert board.read() == "DEBUG"
    finally:
        os.close(board.fd)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_board_says_what_was_written(severity: str) -> None:
    board = LevelBoard.make("INFO")
    try:
        board.write(severity)
        assert board.read() == severity
    finally:
        os.close(board.fd)


@pytest.mark.parametrize("told", ["", "1", "1:2", "x:y"])
def test_standard_error_is_not_the_journal_s_unless_the_numbers_are_its_own(told: str) -> None:
    assert not is_journal({"JOURNAL_STREAM": told})
    assert not is_journal({"JOURNAL_STREAM": "1:2"}, fd=10_000)
