"""What the screen is like between blocks, found without reading each event: the same as where each is shown."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.recording.cast import CastHeader, Event
from tsh.scene import Scene, Scout
from tsh.screen import Screen

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
HEADER = CastHeader(80, 24, 0, command="printf '\x1b[?1049h'").line()


def scene_after(*blocks: list[Event]) -> Scene:
    scout = Scout()
    scout.read(HEADER)
    for events in blocks:
        scout.read(b"".join(event.line() for event in events))
    return scout.scene


def output(*texts: str) -> list[Event]:
    return [Event(number, "o", text) for number, text in enumerate(texts)]


PIECES = [
    ENTER,
    LEAVE,
    "\x1b[?25;1047h",
    "\x1b[?0047l",
    "\x9b?1049h",
    "\x1bc",
    "\x1b[?25h",
    "\x1b[?1049",
    "\x1b[?10",
    "\x1b",
    "\\",
    "\\u001bc",
    "\\u001b[?1049h",
    '"]',
    "\n",
    "text",
    "ß",
    "[?1049h",
    "\x1b]0;title\x07",
]


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.lists(st.integers(0, 60), max_size=6), st.data())
def test_it_is_what_a_screen_would_be_wherever_the_output_is_cut(
    pieces: list[str], cuts: list[int], data: st.DataObject
) -> None:
    text = "".join(pieces)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    events = output(*(text[start:end] for start, end in itertools.pairwise(places)))
    at = data.draw(st.integers(0, len(events)))
    screen = Screen()
    for event in events:
        screen.show(event.data)
    assert scene_after(events[:at], events[at:]).alternate is screen.alternate


def test_what_is_no_output_switches_nothing() -> None:
    typed = [Event(0, "i", ENTER), Event(1, "m", ENTER)]
    assert scene_after(output("\x1b[31mred"), typed, output("more")) == Scene()
    assert scene_after([*output("\x1b[?10"), *typed, *output("49h")]).alternate


def test_the_last_size_counts() -> None:
    blocks = [[Event(0, "r", "100x30"), Event(1, "o", '[0,"r","7x7"]'), Event(2, "r", "90x20")], output("text")]
    assert scene_after(*blocks) == Scene(alternate=False, size=(90, 20))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("is_plain", [True, False])
def test_files_of_other_programs_are_read_too(separators: tuple[str, str], is_plain: bool) -> None:
    scout = Scout()
    for text in (["a", "\x9b?10"], ["49h", "b"]):
        lines = [json.dumps([0.5, "o", part], separators=separators, ensure_ascii=is_plain) for part in text]
        scout.read("\n".join(lines).encode())
    assert scout.scene.alternate
