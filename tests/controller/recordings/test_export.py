from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.recordings.export import Export, Form
from protocol.recording import cipher
from protocol.recording.cast import CastHeader, Event, parse_lines
from protocol.recording.fault import RecordingError
from protocol.recording.signer import signer_line
from protocol.recording.verdict import Examiner, Verdict
from protocol.secret import Secret
from tests.harness.tape import NOON, Tape, short_tape

ROOT = Path(__file__).parents[3]


def exported(form: Form, tape: Tape, key: Secret[bytes] | None = None, size: int = 100) -> tuple[Verdict, bytes]:
    """Export `tape`, read in pieces of `size` bytes."""
    out = io.BytesIO()
    content = tape.content
    pieces = (content[start : start + size] for start in range(0, len(content), size))
    verdict = Export(form, out, Examiner(tape.signer), lambda _: key).run(pieces)
    return verdict, out.getvalue()


def locked_tape() -> Tape:
    _, public = cipher.generate()
    return short_tape(recipient=("33333333-3333-4333-8333-333333333333", public))


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_export_is_the_same_however_the_recording_is_read(size: int) -> None:
    tape = locked_tape()
    verdict, text = exported("text", tape, tape.key, size)
    assert (verdict.state, text.decode()) == ("intact", "$ echo grüß\r\ngrüß\r\n")
    _, cast = exported("cast", tape, tape.key, size)
    header, *events = parse_lines(cast)
    assert isinstance(header, CastHeader)
    assert [event.time for event in events if isinstance(event, Event)] == [500, 1500]


def test_a_record_that_does_not_open_ends_the_export_there_and_breaks_the_verdict() -> None:
    tape = locked_tape()
    verdict, cast = exported("cast", tape, Secret(bytes(32)), 10_000)
    assert verdict.describe() == (
        "broken: record 1: does not open: another key, or changed (O1); before it: 1 good record, 1 of them sealed"
    )
    assert (verdict.size, verdict.hash != tape.chain) == (len(tape.records[0]), True)
    assert len(parse_lines(cast)) == 1


def test_a_recording_without_its_first_line_is_given_one() -> None:
    tape = Tape().output(100, "a").output(200, "b").seal("final", 200)
    header, *events = parse_lines(exported("cast", tape)[1])
    assert header == CastHeader(80, 24, NOON // 1000)
    assert len(events) == 2
    only_a_header = Tape()
    assert parse_lines(exported("cast", only_a_header)[1]) == [header]
    assert exported("text", only_a_header)[1] == b""


def test_a_second_first_line_is_left_out() -> None:
    tape = Tape().head().head(width=100).output(200, "b").seal("final", 200)
    header, *events = parse_lines(exported("cast", tape)[1])
    assert isinstance(header, CastHeader)
    assert (header.width, len(events)) == (80, 1)


def test_half_a_character_is_no_event_and_ends_the_export_there() -> None:
    tape = Tape().head().output(50, "good")
    tape.records.append(tape.writer.data(b'[0.1,"o","\\ud800x"]\n', 100))
    verdict, text = exported("text", tape)
    assert (verdict.state, text) == ("broken", b"good")


@pytest.mark.parametrize("pieces", [[b"x" * 999], [Tape().head().output(50, "good").content, b"x" * 999]])
def test_a_cast_may_be_ended_with_a_mark_wherever_the_recording_broke(pieces: list[bytes]) -> None:
    out = io.BytesIO()
    export = Export("cast", out, Examiner(), lambda _: None)
    for _ in export.steps(pieces):
        pass
    assert export.fault is not None
    export.mark("broken")
    header, *events = parse_lines(out.getvalue())
    assert isinstance(header, CastHeader)
    end = 50 if len(pieces) == 2 else 0
    assert events[-1] == Event(end, "m", "broken")


def test_a_locked_recording_is_not_begun_without_its_key() -> None:
    out = io.BytesIO()
    tape = locked_tape()
    with pytest.raises(RecordingError, match="its key is needed"):
        Export("cast", out, Examiner(), lambda _: None).run([tape.content])
    assert out.getvalue() == b""


def on_terminal(*arguments: str, status: int = 0) -> str:
    """Run the program to an exit status with standard error on a terminal, and return what it shows there."""
    command = [sys.executable, "-m", "controller.tctl", "-c", "/nonexistent.yaml", *arguments]
    ours, theirs = os.openpty()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs) as program:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone with its last user
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
    assert program.returncode == status
    return shown.decode()


def test_a_large_recording_shows_how_far_it_is_and_takes_that_away_at_the_end(tmp_path: Path) -> None:
    tape = Tape().head()
    for second in range(70):
        tape.output(second * 1000, os.urandom(70_000).hex())
    file, cast = tmp_path / "large.skr", tmp_path / "large.cast"
    key = signer_line(tape.signer)
    file.write_bytes(tape.seal("final", 70_000).content)
    for verb, arguments in (("Checking", ("verify",)), ("Exporting", ("export", "-o", str(cast)))):
        shown = on_terminal("recordings", *arguments, str(file), "--public-key", key)
        assert shown.startswith(f"\r\x1b[K{verb}: ")
        assert " MiB)" in shown
        assert shown.endswith("\r\x1b[K")
    assert len(cast.read_bytes()) > 70 * 140_000
    file.write_bytes(short_tape(signing=tape.signing).content)
    assert on_terminal("recordings", "verify", str(file), "--public-key", key) == ""


@pytest.mark.parametrize("verb", ["verify", "export"])
def test_of_a_large_recording_that_is_broken_no_line_is_left(tmp_path: Path, verb: str) -> None:
    tape = Tape().head()
    for second in range(70):
        tape.output(second * 1000, os.urandom(70_000).hex())
    file, data = tmp_path / "large.skr", bytearray(tape.seal("final", 70_000).content)
    data[-200_000] ^= 1
    file.write_bytes(data)
    shown = on_terminal("recordings", verb, str(file), "--public-key", signer_line(tape.signer), status=1)
    progress, _, rest = shown.rpartition("\r\x1b[K")
    assert " MiB)" in progress
    assert "MiB)" not in rest
