"""What the player says of itself on the last line, and of a window that changed."""

from __future__ import annotations

from protocol.recording.cast import CastHeader, Event
from tests.tsh.viewer import ListedReel, Viewer, numbers, on_terminal, output, player, seconds
from tsh.caption import NOTE_TIME, PLACE_TIME, QUIET
from tsh.keyboard import Key


def test_a_window_that_grew_scrolls_as_a_whole_again() -> None:
    events = [output(0, "\x1b[1;10r"), Event(1000, "r", "80x40"), output(1000, "more"), Event(2000, "r", "80x50")]
    viewer = Viewer(player(ListedReel([events], length=2000)))
    assert viewer.watch() == "\x1b[1;10r\x1b7\x1b[?6l\x1b[r\x1b8more"


def test_a_key_says_where_it_led_and_how_fast_it_goes_while_it_plays() -> None:
    viewer = on_terminal(seconds(60))
    viewer.watch(until=1.5)
    viewer.press(Key.FASTER)
    assert viewer.status() == " 00:01 / 01:00  2x "
    viewer.watch(until=1.5 + PLACE_TIME)
    viewer.press(Key.FORWARD)
    viewer.player.step(viewer.now)
    assert viewer.status() == " 00:09 / 01:00  2x "
    viewer.watch(until=viewer.now + PLACE_TIME)
    assert viewer.status() == ""


def test_who_joins_and_leaves_is_told_for_a_while_and_who_began_is_not() -> None:
    events = [Event(0, "j", "alice"), output(0, "a"), Event(1000, "j", "bob\x1b"), output(1000, "b")]
    events += [Event(9000, "l", "alice"), output(9000, "c"), output(20_000, "d")]
    viewer = on_terminal(ListedReel([events], length=20_000))
    viewer.watch(until=0.9)
    assert viewer.status() == ""
    viewer.watch(until=1.1)
    assert viewer.status() == " bob\\x1b joined "
    viewer.watch(until=1.1 + NOTE_TIME)
    assert viewer.status() == ""
    viewer.watch(until=9.1)
    assert viewer.status() == " alice left "
    viewer.watch(until=20)
    assert viewer.status() == ""


def test_without_a_terminal_nobody_is_told_who_joined() -> None:
    viewer = Viewer(player(ListedReel([[output(0, "a"), Event(1000, "j", "bob"), output(2000, "b")]])))
    assert viewer.watch() == "ab"


def test_who_follows_a_session_in_which_nothing_happens_is_told_once_what_is_awaited() -> None:
    reel = seconds(2, "edge")
    viewer = on_terminal(reel)
    viewer.player.introduce(CastHeader(80, 24, 0, said={"node": "gw\x1b-1"}))
    viewer.watch(until=1 + QUIET - 0.1)
    assert viewer.status() == ""
    viewer.watch(until=1 + QUIET + 0.1)
    assert viewer.status() == " waiting for more from gw\\x1b-1  q: quit "
    viewer.watch()
    assert viewer.status() == ""
    assert viewer.player.step(viewer.now).wait is None
    reel.blocks += seconds(3).blocks[2:]
    assert viewer.watch(until=viewer.now + 1) == numbers(2)
    viewer.watch(until=viewer.now + QUIET)
    assert viewer.status().startswith(" waiting for more")


def test_the_line_of_a_pause_says_where_the_session_may_go_on() -> None:
    viewer = Viewer(player(seconds(3, "edge")))
    viewer.watch()
    viewer.press(Key.PAUSE)
    assert viewer.status().startswith(" paused  live  00:02 / 00:03  1x  space: go on")
