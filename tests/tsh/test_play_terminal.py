"""`tsh play` on a real pseudo-terminal: its keys, its line while it is paused, and the terminal afterwards."""

from __future__ import annotations

import re
import shlex
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from protocol.recording.cast import Event
from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.simulated_recordings import SimulatedRecordings
from tests.harness.tape import Tape
from tests.harness.tsh_program import TIMEOUT, TshProgram

LEFT, RIGHT, UP, HOME, END = "\x1b[D", "\x1b[C", "\x1b[A", "\x1b[H", "\x1b[F"
SHOWN_CURSOR = "\x1b[?25h"


def attributes(terminal: pexpect.spawn) -> list[object]:
    return list(termios.tcgetattr(terminal.child_fd))


def finish(terminal: pexpect.spawn) -> tuple[int | None, str]:
    """Return the exit status, and what was still shown."""
    terminal.expect(pexpect.EOF)
    terminal.wait()
    return terminal.exitstatus, terminal.before.decode()


def minutes() -> Tape:
    """Return ten minutes, with a line for each tenth second: no test waits for its end."""
    tape = Tape().head()
    for second in range(600):
        tape.events(*(Event(second * 1000 + at, "o", f"at {second}.{at // 100}\r\n") for at in range(0, 1000, 100)))
    return tape.events(Event(600_000, "x", "0")).seal("final", 600_000)


TEN_MINUTES = minutes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "session.skr"
    path.write_bytes(TEN_MINUTES.content)
    return path


@pytest.fixture
def played(newcomer: TshProgram, file: Path) -> Iterator[pexpect.spawn]:
    terminal = newcomer.on_terminal("play", str(file))
    terminal.before_raw = attributes(terminal)
    terminal.expect_exact("at 0.0\r\n")
    yield terminal
    terminal.close(force=True)


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_a_key_quits_and_leaves_the_terminal_as_it_was(played: pexpect.spawn, key: str) -> None:
    assert attributes(played) != played.before_raw
    played.send(key)
    status, rest = finish(played)
    assert status == 0
    assert SHOWN_CURSOR in rest
    assert "ERROR" not in rest
    assert attributes(played) == played.before_raw


def test_space_pauses_with_a_line_and_goes_on_without(played: pexpect.spawn) -> None:
    played.send(" ")
    played.expect(re.escape("\x1b[24;1H\x1b[0;7m paused  00:0") + r"\d / 10:00  1x  space: go on")
    played.send(" ")
    played.expect(re.escape("\x1b[2J") + r".*at 0\.0\r\n")
    played.expect_exact("at 3.0\r\n")


def test_arrows_go_forward_and_back_without_waiting(played: pexpect.spawn) -> None:
    played.send(" ")
    played.expect_exact("paused")
    for _ in range(20):
        played.send(RIGHT)
    played.expect_exact("01:40 / 10:00")
    played.send(LEFT)
    played.expect(re.escape("\x1b[2J") + r".*at 0\.0\r\n(.*)at (\d+)\.\d\r\n[^a]*paused  01:3(\d)")
    shown, second, at = played.match.groups()
    assert b"at 60.5\r\n" in shown
    assert int(second) == 90 + int(at)


def test_home_and_end_go_to_the_ends(played: pexpect.spawn) -> None:
    played.send(END)
    played.expect_exact("at 599.9\r\n")
    assert finish(played)[0] == 0


def test_home_goes_to_the_beginning(played: pexpect.spawn) -> None:
    played.send(RIGHT * 10)
    played.expect_exact("at 50.0\r\n")
    played.send(HOME)
    played.expect(re.escape("\x1b[2J") + r"[^a]*at 0\.0\r\n")


def test_speed_changes_with_the_arrows(played: pexpect.spawn) -> None:
    played.send(UP + UP + UP + " ")
    played.expect_exact("8x")


def test_a_key_that_is_pressed_while_it_plays_says_what_it_has_done(played: pexpect.spawn) -> None:
    played.send(UP)
    played.expect(re.escape("\x1b[24;1H\x1b[0;7m 00:") + r"\d\d / \d\d:\d\d  2x ")  # as long as has been read so far
    played.expect(re.escape("\x1b[2J") + r"[^a]*at 0\.0\r\n")
    played.send(RIGHT * 12)
    played.expect(re.escape("\x1b[24;1H\x1b[0;7m 01:") + r"\d\d / \d\d:\d\d  2x ")


