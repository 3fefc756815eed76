"""Playing recordings from a cluster: over real HTTPS, standard streams on pipes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pexpect
import pytest

from protocol.names import parse_session_id
from protocol.recording import cipher
from protocol.recording.cast import Event
from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.simulated_recordings import Reply
from tests.harness.tape import Tape, short_tape
from tests.harness.tsh_program import TIMEOUT, TshProgram

SHOWN = "$ echo grüß\r\ngrüß\r\n"


def encrypted() -> Tape:
    return short_tape(recipient=("0d9f0c9e-6f6c-4a53-8f0e-0a3d5c1f2b11", cipher.generate()[1]))


def long_tape(kilobytes: int) -> Tape:
    """Return a recording of as many records as `kilobytes`, none of which gets much smaller when it is packed."""
    tape = Tape().head()
    for number in range(kilobytes):
        tape.output(
            number * 10, f"{number:05}:" + "".join(chr(0x4E00 + number * 37 * place % 20_000) for place in range(340))
        )
    return tape.events(Event(kilobytes * 10, "x", "0")).seal("final", kilobytes * 10)


def test_what_is_played_is_what_was_on_the_screen(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = encrypted()
    proxy.recordings.show(tape)
    done = alice.run("play", tape.session, "--speed=8x")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, SHOWN, b"")


def test_text_is_all_output_and_json_one_event_a_line(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = encrypted()
    proxy.recordings.show(tape)
    assert alice.run("play", tape.session, "--format=text").stdout.decode() == SHOWN
    lines = alice.run("play", "-f", "json", tape.session).stdout.decode().splitlines()
    events = [json.loads(line) for line in lines]
    assert events[0].items() >= {"event": "start", "width": 80, "height": 24, "user": "alice"}.items()
    assert events[1:] == [
        {"time": 0.5, "event": "output", "data": "$ echo grüß\r\n"},
        {"time": 1.5, "event": "output", "data": "grüß\r\n"},
        {"time": 2.0, "event": "exit", "data": "0"},
    ]


def test_a_session_without_a_terminal_shows_both_its_streams(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = Tape(command="make").head().events(Event(10, "o", "one\n"), Event(20, "e", "two\n")).seal("final", 20)
    proxy.recordings.show(tape)
    assert alice.run("play", tape.session).stdout == b"one\r\ntwo\r\n"
    assert alice.run("play", tape.session, "--format=text").stdout == b"one\ntwo\n"


def test_output_that_was_no_text_is_shown_as_a_line_that_says_so(proxy: SimulatedProxy, alice: TshProgram) -> None:
    said = [f"{size} o sha256:{'0f' * 32}" for size in (65536, 2000)]
    tape = Tape(command="tar").head().events(Event(10, "o", "one"), Event(20, "b", said[0]), Event(30, "b", said[1]))
    proxy.recordings.show(tape.events(Event(40, "e", "two\n")).seal("final", 40))
    assert alice.run("play", tape.session, "--format=text").stdout == b"one\n[67536 bytes that are no text]\ntwo\n"
    assert alice.run("play", tape.session).stdout == (
        b"one\r\n[65536 bytes that are no text]\r[67536 bytes that are no text]\r\ntwo\r\n"
    )
    events = [json.loads(line) for line in alice.run("play", "-f", "json", tape.session).stdout.splitlines()]
    assert {"time": 0.02, "event": "binary", "data": said[0]} in events


def test_a_large_recording_comes_in_pieces_on_one_connection(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = long_tape(900)
    proxy.recordings.show(tape)
    done = alice.run("play", tape.session, "--format=text")
    assert done.stdout.decode().count(":") == 900
    offsets = [offset for offset, _ in proxy.recordings.asked]
    assert len(offsets) > 2
    assert offsets == sorted(set(offsets))


def test_a_broken_link_is_taken_up_where_it_broke(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = long_tape(200)
    proxy.recordings.show(tape)
    proxy.recordings.outages = 1
    proxy.recordings.refusals = [503, 429]
    done = alice.run("play", tape.session, "--format=text")
    assert (done.returncode, done.stdout.decode().count(":"), done.stderr) == (0, 200, b"")


ENDS: dict[Literal["interrupted", "stopped"], str] = {
    "interrupted": "the recording ends here: the agent was interrupted\n",
    "stopped": "the recording ends here, and the session may not: the device could not record any further\n",
}


@pytest.mark.parametrize("form", ["pty", "text", "json"])
@pytest.mark.parametrize("reason", ENDS)
def test_a_recording_that_ends_before_its_session_says_so_at_its_end(
    proxy: SimulatedProxy, alice: TshProgram, form: str, reason: Literal["interrupted", "stopped"]
) -> None:
    tape = short_tape(reason)
    proxy.recordings.show(tape, reason)
    done = alice.run("play", tape.session, f"--format={form}", "--speed=8")
    assert done.returncode == 0
    assert done.stderr.decode() == ENDS[reason]
    assert done.stdout


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


BREAKS: dict[str, tuple[Callable[[Tape], bytes], str]] = {
    "changed": (lambda tape: flipped(tape.content, len(b"".join(tape.records[:5])) - 3), "record 4: "),
    "record dropped": (lambda tape: b"".join(tape.records[:4] + tape.records[5:]), "record 4: "),
    "cut off": (lambda tape: tape.content[:-10], "record 6: cut off after"),
    "end missing": (lambda tape: b"".join(tape.records[:-1]), "record 6: it is missing"),
    "more after it": (lambda tape: tape.content + b"x" * 20, "record 7: it follows the last seal"),
}


@pytest.mark.parametrize("form", ["pty", "text"])
@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_recording_plays_up_to_there(proxy: SimulatedProxy, alice: TshProgram, what: str, form: str) -> None:
    tape = short_tape()
    breaking, said = BREAKS[what]
    proxy.recordings.show(tape).content = breaking(tape)
    done = alice.run("play", tape.session, f"--format={form}", "--speed=8")
    assert done.returncode == 1
    assert done.stdout.decode().startswith("$ echo grüß\r\n")
    lines = done.stderr.decode().splitlines()
    assert lines[-1].startswith(f"ERROR: the recording is broken at {said}")
    assert len(lines) == 1


def test_a_recording_signed_by_another_node_is_not_played(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape, other = short_tape(), short_tape()
    proxy.recordings.show(tape).content = other.content
    done = alice.run("play", tape.session, "--format=text")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"signed with another key" in done.stderr


def test_what_the_cluster_refused_of_a_recording_is_told(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = short_tape()
    proxy.recordings.show(tape, "refused", size=len(b"".join(tape.records[:4])))
    done = alice.run("play", tape.session, "--format=text")
    assert (done.returncode, done.stdout.decode()) == (1, "$ echo grüß\r\n")
    assert b"the cluster refused what the node sent from here on" in done.stderr


def test_a_recording_that_is_not_there_is_one_line(proxy: SimulatedProxy, alice: TshProgram) -> None:
    session = short_tape().session
    assert proxy.recordings.shown == {}
    done = alice.run("play", session)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"ERROR: recording {session} not found, or you may not see it; of a session of late, it may still wait on its "
        "device\n"
    )


def test_nobody_plays_without_a_sign_in(newcomer: TshProgram) -> None:
    done = newcomer.run("play", short_tape().session)
    assert done.returncode == 1
    assert done.stderr.startswith(b"ERROR: Not logged in; log in with: tsh login")


def test_a_session_that_ended_meanwhile_says_how_to_log_in(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = short_tape()
    proxy.recordings.show(tape)
    proxy.signed_out = True
    done = alice.run("play", tape.session)
    assert done.returncode == 1
    assert b"has ended; log in: tsh login" in done.stderr


STRANGE: dict[str, Reply] = {
    "no headers": (200, {}, b"x"),
    "unknown state": (200, {"Skerry-Recording-State": "asleep", "Skerry-Recording-Size": "1"}, b"x"),
    "no size": (200, {"Skerry-Recording-State": "complete", "Skerry-Recording-Size": "-1"}, b"x"),
    "too much": (200, {"Skerry-Recording-State": "complete", "Skerry-Recording-Size": "9"}, bytes(600_000)),
}


@pytest.mark.parametrize("what", STRANGE)
def test_an_answer_that_makes_no_sense_ends_it(proxy: SimulatedProxy, alice: TshProgram, what: str) -> None:
    tape = short_tape()
    proxy.recordings.show(tape)
    proxy.recordings.strange = [STRANGE[what]]
    done = alice.run("play", tape.session)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"sent something else" in done.stderr


def test_a_refusal_for_good_is_passed_on(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = short_tape()
    proxy.recordings.show(tape)
    proxy.recordings.refusals = [403]
    done = alice.run("play", tape.session)
    assert (done.returncode, done.stderr) == (1, b"ERROR: not now\n")


@pytest.mark.parametrize("form", ["pty", "text"])
def test_a_running_session_is_followed_to_its_end(proxy: SimulatedProxy, alice: TshProgram, form: str) -> None:
    tape = short_tape()
    first, rest = b"".join(tape.records[:3]), b"".join(tape.records[3:])
    shown = proxy.recordings.show(tape, "arriving", size=len(first))
    with alice.started("play", tape.session, f"--format={form}") as running:
        assert running.stdout.readline().decode() == "$ echo grüß\r\n"
        assert proxy.recordings.polled.wait(20)
        shown.content += rest
        shown.state = "complete"
        assert running.stdout.readline().decode() == "grüß\r\n"
        assert running.process.wait(20) == 0
        assert (
            running.stderr.read().decode()
            == {
                "pty": f"{tape.session} is still arriving from gw-1: you see it from where it is now, and wait for "
                "more; home: from its start, q: quit\n",
                "text": f"{tape.session} is still arriving from gw-1: this shows it as it comes, and goes on until the "
                "session's end has come\n",
            }[form]
        )


def test_long_transfers_tell_how_far_they_are(proxy: SimulatedProxy, alice: TshProgram, tmp_path: Path) -> None:
    tape = short_tape()
    shown = proxy.recordings.show(tape, "arriving", size=len(b"".join(tape.records[:3])))
    line = f"{shlex.join([*alice.command, 'play', tape.session, '--format=text'])} > {tmp_path}/text"
    terminal = pexpect.spawn("sh", ["-c", line], env=alice.environment, timeout=TIMEOUT)
    terminal.expect(r"\r\d+ B of \d+ B, still arriving\x1b\[K")
    shown.content, shown.state = tape.content, "complete"
    terminal.expect(pexpect.EOF)
    assert terminal.before.endswith(b"\r\x1b[K")
    assert (tmp_path / "text").read_bytes().decode() == SHOWN


def test_what_arrives_in_pieces_that_end_within_records_is_played(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = short_tape()
    shown = proxy.recordings.show(tape, "arriving", size=3)
    with alice.started("play", tape.session, "--format=text") as running:
        for size in (100, 700, len(tape.content) - 20, len(tape.content)):
            proxy.recordings.polled.clear()
            assert proxy.recordings.polled.wait(20)
            shown.content = tape.content[:size]
        shown.state = "complete"
        assert running.stdout.read().decode() == SHOWN
        assert running.process.wait(20) == 0


def test_a_reader_that_has_enough_ends_it_quietly(proxy: SimulatedProxy, alice: TshProgram) -> None:
    tape = long_tape(400)
    proxy.recordings.show(tape)
    with alice.started("play", tape.session, "--format=text") as running:
        assert running.stdout.read(10)
        running.stdout.close()
        assert running.process.wait(20) == 141
        assert running.stderr.read() == b""


@pytest.mark.parametrize("line", [["--speed=3"], ["--format=yaml"], []])
def test_wrong_lines_are_refused(newcomer: TshProgram, line: list[str]) -> None:
    done = newcomer.run("play", *line)
    assert done.returncode == 2
    assert b"Usage: tsh play" in done.stderr


def test_the_beginning_of_an_id_names_a_recording_where_only_one_begins_so(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    tape = encrypted()
    proxy.recordings.show(tape)
    done = alice.run("play", tape.session[:8].upper(), "--format=text")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, SHOWN, b"")
    other = encrypted()
    other.session = parse_session_id(tape.session[:8] + other.session[8:])
    proxy.recordings.show(other)
    done = alice.run("play", tape.session[:8], "--format=text")
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"2 recordings begin with {tape.session[:8]}; name one by more of its ID:\n" in done.stderr.decode()
    assert other.session in done.stderr.decode()
    unknown = alice.run("play", "ffffffff-ffff")
    assert unknown.returncode == 1
    assert b"no recording that you may see begins with ffffffff-ffff; `tsh recordings ls`" in unknown.stderr
