"""The player's decisions: times and keys in, what to show and how long to wait out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.recording.cast import CastHeader, Event
from tests.tsh.viewer import ListedReel, Viewer, drawn, numbers, on_terminal, output, player, seconds
from tsh.caption import NOTE_TIME
from tsh.footage import REDRAW_MAX
from tsh.keyboard import Key
from tsh.pace import SPEEDS
from tsh.player import LEAP, PATIENCE, STEP_MAX, Mode
from tsh.step import Step

CLEARED = "\x1b[2J"
ERASED = "\x1b7\x1b[999;1H\x1b[2K\x1b8"


# --- playing ----------------------------------------------------------------------------------------------------------


def test_each_event_is_shown_when_it_is_due() -> None:
    viewer = Viewer(player(seconds(4)))
    assert viewer.watch(until=1.5) == numbers(0, 1)
    assert viewer.player.step(1.75).wait == pytest.approx(0.25)
    assert viewer.watch() == numbers(2, 3)
    assert viewer.now == pytest.approx(3)
    assert viewer.player.mode is Mode.OVER


@pytest.mark.parametrize("speed", SPEEDS)
def test_speed_shortens_the_time(speed: float) -> None:
    viewer = Viewer(player(seconds(9), speed=speed))
    viewer.watch()
    assert viewer.now == pytest.approx(8 / speed)


def test_idle_time_is_skipped_where_wished() -> None:
    reel = ListedReel([[output(100, "a"), output(300, "b"), output(60_000, "c")]])
    viewer = Viewer(player(reel, skip_idle=True))
    assert viewer.watch() == "abc"
    assert viewer.now == pytest.approx(0.8)
    assert viewer.player.step(viewer.now).over


def test_what_is_no_output_is_not_shown_but_takes_its_time() -> None:
    codes = [Event(0, "r", "80x24"), Event(10, "i", "typed"), Event(20, "e", "error"), Event(5000, "x", "0")]
    viewer = Viewer(player(ListedReel([codes])))
    assert viewer.watch() == "error"
    assert viewer.now == pytest.approx(5)


def test_without_a_terminal_lines_begin_at_the_left() -> None:
    playing = player(ListedReel([[output(0, "a\nb\r\nc")]]))
    playing.introduce(CastHeader(80, 24, 0, said={"interactive": False}))
    assert playing.step(0).output == "a\r\nb\r\nc"


def test_much_output_comes_in_several_steps() -> None:
    reel = ListedReel([[output(0, "x" * STEP_MAX), output(0, "y" * STEP_MAX), output(0, "z")]])
    playing = player(reel)
    steps = [playing.step(0) for _ in range(4)]
    assert [len(step.output) for step in steps] == [STEP_MAX, STEP_MAX, 1, 0]
    assert [step.wait for step in steps[:2]] == [0, 0]
    assert steps[3].over


def test_an_empty_recording_is_over_at_once() -> None:
    playing = player(ListedReel())
    assert playing.step(0).output == ""
    assert playing.step(0).over


# --- while it is fetched ----------------------------------------------------------------------------------------------


def test_time_that_was_waited_for_the_network_is_not_lost() -> None:
    reel = seconds(2, "more")
    viewer = Viewer(player(reel))
    assert viewer.watch() == numbers(0, 1)
    assert viewer.player.step(viewer.now).wait is None
    viewer.now = 10
    reel.blocks += seconds(5).blocks[2:]
    assert viewer.watch(until=10.5) == numbers(2)
    assert viewer.watch(until=11.5) == numbers(3)


def test_what_comes_early_is_shown_in_time_all_the_same() -> None:
    reel = seconds(1, "more")
    viewer = Viewer(player(reel))
    viewer.watch()
    viewer.now = 0.2
    reel.blocks.append([output(1000, "later")])
    step = viewer.player.step(0.2)
    assert step.output == ""
    assert step.wait == pytest.approx(0.8)


def test_at_the_edge_whatever_arrives_is_shown_at_once() -> None:
    reel = seconds(2, "edge")
    viewer = Viewer(player(reel))
    viewer.watch()
    assert viewer.is_in(Mode.FOLLOWING)
    assert viewer.player.block == 2
    reel.blocks += seconds(60).blocks[2:]
    assert viewer.watch() == numbers(*range(2, 60))
    assert viewer.now == pytest.approx(1)
    reel.progress = "over"
    assert viewer.watch() == ""
    assert viewer.player.mode is Mode.OVER


def test_a_running_session_is_shown_from_now_on() -> None:
    reel = seconds(30, "more")
    viewer = Viewer(player(reel))
    viewer.player.follow()
    assert viewer.watch() == ""
    reel.progress = "edge"
    assert viewer.watch() == numbers(*range(30))
    assert viewer.now == pytest.approx(PATIENCE)
    assert viewer.player.mode is Mode.FOLLOWING


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_pause_stops_time_and_says_where_it_is() -> None:
    viewer = Viewer(player(seconds(100)))
    viewer.watch(until=61.5)
    viewer.press(Key.PAUSE)
    step = viewer.player.step(viewer.now)
    assert (step.output, step.wait) == ("", None)
    assert step.status is not None
    assert step.status.startswith(" paused  01:01 / 01:40  1x  space: go on")
    viewer.now = 1000
    viewer.press(Key.PAUSE)
    assert drawn(viewer.watch(until=1000.4)) == numbers(*range(62))
    assert viewer.watch(until=1001) == numbers(62)


def test_hours_are_told_where_there_are_some() -> None:
    playing = player(ListedReel([[output(0, "a")]], length=3_600_000 * 2 + 61_000))
    playing.press(Key.PAUSE, 0.0)
    assert " / 2:01:01 " in (playing.step(0.0).status or "")


def test_forward_shows_what_lies_between_without_waiting() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=1.5)
    viewer.press(Key.FORWARD)
    assert viewer.watch(until=1.9) == numbers(*range(2, 7))
    assert viewer.watch(until=2.1) == numbers(7)


def test_forward_twice_at_once_goes_twice_as_far() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=0.5)
    viewer.press(Key.FORWARD, Key.FORWARD)
    assert viewer.watch(until=0.6) == numbers(*range(1, 11))


def test_back_draws_the_screen_as_it_was() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=12.5)
    viewer.press(Key.BACK)
    shown = viewer.watch(until=12.6)
    assert shown.startswith("\x1b[?2026h")
    assert shown.endswith("\x1b[?2026l")
    assert drawn(shown) == numbers(*range(8))
    assert viewer.watch(until=13.1) == numbers(8)


def test_back_from_the_beginning_is_the_beginning() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=2.5)
    viewer.press(Key.BACK, Key.BACK)
    assert drawn(viewer.watch(until=2.6)) == numbers(0)


def test_back_and_then_forward_before_anything_was_drawn() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=12.5)
    viewer.press(Key.BACK, Key.FORWARD)
    assert drawn(viewer.watch(until=12.6)) == numbers(*range(13))


def test_home_and_end() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=12.5)
    viewer.press(Key.START)
    assert drawn(viewer.watch(until=12.6)) == numbers(0)
    viewer.press(Key.END)
    assert viewer.watch() == numbers(*range(1, 20))
    assert viewer.player.mode is Mode.OVER


def test_seeking_while_paused_stays_paused() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=3.5)
    viewer.press(Key.PAUSE)
    viewer.watch()
    viewer.press(Key.FORWARD)
    assert drawn(viewer.watch()) == numbers(*range(9))
    assert "00:08" in viewer.status()
    viewer.press(Key.BACK, Key.BACK)
    assert drawn(viewer.watch()) == numbers(0)
    assert viewer.player.mode is Mode.PAUSED


def test_space_while_seeking_pauses_there_and_goes_on_there() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=3.5)
    viewer.press(Key.FORWARD, Key.PAUSE)
    viewer.watch()
    assert viewer.is_in(Mode.PAUSED)
    assert "00:08" in viewer.status()
    viewer.press(Key.BACK, Key.PAUSE)
    assert drawn(viewer.watch(until=3.6)) == numbers(*range(4))
    assert viewer.player.mode is Mode.PLAYING


def test_speed_goes_up_and_down_within_bounds() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=1.5)
    viewer.press(*[Key.FASTER] * 7)
    assert viewer.player._pace.speed == 8
    assert viewer.watch(until=1.5 + 1.05 / 8) == numbers(2)
    viewer.press(*[Key.SLOWER] * 9)
    assert viewer.player._pace.speed == 0.5


def test_quitting_ends_it_for_good() -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.watch(until=1.5)
    viewer.press(Key.QUIT, Key.PAUSE)
    step = viewer.player.step(viewer.now)
    assert (step.over, step.output) == (True, "")


@pytest.mark.parametrize("terminal", [(80, 24), None])
def test_quitting_takes_the_line_of_a_pause_away(terminal: tuple[int, int] | None) -> None:
    viewer = Viewer(player(seconds(20)))
    viewer.player.resize(terminal, 0.0)
    viewer.watch(until=1.5)
    viewer.press(Key.PAUSE)
    viewer.watch()
    viewer.press(Key.QUIT)
    assert viewer.player.step(viewer.now) == Step(ERASED if terminal else "", None, over=True)


def test_quitting_within_a_redraw_lets_the_terminal_draw_again() -> None:
    reel = ListedReel([[output(number * 1000, "x" * STEP_MAX)] for number in range(20)], length=20_000)
    viewer = Viewer(player(reel))
    viewer.watch(until=12.5)
    viewer.press(Key.BACK)
    assert viewer.player.step(viewer.now).wait == 0
    viewer.press(Key.QUIT)
    assert viewer.player.step(viewer.now).output == "\x1b[?2026l"


# --- what has not come, and what is too much --------------------------------------------------------------------------


def test_seeking_beyond_what_has_come_waits_for_it() -> None:
    reel = seconds(3, "more")
    viewer = Viewer(player(reel))
    viewer.watch(until=0.5)
    viewer.press(Key.FORWARD)
    assert viewer.watch() == ""
    assert viewer.player.target == pytest.approx(500 + LEAP)
    reel.blocks += seconds(20).blocks[3:]
    assert viewer.watch(until=0.6) == numbers(1, 2, 3, 4, 5)


def test_seeking_beyond_a_live_session_ends_at_its_edge() -> None:
    viewer = Viewer(player(seconds(3, "edge")))
    viewer.watch(until=0.5)
    viewer.press(Key.FORWARD)
    assert viewer.watch() == numbers(1, 2)
    assert viewer.player.mode is Mode.FOLLOWING


def test_only_the_last_of_much_is_drawn_again() -> None:
    reel = seconds(100)
    reel.weight = REDRAW_MAX // 4
    viewer = Viewer(player(reel))
    viewer.watch(until=0.5)
    viewer.press(*[Key.FORWARD] * 10)
    shown = viewer.watch(until=0.6)
    assert CLEARED in shown
    assert drawn(shown) == numbers(*range(46, 51))
    assert max(reel.opened) < 52
    assert set(range(2, 46)).isdisjoint(reel.opened)


def test_a_program_that_took_the_screen_in_what_is_skipped_has_it_where_one_arrives() -> None:
    reel = seconds(100)
    reel.weight = REDRAW_MAX // 4
    reel.blocks[10] = [output(10_000, "\x1b[?1049heditor")]
    viewer = Viewer(player(reel))
    viewer.watch(until=0.5)
    viewer.press(*[Key.FORWARD] * 10)
    assert viewer.watch(until=0.6).rpartition(CLEARED)[2].startswith("\x1b[?1049h<46>")
    assert 10 not in reel.opened


def test_a_redraw_from_the_middle_begins_on_the_screen_that_it_was() -> None:
    reel = seconds(60)
    reel.weight = REDRAW_MAX // 4
    reel.blocks[10] = [output(10_000, "\x1b[?1049heditor")]
    reel.blocks[40] = [output(40_000, "\x1b[?1049lshell")]
    viewer = Viewer(player(reel))
    viewer.watch(until=52.5)
    for _ in range(5):
        viewer.press(Key.BACK)
    assert viewer.watch(until=52.6).rpartition(CLEARED)[2].startswith("\x1b[?1049h<23>")
    for _ in range(4):
        viewer.press(Key.BACK)
    assert viewer.watch(until=52.7).rpartition(CLEARED)[2].startswith("<3>")


# --- the last line ----------------------------------------------------------------------------------------------------


FETCHING = " fetching  3.2 MiB of 40 MiB  q: quit "
ARRIVED = (3_355_443, 40 * 1024 * 1024)


def test_who_waits_for_the_beginning_is_told_and_the_line_goes_away() -> None:
    reel = ListedReel(progress="more", arrived=ARRIVED)
    viewer = on_terminal(reel)
    assert viewer.player.step(0.0) == Step("", PATIENCE)
    assert viewer.watch() == ""
    assert viewer.status() == FETCHING
    reel.blocks += seconds(3).blocks
    assert viewer.watch(until=0.6) == f"{ERASED}<0>"
    assert viewer.status() == ""


def test_who_goes_where_nothing_has_come_is_told_and_sees_the_screen_again() -> None:
    reel = seconds(3, "more")
    reel.arrived = ARRIVED
    viewer = on_terminal(reel)
    viewer.watch(until=1.5)
    viewer.press(Key.END)
    assert viewer.watch() == ""
    assert viewer.status() == FETCHING
    reel.blocks += seconds(20).blocks[3:]
    assert viewer.status() == FETCHING
    reel.progress = "over"
    shown = viewer.watch()
    assert CLEARED in shown
    assert drawn(shown) == numbers(*range(20))


def test_a_wait_that_is_over_soon_is_not_told() -> None:
    reel = seconds(3, "more")
    viewer = on_terminal(reel)
    viewer.watch(until=0.5)
    viewer.press(Key.FORWARD)
    assert viewer.player.step(viewer.now).status is None
    reel.blocks += seconds(20).blocks[3:]
    assert viewer.watch(until=0.6) == numbers(*range(1, 6))


def test_a_link_that_stands_still_while_it_plays_is_told() -> None:
    reel = seconds(2, "more")
    reel.arrived = ARRIVED
    viewer = on_terminal(reel)
    assert viewer.watch() == numbers(0, 1)
    assert viewer.status() == FETCHING
    reel.blocks += seconds(4).blocks[2:]
    reel.progress = "over"
    shown = viewer.watch()
    assert drawn(shown) == numbers(0, 1, 2, 3)


def test_where_there_is_no_terminal_nothing_is_drawn_twice() -> None:
    reel = seconds(2, "more")
    viewer = Viewer(player(reel))
    viewer.watch()
    reel.blocks += seconds(4).blocks[2:]
    reel.progress = "over"
    viewer.watch()
    assert viewer.seen == numbers(0, 1, 2, 3)


def resized(reel: ListedReel, *sizes: tuple[int, str]) -> ListedReel:
    for second, size in sizes:
        reel.blocks[second] = [Event(second * 1000, "r", size), *reel.blocks[second]]
    return reel


def test_a_session_that_outgrows_the_terminal_is_told_for_a_while() -> None:
    viewer = on_terminal(resized(seconds(20), (5, "120x40")))
    viewer.watch(until=5.5)
    assert viewer.status().startswith(" the session's terminal is 120 by 40 now, and this one 80 by 24: ")
    assert drawn(viewer.watch(until=5.5 + NOTE_TIME)) == numbers(*range(9))
    assert viewer.status() == ""
    assert viewer.watch(until=9.1) == numbers(9)


@pytest.mark.parametrize("size", ["80x24", "20x5", "huge", "1x1x1"])
def test_a_session_that_fits_or_says_no_size_is_not_told(size: str) -> None:
    viewer = on_terminal(resized(seconds(20), (5, size)))
    viewer.watch(until=5.5)
    assert viewer.status() == ""
    assert viewer.seen == numbers(*range(6))


def test_the_size_at_the_beginning_is_told_otherwise_and_counts_after_home() -> None:
    viewer = on_terminal(resized(seconds(20), (2, "80x24"), (4, "90x24")))
    viewer.player.introduce(CastHeader(90, 24, 0))
    viewer.watch(until=1.0)
    assert viewer.status() == ""
    viewer.watch(until=2.5)
    viewer.press(Key.START)
    viewer.watch(until=2.6)
    assert viewer.status().startswith(" the session's terminal is 90 by 24 now")


def test_where_one_goes_the_size_of_then_counts() -> None:
    reel = resized(seconds(100), (10, "120x40"))
    reel.weight = REDRAW_MAX // 4
    viewer = on_terminal(reel)
    viewer.watch(until=0.5)
    viewer.press(*[Key.FORWARD] * 10)
    viewer.watch(until=0.6)
    assert viewer.status().startswith(" the session's terminal is 120 by 40 now")


def test_a_terminal_that_changes_its_size_is_drawn_again_whatever_it_shows() -> None:
    viewer = on_terminal(seconds(20))
    viewer.watch(until=3.5)
    viewer.player.resize((100, 30), viewer.now)
    assert drawn(viewer.watch(until=3.6)) == numbers(*range(4))
    viewer.press(Key.PAUSE)
    viewer.watch()
    viewer.player.resize((80, 24), viewer.now)
    assert drawn(viewer.watch()) == numbers(*range(4))
    assert viewer.is_in(Mode.PAUSED)
    viewer.press(Key.FORWARD)
    viewer.player.resize((90, 24), viewer.now)
    assert drawn(viewer.watch()) == numbers(*range(9))
    viewer.press(Key.QUIT)
    viewer.player.resize((80, 24), viewer.now)
    assert viewer.player.step(viewer.now).over


def test_a_running_session_is_drawn_again_where_the_terminal_grows() -> None:
    reel = resized(seconds(3, "edge"), (1, "120x40"))
    viewer = on_terminal(reel)
    viewer.player.follow()
    viewer.watch(until=0.1)
    assert viewer.status().startswith(" the session's terminal is 120 by 40")
    viewer.player.resize((120, 40), viewer.now)
    assert drawn(viewer.watch(until=0.2)) == numbers(0, 1, 2)
    assert (viewer.status(), viewer.player.mode) == ("", Mode.FOLLOWING)


@pytest.mark.parametrize("second", [2, 3])
def test_a_note_is_gone_when_the_recording_is_over(second: int) -> None:
    viewer = on_terminal(resized(seconds(4), (second, "120x40")))
    viewer.watch(until=2.5)
    assert bool(viewer.status()) is (second == 2)
    shown = viewer.watch()
    assert (viewer.player.mode, viewer.status()) == (Mode.OVER, "")
    assert drawn(viewer.seen) == numbers(0, 1, 2, 3)
    assert (CLEARED in shown) is (second == 2)


@given(st.lists(st.sampled_from([key for key in Key if key is not Key.QUIT]), max_size=12), st.floats(0, 30))
def test_wherever_somebody_goes_the_screen_is_what_it_was_then(keys: list[Key], at: float) -> None:
    viewer = on_terminal(resized(seconds(30), (3, "100x30"), (20, "80x24"), (24, "90x20")))
    viewer.watch(until=at)
    for key in keys:
        viewer.press(key)
        viewer.watch(until=viewer.now + 0.3)
    if viewer.player.mode is Mode.OVER:
        return
    count = drawn(viewer.seen).count("<")
    assert drawn(viewer.seen) == numbers(*range(count))
