"""Playing recordings from files: our own container, asciicast v2, and what is neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.recording import cipher
from protocol.recording.cast import Event, to_cast
from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.tape import Tape, short_tape
from tests.harness.tsh_program import TIMEOUT, TshProgram

SHOWN = "$ echo grüß\r\ngrüß\r\n"
OWN_WORD = (
    "nobody vouches for whose recording this is: it is not encrypted, so it is played on its own word. "
    "`tctl recordings verify` checks it with the node's key\n"
)
HEADER = '{"version": 2, "width": 80, "height": 24}\n'


def written(folder: Path, content: str | bytes, name: str = "session.cast") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def play(program: TshProgram, path: str, *more: str) -> tuple[int, str, str]:
    done = program.run("play", path, "--speed=8", *more)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("form", ["pty", "text"])
def test_a_file_of_our_own_needs_no_cluster_and_is_played_on_its_own_word(
    newcomer: TshProgram, tmp_path: Path, form: str
) -> None:
    assert play(newcomer, written(tmp_path, short_tape().content), f"--format={form}") == (0, SHOWN, OWN_WORD)


def test_an_exported_cast_plays_as_its_recording_does(newcomer: TshProgram, tmp_path: Path) -> None:
    events = [
        Event(0, "j", "alice"),
        Event(500, "o", "$ echo grüß\r\n"),
        Event(1500, "e", "grüß\r\n"),
        Event(2000, "x", "0"),
    ]
    lines = [line.line().decode() for event in events if (line := to_cast(event))]
    path = written(tmp_path, HEADER + "".join(lines))
    assert play(newcomer, path) == (0, SHOWN, "")
    told = [json.loads(line) for line in play(newcomer, path, "--format=json")[1].splitlines()]
    assert [(event["event"], event.get("data")) for event in told] == [
        ("start", None),
        ("marker", "alice joined"),
        ("output", "$ echo grüß\r\n"),
        ("output", "grüß\r\n"),
    ]


def test_a_cast_of_another_program_plays(newcomer: TshProgram, tmp_path: Path) -> None:
    header = '{"width":80,"env":null,"height":24,"version":2,"idle_time_limit":2.0,"theme":{"fg":"#fff"}}\n'
    lines = '[0.1,"o","a"]\n\n[0.2,"z","what is that"]\n[0.3,"o","\\ud800b"]\n[1,"o","c","and more"]'
    assert play(newcomer, written(tmp_path, header + lines)) == (0, "a?bc", "")


def test_a_large_cast_plays_in_order(newcomer: TshProgram, tmp_path: Path) -> None:
    lines = "".join(f'[{number / 1e6:.6f},"o","{number:06}{"x" * 200}\\r\\n"]\n' for number in range(8000))
    long_line = f'[1,"o","{"y" * 700_000}"]\n'
    path = written(tmp_path, HEADER + lines + long_line + '[2,"o","end"]\n')
    for form in ("text", "pty"):
        status, shown, said = play(newcomer, path, f"--format={form}")
        assert (status, said) == (0, "")
        assert [int(line[:6]) for line in shown.split("\r\n")[:8000]] == list(range(8000))
        assert shown.endswith("y" * 700_000 + "end")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("what is this", "line 3: no JSON"),
        ('["soon","o","x"]', "line 3: no event"),
        ('[-1,"o","x"]', "line 3: no event"),
        ('[1,"o"', "line 3: no JSON"),
        ("[" * 100_000, "line 3: no JSON"),
    ],
)
@pytest.mark.parametrize("form", ["pty", "text"])
def test_a_broken_cast_plays_up_to_there(newcomer: TshProgram, tmp_path: Path, line: str, said: str, form: str) -> None:
    path = written(tmp_path, f'{HEADER}[0.1,"o","good"]\n{line}\n[3,"o","never"]\n')
    assert play(newcomer, path, f"--format={form}") == (1, "good", f"ERROR: the recording is broken at {said}\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is no recording"),
        ("hello", "it is no recording"),
        ("SKERRYR9", "it is no recording"),
        ('{"version": 3, "term": {}}\n', "asciicast of version 3, and only version 2"),
        ('{"version": 1, "stdout": []}\n', "asciicast of version 1, and only version 2"),
        ('{"width": 80}\n', "broken at line 1: no asciicast header"),
        ("{nothing}\n", "broken at line 1: no JSON"),
        ("SKERRYR1", "broken at record 0: cut off"),
        ("SKERRYR1" + "x" * 100, "broken at record 0: of the unknown kind 120"),
    ],
)
def test_what_is_no_recording_is_one_line(newcomer: TshProgram, tmp_path: Path, content: str, said: str) -> None:
    status, shown, error = play(newcomer, written(tmp_path, content))
    assert (status, shown) == (1, "")
    assert said in error
    assert error.count("\n") == 1


def test_a_file_cut_anywhere_plays_what_is_whole(newcomer: TshProgram, tmp_path: Path) -> None:
    tape = short_tape()
    path = written(tmp_path, b"".join(tape.records[:4]) + tape.records[4][:9])
    status, shown, said = play(newcomer, path)
    assert (status, shown) == (1, "$ echo grüß\r\n")
    assert said == f"{OWN_WORD}ERROR: the recording is broken at record 4: cut off after 9 bytes of it (F12)\n"


# --- encrypted files --------------------------------------------------------------------------------------------------


def encrypted() -> Tape:
    return short_tape(recipient=("0d9f0c9e-6f6c-4a53-8f0e-0a3d5c1f2b11", cipher.generate()[1]))


def test_the_cluster_gives_the_key_of_an_encrypted_file(
    proxy: SimulatedProxy, alice: TshProgram, tmp_path: Path
) -> None:
    tape = encrypted()
    proxy.recordings.show(tape)
    assert play(alice, written(tmp_path, tape.content)) == (0, SHOWN, "")
    assert proxy.recordings.asked == []


def test_an_encrypted_file_says_where_its_key_is(newcomer: TshProgram, tmp_path: Path) -> None:
    path = written(tmp_path, encrypted().content)
    said = (
        f"ERROR: cannot play {path}: it is encrypted, and the cluster harbour has its key. "
        "Not logged in; log in with: tsh login --proxy=HOST --user=USER\n"
    )
    assert play(newcomer, path) == (1, "", said)


def test_an_encrypted_file_of_a_session_one_may_not_see_stays_closed(
    proxy: SimulatedProxy, alice: TshProgram, tmp_path: Path
) -> None:
    assert proxy.recordings.shown == {}
    status, shown, said = play(alice, written(tmp_path, encrypted().content))
    assert (status, shown) == (1, "")
    assert "the cluster that you are signed in to does not give you its key" in said


# --- around it --------------------------------------------------------------------------------------------------------


def test_what_is_neither_a_file_nor_an_id_says_what_to_do(newcomer: TshProgram, tmp_path: Path) -> None:
    status, _, said = play(newcomer, "no-such")
    assert status == 1
    assert said.startswith("ERROR: cannot play 'no-such': there is no such file")
    assert "tsh recordings ls" in said
    assert "it is no file" in play(newcomer, str(tmp_path))[2]


def test_a_file_that_may_not_be_read_is_one_line(newcomer: TshProgram, tmp_path: Path) -> None:
    path = Path(written(tmp_path, short_tape().content))
    path.chmod(0)
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *newcomer.command, "play", str(path)]
        done = subprocess.run(command, env=newcomer.environment, capture_output=True, timeout=TIMEOUT, check=False)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"Permission denied" in done.stderr
    else:
        assert "Permission denied" in play(newcomer, str(path))[2]


@pytest.mark.parametrize("content", [HEADER + '[0,"o","x"]\n', short_tape().content])
def test_playing_loads_no_ssh_library(newcomer: TshProgram, tmp_path: Path, content: str | bytes) -> None:
    path = written(tmp_path, content)
    command = [sys.executable, "-X", "importtime", "-m", "tsh", "play", "--format=text", path]
    done = subprocess.run(command, env=newcomer.environment, capture_output=True, timeout=TIMEOUT, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.decode().splitlines()}
    assert {"asyncssh", "asyncio"} & loaded == set()
    assert "click" in loaded
