from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from werkzeug.test import TestResponse

from controller.recordings.playback import COLUMNS_MAX, PASSAGE_SIZE, ROWS_MAX
from protocol import limits
from protocol.recording.cast import Event, parse_lines
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.screening import Screening
from tests.harness.tape import Tape

KINDS = ("index", "segment", "screen", "cast", "verification")


@pytest.fixture
def show(lab: Lab) -> Screening:
    return Screening(lab)


def ask(show: Screening, who: str, tape: Tape, what: str) -> TestResponse:
    return show.browser(who).get(f"/web/sessions/{tape.session}/{what}")


def found(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return cast("dict[str, Any]", response.get_json())


def texts(segment: dict[str, Any]) -> str:
    return "".join(data for _, code, data in segment["events"] if code == "o")


def long_tape(show: Screening, seconds: int, text: str = "line {}\r\n") -> Tape:
    tape = show.tape().head()
    for second in range(1, seconds + 1):
        tape.output(second * 1000, text.format(second))
    return tape.seal("final", seconds * 1000)


def test_the_index_says_how_long_it_is_where_what_lies_and_what_is_marked(show: Screening) -> None:
    tape = show.tape().head(width=100, height=30).output(500, "hello")
    tape.events(Event(1000, "j", "bob"), Event(1200, "r", "90x20"), Event(2500, "l", "bob"), Event(2600, "m", "here"))
    index = found(ask(show, "alice", show.keep(tape.seal("final", 3000)), "index"))
    assert (index["columns"], index["rows"], index["duration"], index["state"]) == (100, 30, 3.0, "complete")
    assert index["read"] == index["size"] == len(tape.content)
    assert index["marks"] == [
        [1.0, "join", "bob"],
        [1.2, "resize", "90x20"],
        [2.5, "leave", "bob"],
        [2.6, "marker", "here"],
    ]
    assert index["stretches"][0] == [1, 0.0]
    assert index["fault"] == ""


def test_segments_follow_one_another_to_the_end_and_hold_every_event_once(show: Screening) -> None:
    tape = show.keep(long_tape(show, 40))
    seen, number, more = "", 0, True
    while more:
        segment = found(ask(show, "alice", tape, f"segment?record={number}&count=7"))
        seen += texts(segment)
        number, more = segment["next"], segment["more"]
    assert seen == "".join(f"line {second}\r\n" for second in range(1, 41))


def test_a_segment_is_bounded_however_much_was_printed(show: Screening) -> None:
    tape = show.tape().head()
    for second in range(1, 9):
        tape.output(second * 1000, "x" * 300_000)
    show.keep(tape.seal("final", 9000))
    segment = found(ask(show, "alice", tape, "segment?record=0"))
    assert segment["more"]
    assert PASSAGE_SIZE <= len(texts(segment)) < PASSAGE_SIZE + limits.RECORDING_FRAME_MAX


def test_the_screen_at_a_moment_has_what_was_printed_by_then_and_says_where_to_go_on(show: Screening) -> None:
    tape = show.keep(long_tape(show, 30))
    screen = found(ask(show, "alice", tape, "screen?at=10.5"))
    assert "line 10\r\n" in screen["text"]
    assert "line 11" not in screen["text"]
    assert (screen["columns"], screen["rows"]) == (80, 24)
    rest = found(ask(show, "alice", tape, f"segment?record={screen['record']}"))
    later = [event for event in rest["events"] if event[0] > 10.5]
    assert later[0] == [11.0, "o", "line 11\r\n"]


def test_going_to_the_middle_of_a_long_recording_loads_no_more_than_the_screen_takes(show: Screening) -> None:
    tape = show.keep(long_tape(show, 600, "{} " + "y" * 2000 + "\r\n"))
    screen = found(ask(show, "alice", tape, "screen?at=500"))
    assert "500 yyy" in screen["text"]
    assert len(screen["text"]) < 2 * limits.SCREEN_TAIL_MAX


def test_the_screen_begins_where_it_was_last_emptied_and_has_the_size_of_then(show: Screening) -> None:
    tape = show.tape().head().output(1000, "before").output(2000, "\x1b[H\x1b[2Jafter")
    show.keep(tape.events(Event(3000, "r", "40x10")).output(4000, "end").seal("final", 5000))
    screen = found(ask(show, "alice", tape, "screen?at=3.5"))
    assert "after" in screen["text"]
    assert "before" not in screen["text"]
    assert (screen["columns"], screen["rows"]) == (40, 10)
    assert found(ask(show, "alice", tape, "screen?at=2.5"))["columns"] == 80


def test_the_screen_at_the_beginning_is_empty_and_that_after_the_end_is_the_last(show: Screening) -> None:
    tape = show.keep(long_tape(show, 5))
    assert "line" not in found(ask(show, "alice", tape, "screen?at=0"))["text"]
    assert "line 5" in found(ask(show, "alice", tape, "screen?at=99999"))["text"]


def test_sizes_that_no_browser_could_draw_are_made_smaller(show: Screening) -> None:
    tape = show.tape().head(width=10_000, height=60_000).events(Event(1000, "r", "65535x65535"))
    show.keep(tape.seal("final", 2000))
    index = found(ask(show, "alice", tape, "index"))
    assert (index["columns"], index["rows"]) == (COLUMNS_MAX, ROWS_MAX)
    assert found(ask(show, "alice", tape, "segment"))["events"] == [[1.0, "r", f"{COLUMNS_MAX}x{ROWS_MAX}"]]
    assert found(ask(show, "alice", tape, "screen?at=2"))["columns"] == COLUMNS_MAX


def test_a_command_without_a_terminal_goes_back_to_the_line_s_start(show: Screening) -> None:
    tape = show.tape(command="uname").head().events(Event(500, "e", "a\nb\n"), Event(700, "i", "typed"))
    show.keep(tape.seal("final", 1000))
    assert found(ask(show, "alice", tape, "segment"))["events"] == [[0.5, "o", "a\r\nb\r\n"]]


def test_what_marks_say_is_written_out_where_a_terminal_or_a_reader_could_be_misled(show: Screening) -> None:
    tape = show.tape().head().events(Event(500, "m", "\x1b]0;x\x07\u202e<script>"))
    show.keep(tape.seal("final", 1000))
    index = found(ask(show, "alice", tape, "index"))
    assert index["marks"] == [[0.5, "marker", r"\x1b]0;x\x07\u202e<script>"]]
    assert found(ask(show, "alice", tape, "segment"))["events"][0][2] == r"\x1b]0;x\x07\u202e<script>"


def test_a_recording_that_still_arrives_is_played_as_far_as_it_came(show: Screening) -> None:
    tape = show.tape().head().output(1000, "first").seal("running", 1500)
    half = len(tape.content)
    tape.output(2000, "second").seal("final", 3000)
    show.keep(tape, upto=half)
    segment = found(ask(show, "alice", tape, "segment"))
    assert (segment["state"], texts(segment), segment["more"]) == ("arriving", "first", False)
    show.keep(tape)
    rest = found(ask(show, "alice", tape, f"segment?record={segment['next']}"))
    assert (rest["state"], texts(rest), rest["duration"]) == ("complete", "second", 3.0)


@pytest.mark.parametrize("what", KINDS)
def test_who_took_no_part_is_told_that_there_is_nothing(show: Screening, what: str) -> None:
    tape = show.keep(show.short(user="alice"))
    assert ask(show, "alice", tape, what).status_code == 200
    assert ask(show, "ada", tape, what).status_code == 200
    refused = ask(show, "bob", tape, what)
    nothing = show.browser("bob").get(f"/web/sessions/{'0' * 8}-0000-4000-8000-{'0' * 12}/{what}")
    assert (refused.status_code, nothing.status_code) == (404, 404)
    assert refused.data == nothing.data
    (attempt,) = [event for event in show.events("session.recording.access") if event["code"] == "SK036W"]
    assert (attempt["user"], attempt["sid"], attempt["check"]) == ("bob", tape.session, "V1")


def test_playing_is_told_to_the_audit_log_once_and_before_anything_is_handed_out(
    show: Screening, clock: HandClock
) -> None:
    tape = show.keep(show.short(user="alice"))
    for what in ("index", "segment", "screen?at=1", "segment?record=2"):
        ask(show, "alice", tape, what)
    (access,) = show.events("session.recording.access")
    assert (access["user"], access["sid"], access["format"], access["via"]) == ("alice", tape.session, "web", "web")
    clock.pass_(limits.RECORDING_ACCESS_AGAIN + timedelta(seconds=1))
    show.tokens["alice"] = show.lab.session("alice", "web", clock() + timedelta(hours=1))
    ask(show, "alice", tape, "segment")
    assert len(show.events("session.recording.access")) == 2


def test_a_cast_is_the_whole_recording_for_any_player_and_each_download_is_told(show: Screening) -> None:
    tape = show.keep(show.short(user="alice"))
    response = ask(show, "alice", tape, "cast")
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert lines[0]["version"] == 2
    assert [line[2] for line in lines[1:]] == ["$ echo grüß\r\n", "grüß\r\n"]
    assert response.headers["Content-Disposition"] == f'attachment; filename="{tape.session}.cast"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    ask(show, "alice", tape, "cast")
    assert [event["format"] for event in show.events("session.recording.access")] == ["cast", "cast"]


@pytest.mark.parametrize(
    "what",
    [
        "segment?record=-1",
        "segment?record=99999999999",
        "segment?count=1000000",
        "segment?record=x",
        "screen?at=-1",
        "screen?at=1e9",
        "screen?at=nan",
        "screen?at=" + "9" * 40,
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(show: Screening, what: str) -> None:
    tape = show.keep(show.short(user="alice"))
    assert ask(show, "alice", tape, what).status_code == 400


def test_a_record_that_is_not_there_yet_has_no_events(show: Screening) -> None:
    tape = show.keep(show.short(user="alice"))
    segment = found(ask(show, "alice", tape, "segment?record=4000000000"))
    assert (segment["events"], segment["more"]) == ([], False)


def test_what_was_changed_on_the_disk_is_played_up_to_there_and_is_said_to_be_broken(
    show: Screening, tmp_path: Path
) -> None:
    tape = show.keep(long_tape(show, 20))
    kept = next(path for path in (tmp_path / "recordings").rglob("*") if path.stat().st_size == len(tape.content))
    data = bytearray(kept.read_bytes())
    data[sum(map(len, tape.records[:12])) + 30] ^= 1
    kept.write_bytes(data)
    segment = found(ask(show, "alice", tape, "segment"))
    assert texts(segment).startswith("line 1\r\n")
    assert "line 20" not in texts(segment)
    verdict = ask(show, "alice", tape, "verification").text
    assert "Broken at record" in verdict
    fault = found(ask(show, "alice", tape, "index"))["fault"]
    assert fault.startswith("record ")
    *events, mark = parse_lines(ask(show, "alice", tape, "cast").data)[1:]
    assert events
    assert isinstance(mark, Event)
    assert (mark.code, mark.data) == ("m", f"Skerry: broken from {fault.partition(':')[0]}")


def test_a_recording_that_is_not_encrypted_is_played_like_any_other(show: Screening) -> None:
    tape = show.keep(show.short(user="alice", recipient=None))
    assert texts(found(ask(show, "alice", tape, "segment"))).startswith("$ echo")


def test_the_verdict_is_that_of_tctl(show: Screening) -> None:
    whole = show.keep(show.short(user="alice"))
    said = ask(show, "alice", whole, "verification").text
    assert "Intact" in said
    assert "the node&#39;s key, as this cluster knows it" in said
    cut = show.keep(show.short("interrupted", user="alice"))
    assert "Interrupted, and good up to there" in ask(show, "alice", cut, "verification").text
    half = show.tape(user="alice").head().output(100, "x")
    show.keep(half)
    assert "Not finished" in ask(show, "alice", half, "verification").text


def test_checking_again_looks_at_the_disk_again(show: Screening, tmp_path: Path) -> None:
    tape = show.keep(long_tape(show, 20))
    assert "Intact" in ask(show, "alice", tape, "verification").text
    kept = next(path for path in (tmp_path / "recordings").rglob("*") if path.stat().st_size == len(tape.content))
    data = bytearray(kept.read_bytes())
    data[-200] ^= 1
    kept.write_bytes(data)
    assert "Broken" in ask(show, "alice", tape, "verification?again=1").text
    assert "Broken" in ask(show, "ada", tape, "verification").text


def test_checking_again_leaves_what_others_see_until_it_is_done(show: Screening) -> None:
    tape = show.keep(long_tape(show, 20))
    assert "Intact" in ask(show, "ada", tape, "verification").text
    services = show.lab.services("skerry.example:3080", 100_000)
    stored = services.recordings.find(tape.session)
    assert stored is not None
    surveys, read = services.surveys, services.recordings.read
    before = surveys.of(services.recordings, stored)
    assert before.advance(lambda offset, size: read(tape.session, offset, size), stored.entry.size)
    renewal = surveys.again(services.recordings, stored)
    assert renewal is not before
    assert not renewal.advance(lambda offset, size: read(tape.session, offset, min(size, 100)), stored.entry.size, 1)
    assert surveys.again(services.recordings, stored) is renewal
    assert surveys.of(services.recordings, stored) is before
    surveys.settle(tape.session, renewal)
    assert surveys.of(services.recordings, stored) is renewal
    assert surveys.again(services.recordings, stored) is not renewal