@pytest.mark.parametrize(("said", "told"), [("3", "exit status 3"), ("0", "exit status 0"), ("SIGHUP", "SIGHUP")])
def test_at_the_end_it_is_told_how_the_session_ended(
    newcomer: TshProgram, tmp_path: Path, said: str, told: str
) -> None:
    path = tmp_path / "other.skr"
    path.write_bytes(Tape().head().output(10, "$ \r\n").events(Event(20, "x", said)).seal("final", 20).content)
    status, shown = finish(newcomer.on_terminal("play", str(path)))
    assert (status, shown.endswith(f"the session ended: {told}\r\n")) == (0, True)


def test_sigterm_restores_the_terminal(played: pexpect.spawn) -> None:
    played.kill(signal.SIGTERM)
    status, rest = finish(played)
    assert status == 128 + signal.SIGTERM
    assert SHOWN_CURSOR in rest
    assert attributes(played) == played.before_raw


def played_to_the_end(newcomer: TshProgram, tmp_path: Path, *output: str) -> str:
    tape = Tape().head()
    for number, text in enumerate(output):
        tape.output(number * 20, text)
    path = tmp_path / "other.skr"
    path.write_bytes(tape.seal("final", 1000).content)
    terminal = newcomer.on_terminal("play", str(path))
    status, shown = finish(terminal)
    assert status == 0
    return shown


def test_a_recording_that_ends_within_a_full_screen_program_leaves_a_usable_terminal(
    newcomer: TshProgram, tmp_path: Path
) -> None:
    shown = played_to_the_end(newcomer, tmp_path, "\x1b[?10", "49h\x1b[?25l\x1b[?1000hfull screen\x1b]0;tit")
    start, program, end = shown.partition("full screen")
    assert start.endswith("\x1b[?1049h\x1b[?25l")
    assert program
    assert "\x1b[?1049l" in end
    assert end.rindex(SHOWN_CURSOR) > end.index("\x1b[0m")


def test_what_would_make_the_terminal_answer_does_not_reach_it(newcomer: TshProgram, tmp_path: Path) -> None:
    shown = played_to_the_end(newcomer, tmp_path, "a\x1b[cb\x1b]52;c;ZWNobyBoaQ==\x07c\x1b[6nd\x1b[21te\r\n")
    assert "abcde\r\n" in shown


def test_the_lines_of_a_session_without_a_terminal_begin_at_the_left(newcomer: TshProgram, tmp_path: Path) -> None:
    tape = Tape(command="ls").head().output(10, "one\ntwo\n").seal("final", 10)
    path = tmp_path / "other.skr"
    path.write_bytes(tape.content)
    status, shown = finish(newcomer.on_terminal("play", str(path)))
    assert status == 0
    assert "one\r\ntwo\r\n" in shown


def test_a_terminal_that_is_too_small_is_told_of(newcomer: TshProgram, file: Path) -> None:
    terminal = newcomer.on_terminal("play", str(file), size=(20, 80))
    terminal.expect_exact("WARNING: this terminal has 80 columns and 20 lines, and the session's had 80 and 24")
    terminal.expect_exact("at 0.0")
    terminal.send("q")
    assert finish(terminal)[0] == 0


def test_an_error_at_the_end_stands_on_a_line_of_its_own(newcomer: TshProgram, tmp_path: Path) -> None:
    path = tmp_path / "cut.skr"
    path.write_bytes(Tape().head().output(10, "no end").content)
    status, shown = finish(newcomer.on_terminal("play", str(path)))
    assert status == 1
    assert re.search(r"no end.*\r\nERROR: the recording is broken at record 3: ", shown, re.DOTALL)


