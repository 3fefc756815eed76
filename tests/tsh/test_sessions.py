"""`tsh sessions ls`."""

from __future__ import annotations

import json
import re

import pytest

from protocol.instants import format_instant, from_milliseconds
from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.tsh_program import TshProgram
from tests.tsh.going_on import OTHER, SESSION, session_on

LISTING = f"""\
ID                                   Kind Created       Hostname Login Command Participants
------------------------------------ ---- ------------- -------- ----- ------- -----------------------------
{SESSION} ssh  5 minutes ago web1     pi    -       bob (peer), guest0 (observer)
{OTHER} ssh  2 hours ago   web2     root  top     bob (peer)
"""


def show_two(proxy: SimulatedProxy) -> None:
    node, other = proxy.nodes[:2]
    proxy.sessions += [session_on(node, "pi", parties=2), session_on(other, "root", OTHER, command="top", minutes=120)]


def test_sessions_are_listed_and_how_to_join_one(proxy: SimulatedProxy, alice: TshProgram) -> None:
    show_two(proxy)
    done = alice.run("sessions", "ls")
    assert (done.returncode, done.stdout.decode()) == (0, LISTING)
    assert done.stderr.decode() == f"Join one by its ID, to watch or to type: tsh join [--mode peer] {SESSION}\n"


def test_sessions_as_json_tell_all_that_is_known(proxy: SimulatedProxy, alice: TshProgram) -> None:
    show_two(proxy)
    done = alice.run("sessions", "ls", "--format=json")
    listed = json.loads(done.stdout)
    assert [session["session"] for session in listed] == [SESSION, OTHER]
    started = proxy.sessions[0].live.started
    assert listed[0] | {"started": started, "parties": []} == proxy.sessions[0].to_dict() | {"parties": []}
    assert listed[0]["started"] == listed[0]["parties"][0]["since"] == format_instant(from_milliseconds(started))
    assert [party["mode"] for party in listed[0]["parties"]] == ["peer", "observer"]
    assert done.stderr == b""


def test_an_empty_list_says_how_to_begin_a_session(proxy: SimulatedProxy, alice: TshProgram) -> None:
    assert proxy.sessions == []
    done = alice.run("sessions", "ls")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert done.stderr.endswith(b"begin a session with: tsh ssh LOGIN@NODE\n")
    assert alice.run("sessions", "ls", "--format=json").stdout == b"[]\n"


def test_sessions_that_nobody_may_join_come_without_that_hint(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.sessions.append(session_on(proxy.nodes[0], "pi", size=None, may_join=False))
    done = alice.run("sessions", "ls")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_hostile_command_is_shown_harmless_and_whole_where_nobody_looks(
    proxy: SimulatedProxy, alice: TshProgram, form: str
) -> None:
    proxy.sessions.append(session_on(proxy.nodes[0], "pi", command="\x1b[2J\u202e<script>" + "x" * 900))
    printed = alice.run("sessions", "ls", f"--format={form}").stdout.decode()
    assert all(character.isprintable() or character == "\n" for character in printed)
    if form == "text":
        assert re.search(r"\\x1b\[2J\\u202e<script>x{100,900} +bob", printed)


def test_who_is_not_signed_in_is_told_how(newcomer: TshProgram) -> None:
    done = newcomer.run("sessions", "ls")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"log in with: tsh login " in done.stderr


def test_an_ended_sign_in_is_told_of(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.signed_out = True
    done = alice.run("sessions", "ls")
    assert done.returncode == 1
    assert b"has ended; log in: tsh login --proxy=127.0.0.1:" in done.stderr
