from __future__ import annotations

from protocol.recording.binary import Tally
from protocol.recording.cast import Event
from protocol.recording.plain import PlainText


def output(text: str) -> Event:
    return Event(0, "o", text)


def binary(size: int, stream: str = "o") -> Event:
    tally = Tally(0, stream)
    tally.add(bytes(size))
    return Event(0, "b", str(tally.summary()))


def shown(*events: Event, in_place: bool = False) -> list[str]:
    plain = PlainText(in_place=in_place)
    return [*(plain.show(event) for event in events), plain.end(), plain.end()]


def test_both_streams_are_shown_and_nothing_else_is() -> None:
    events = (output("a"), Event(1, "e", "b\n"), Event(2, "i", "typed"), Event(3, "r", "80x24"), Event(4, "x", "0"))
    assert shown(*events) == ["a", "b\n", "", "", "", "", ""]


def test_what_was_no_text_is_one_line_before_the_next_text() -> None:
    assert shown(output("a\n"), binary(2000), binary(3000, "e"), output("b")) == [
        "a\n", "", "", "[5000 bytes that are no text]\nb", "", "",
    ]  # fmt: skip


def test_the_line_stands_alone_where_the_text_before_it_has_no_end() -> None:
    assert shown(output("a"), binary(2000), Event(0, "x", "0"), output(""), output("b"), binary(1024)) == [
        "a", "", "", "", "\n[2000 bytes that are no text]\nb", "", "\n[1024 bytes that are no text]\n", "",
    ]  # fmt: skip


def test_at_the_end_it_is_told_too_and_once() -> None:
    assert shown(binary(2000)) == ["", "[2000 bytes that are no text]\n", ""]


def test_in_place_the_line_is_there_at_once_and_grows() -> None:
    assert shown(output("a"), binary(2000), binary(3000), output("b\n"), binary(1024), in_place=True) == [
        "a", "\n[2000 bytes that are no text]", "\r[5000 bytes that are no text]", "\nb\n",
        "[1024 bytes that are no text]", "\n", "",
    ]  # fmt: skip