def test_playing_begins_before_all_has_come_and_keys_work_while_the_link_is_down(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    shown = proxy.recordings.show(TEN_MINUTES, "arriving", size=len(b"".join(TEN_MINUTES.records[:4])))
    terminal = alice.on_terminal("play", TEN_MINUTES.session)
    terminal.expect_exact("at 0.0\r\n")
    assert proxy.recordings.polled.wait(20)
    proxy.recordings.outages = 1_000_000
    terminal.expect_exact("at 1.9\r\n")
    terminal.send(" ")
    terminal.expect_exact("paused")
    proxy.recordings.outages = 0
    shown.content, shown.state = TEN_MINUTES.content, "complete"
    terminal.send(" " + RIGHT * 20)
    terminal.expect_exact("at 101.0\r\n")
    terminal.send("q")
    assert finish(terminal)[0] == 0


def test_a_session_that_runs_now_is_shown_as_it_is_now(proxy: SimulatedProxy, alice: TshProgram) -> None:
    shown = proxy.recordings.show(TEN_MINUTES, "arriving", size=len(b"".join(TEN_MINUTES.records[:500])))
    terminal = alice.on_terminal("play", TEN_MINUTES.session)
    terminal.expect_exact(
        "is still arriving from gw-1: you see it from where it is now, and wait for more; home: from its start"
    )
    terminal.expect_exact("at 497.9\r\n")
    shown.content = b"".join(TEN_MINUTES.records[:502])
    terminal.expect_exact("at 499.9\r\n")
    terminal.send(HOME)
    terminal.expect(re.escape("\x1b[2J") + r"[^a]*at 0\.0\r\n")
    terminal.send(END)
    terminal.expect_exact("at 499.9\r\n")
    terminal.send(" ")
    terminal.expect(re.escape("\x1b[0;7m paused  live  08:19 / ") + r"0[89]:\d\d  1x  space: go on")
    terminal.send(" ")
    terminal.expect_exact("at 499.9\r\n")
    shown.content, shown.state = TEN_MINUTES.content, "complete"
    terminal.expect_exact("at 599.9\r\n")
    assert finish(terminal)[0] == 0


@pytest.fixture
def stalled(proxy: SimulatedProxy) -> Iterator[SimulatedRecordings]:
    """Recordings that stop coming; in the end nobody is left waiting."""
    recordings = proxy.recordings
    yield recordings
    recordings.goes_on.set()


def fetching(held: str) -> str:
    return re.escape("\x1b[24;1H\x1b[0;7m") + f" fetching  {held} of [0-9.]+ KiB  q: quit "


def test_who_waits_for_the_beginning_is_told_and_may_quit(stalled: SimulatedRecordings, alice: TshProgram) -> None:
    stalled.show(TEN_MINUTES)
    stalled.stalls_at = 0
    terminal = alice.on_terminal("play", TEN_MINUTES.session)
    before = attributes(terminal)
    terminal.expect(fetching("0 B"))
    terminal.send("q")
    status, rest = finish(terminal)
    assert (status, "at 0.0" in rest) == (0, False)
    assert attributes(terminal) == before


def test_who_goes_to_what_has_not_come_is_told_until_it_has(stalled: SimulatedRecordings, alice: TshProgram) -> None:
    stalled.show(TEN_MINUTES)
    stalled.stalls_at = 8192
    terminal = alice.on_terminal("play", TEN_MINUTES.session)
    terminal.expect_exact("at 0.0\r\n")
    terminal.send(RIGHT * 60)
    terminal.expect(fetching("8 KiB"))
    stalled.goes_on.set()
    terminal.expect(re.escape("\x1b[2J") + r".*at 300\.0\r\n")
    terminal.send("q")
    assert finish(terminal)[0] == 0


def test_what_arrives_no_more_begins_at_its_end_all_the_same(proxy: SimulatedProxy, alice: TshProgram) -> None:
    shown = proxy.recordings.show(TEN_MINUTES, "arriving", size=len(b"".join(TEN_MINUTES.records[:100])))
    shown.began -= 86_400_000
    terminal = alice.on_terminal("play", TEN_MINUTES.session)
    terminal.expect_exact("at 97.9\r\n")
    terminal.send(HOME)
    terminal.expect(re.escape("\x1b[2J") + r"[^a]*at 0\.0\r\n")
    terminal.send("q")
    assert finish(terminal)[0] == 0


def test_a_session_that_outgrows_the_terminal_is_told_until_that_grows(newcomer: TshProgram, tmp_path: Path) -> None:
    tape = Tape().head().output(10, "before\r\n").events(Event(20, "r", "120x40"), Event(30, "o", "after\r\n"))
    path = tmp_path / "other.skr"
    path.write_bytes(tape.output(600_000, "end").seal("final", 600_000).content)
    terminal = newcomer.on_terminal("play", str(path))
    terminal.expect_exact("\x1b[24;1H\x1b[0;7m the session's terminal is 120 by 40 now, and this one 80 by 24")
    terminal.setwinsize(40, 120)
    terminal.expect(re.escape("\x1b[2J") + "before\r\n.*after\r\n")
    terminal.send(" ")
    terminal.expect_exact("\x1b[40;1H\x1b[0;7m paused")
    terminal.send("q")
    assert finish(terminal)[0] == 0


def test_where_the_output_goes_to_a_pager_the_keys_are_the_pagers(newcomer: TshProgram, file: Path) -> None:
    line = f"{shlex.join([*newcomer.command, 'play', str(file)])} | cat"
    terminal = pexpect.spawn("sh", ["-c", line], env=newcomer.environment, timeout=TIMEOUT)
    before = attributes(terminal)
    terminal.expect_exact("at 0.0")
    assert attributes(terminal) == before
    terminal.send(" ")
    terminal.expect_exact("at 0.3")
    terminal.send("\x03")
    terminal.expect(pexpect.EOF)
    assert b"Traceback" not in terminal.before
