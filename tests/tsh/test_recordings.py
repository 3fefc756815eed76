"""Listing recordings."""

from __future__ import annotations

import json
import re

import pytest

from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.tape import NOON, Tape
from tests.harness.tsh_program import TshProgram

FIRST, SECOND = "b0a04442-70dc-4be8-9308-7b7901d2d600", "1f0e4f5c-6f9c-4a54-9d0e-0a1b2c3d4e5f"
LISTING = f"""\
ID                                   Type Participants Hostname Timestamp
------------------------------------ ---- ------------ -------- ------------------------------
{SECOND} ssh  alice        gw-1     Nov 22 12:01:00 UTC (arriving)
{FIRST} ssh  alice        gw-1     Nov 22 12:00:00 UTC
"""


def show_two(proxy: SimulatedProxy) -> None:
    proxy.recordings.show(Tape(FIRST).head(), began=NOON)  # type: ignore[arg-type]  # is a session's id
    proxy.recordings.show(Tape(SECOND).head(), "arriving", began=NOON + 60_000)  # type: ignore[arg-type]  # the same


def test_recordings_are_listed_as_teleport_lists_them(proxy: SimulatedProxy, alice: TshProgram) -> None:
    show_two(proxy)
    done = alice.run("recordings", "ls")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, LISTING, b"")
    assert proxy.recordings.queries == [{"last": "86400", "limit": "50"}]


def test_recordings_as_json_tell_all_that_is_known(proxy: SimulatedProxy, alice: TshProgram) -> None:
    show_two(proxy)
    listed = json.loads(alice.run("recordings", "ls", "--format=json").stdout)
    assert listed == [proxy.recordings.shown[session].entry().to_dict() for session in (SECOND, FIRST)]


def test_recordings_as_json_hold_no_character_that_a_terminal_would_obey(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    command = "a\x1b[2J\x7f\x9b31m\u202egpj"
    proxy.recordings.show(Tape(FIRST, command=command).head(), began=NOON)  # type: ignore[arg-type]  # is a session's id
    printed = alice.run("recordings", "ls", "--format=json").stdout.decode()
    assert all(" " <= character <= "~" or character == "\n" for character in printed)
    assert json.loads(printed)[0]["command"] == command


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (["--last=5h30m"], {"last": "19800"}),
        (["--last=9999999d"], {"last": "1576800000"}),
        (["--from-utc=2026-11-22"], {"since": "1795305600000"}),
        (["--to-utc=2026-11-22", "--limit=3"], {"until": "1795392000000", "limit": "3"}),
        (["--from-utc=2026-11-22", "--to-utc=2026-11-22"], {"since": "1795305600000", "until": "1795392000000"}),
    ],
)
def test_the_period_is_asked_for(
    proxy: SimulatedProxy, alice: TshProgram, line: list[str], asked: dict[str, str]
) -> None:
    assert alice.run("recordings", "ls", *line).returncode == 0
    assert proxy.recordings.queries == [{"limit": "50"} | asked]


def test_an_empty_list_says_so_and_what_to_type_next(proxy: SimulatedProxy, alice: TshProgram) -> None:
    assert proxy.recordings.shown == {}
    done = alice.run("recordings", "ls")
    assert done.returncode == 0
    assert re.match(rb"ID +Type +Participants +Hostname +Timestamp\n", done.stdout)
    assert done.stderr == (
        b"There is no recording of the last 24h0m0s that you may play; look further back with --last=7d\n"
    )
    assert alice.run("recordings", "ls", "--format=json").stdout == b"[]\n"
    dated = alice.run("recordings", "ls", "--from-utc=2020-01-01")
    assert dated.stderr == b"There is no recording of that time that you may play.\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_list_that_is_cut_says_so_and_how_to_see_more(proxy: SimulatedProxy, alice: TshProgram, form: str) -> None:
    show_two(proxy)
    done = alice.run("recordings", "ls", "--limit=1", f"--format={form}")
    assert (FIRST in done.stdout.decode(), SECOND in done.stdout.decode()) == (False, True)
    assert done.stderr == b"There may be more than these 1: --limit=10 shows more\n"
    assert alice.run("recordings", "ls", "--limit=2", f"--format={form}").stderr == b""
    proxy.recordings.is_cut = True
    done = alice.run("recordings", "ls", f"--format={form}")
    assert done.stderr == b"There may be more than these: name fewer days with --from-utc and --to-utc\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--last=soon"], "not a span of time: 'soon'"),
        (["--from-utc=22.11.2026"], "not a date: '22.11.2026' (write 2006-01-02)"),
        (["--last=1h", "--to-utc=2026-11-22"], "--last goes with neither"),
        (["--from-utc=2026-11-22", "--to-utc=2026-11-21"], "names a day before"),
        (["--limit=0"], "limit"),
    ],
)
def test_a_period_that_is_none_is_refused(newcomer: TshProgram, line: list[str], said: str) -> None:
    done = newcomer.run("recordings", "ls", *line)
    assert done.returncode == 2
    assert said in done.stderr.decode()


def test_a_door_that_lists_something_else_is_told(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.recordings.show(Tape(FIRST).head(), began=-1)  # type: ignore[arg-type]  # is a session's id
    done = alice.run("recordings", "ls")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"for recordings: it sent something else (recordings: started: not a whole number" in done.stderr


def test_nobody_lists_without_a_sign_in(newcomer: TshProgram) -> None:
    assert newcomer.run("recordings", "ls").stderr.startswith(b"ERROR: Not logged in")
