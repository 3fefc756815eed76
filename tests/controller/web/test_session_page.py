from __future__ import annotations

import json
from datetime import timedelta

import pytest
from werkzeug.test import TestResponse

from protocol import events, limits
from protocol.events import Json
from protocol.instants import format_instant
from protocol.names import SessionId
from protocol.recording.cast import Event
from tests.controller.web.lab import Lab
from tests.controller.web.page_client import text_of
from tests.controller.web.screening import LIVE, Screening
from tests.harness.tape import Tape

SESSION = "44444444-4444-4444-8444-444444444444"
NOWHERE = "33333333-3333-4333-8333-333333333333"


@pytest.fixture
def show(lab: Lab) -> Screening:
    return Screening(lab)


def see(show: Screening, who: str, session: str, more: str = "") -> TestResponse:
    return show.browser(who).get(f"/web/sessions/{session}{more}")


def told(show: Screening) -> Tape:
    tape = show.keep(show.short(user="alice"))
    show.tell_session(tape)
    return tape


def test_the_page_says_who_from_where_by_what_right_and_what_happened(show: Screening) -> None:
    tape = told(show)
    page = see(show, "alice", tape.session)
    text = text_of(page)
    for said in (
        "alice on gw-1",
        "recording complete",
        "Signed in from 192.0.2.7:4711",
        "Authorised by access as login pi",
        "80 x 24",
        "alice began a session on gw-1 as pi from 192.0.2.7:4711",
        "The recording begins, encrypted with the cluster",
        "alice's session on gw-1 as pi ended with status 0",
        "The recording of alice's session on gw-1 arrived: complete",
        "The recording goes to the session's end and is sealed",
    ):
        assert said in text.replace("&#39;", "'"), said
    assert f"/web/sessions/{tape.session}/cast" in page.text
    assert '<a href="/web/recordings" aria-current="page"' in page.text


def test_a_page_that_shows_a_player_may_run_its_terminal_and_other_pages_may_not(show: Screening) -> None:
    tape = told(show)
    assert "'wasm-unsafe-eval'" in see(show, "alice", tape.session).headers["Content-Security-Policy"]
    for path in ("/web/sessions", "/web/recordings", f"/web/sessions/{tape.session}/summary"):
        policy = show.browser("alice").get(path).headers["Content-Security-Policy"]
        assert "wasm" not in policy
        assert "unsafe" not in policy


def test_a_session_of_others_is_answered_as_if_it_were_not_there_and_the_attempt_is_told(show: Screening) -> None:
    tape = told(show)
    refused, nothing = see(show, "bob", tape.session), see(show, "bob", NOWHERE)
    assert refused.status_code == nothing.status_code == 404
    assert refused.data == nothing.data
    assert see(show, "bob", tape.session, "/summary").status_code == 404
    (attempt,) = [event for event in show.events("session.recording.access") if event["code"] == "SK036W"]
    assert (attempt["user"], attempt["sid"]) == ("bob", tape.session)


@pytest.mark.parametrize("name", ["x", "..", "00000000", "%00", "é" * 200])
def test_what_is_no_session_s_id_is_not_found(show: Screening, name: str) -> None:
    assert see(show, "alice", name).status_code == 404


def test_who_looked_at_the_recording_is_shown_to_auditors_alone(show: Screening) -> None:
    tape = told(show)
    see(show, "ada", tape.session, "/index")
    said = "The recording was seen once, by ada in the browser"
    assert said in text_of(see(show, "ada", tape.session))
    assert said not in text_of(see(show, "alice", tape.session))


def test_a_live_session_s_page_shows_who_is_here_and_how_to_join(show: Screening) -> None:
    show.go_live(("alice", "peer"), ("bob", "observer"))
    page = see(show, "carol", LIVE)
    assert page.status_code == 404
    shown = see(show, "bob", LIVE)
    assert '<a href="/web/sessions" aria-current="page"' in shown.text
    text = text_of(shown)
    for said in ("live", "Here now", "bob observer", "from 192.0.2.7:4711", f"tsh join --mode=peer {LIVE}"):
        assert said in text, said


def test_a_live_session_is_shown_without_a_recording_that_is_not_the_person_s(show: Screening) -> None:
    tape = show.tape(user="alice").head().output(500, "secret")
    show.keep(tape)
    show.go_live(("alice", "peer"), session=SessionId(tape.session))
    page = see(show, "bob", tape.session)
    assert page.status_code == 200
    assert "Replay" not in page.text
    assert see(show, "bob", tape.session, "/segment").status_code == 404
    assert "Replay" in see(show, "alice", tape.session).text


def test_who_took_part_finds_the_session_before_its_recording_has_come(show: Screening) -> None:
    tape = show.short(user="alice")
    show.tell_session(tape)
    text = text_of(see(show, "alice", tape.session))
    assert "No recording of it is here" in text
    assert "alice began a session" in text
    assert see(show, "bob", tape.session).status_code == 404
    assert see(show, "ada", tape.session).status_code == 200


def test_a_session_from_before_a_person_s_time_is_not_theirs(show: Screening) -> None:
    tape = show.short(user="alice")
    show.start -= int(timedelta(days=30).total_seconds() * 1000)
    show.tell_session(tape)
    assert see(show, "alice", tape.session).status_code == 404


def test_another_node_lets_nobody_into_a_session_and_tells_nothing_of_it(show: Screening) -> None:
    tape = told(show)
    forged: dict[str, Json] = {
        "user": "bob",
        "login": "pi",
        "sid": tape.session,
        "server_id": "99999999-9999-4999-8999-999999999999",
        "server_hostname": "stolen",
        "addr.remote": "192.0.2.7:4711",
    }
    joined: dict[str, Json] = {"mode": "observer", "participants": ["alice", "bob"]}
    show.lab.audit.write(events.SESSION_JOIN, forged | joined)
    show.lab.audit.write(events.SESSION_START, forged | {"size": "80:24", "interactive": True})
    assert see(show, "bob", tape.session).status_code == 404
    page = text_of(see(show, "alice", tape.session))
    assert "alice began a session" in page
    assert "bob" not in page
    assert "stolen" not in page
    own = forged | joined | {"server_id": show.node.node_id, "server_hostname": show.node.name}
    show.lab.audit.write(events.SESSION_JOIN, own)
    assert see(show, "bob", tape.session).status_code == 200


def bury(show: Screening, lines: int = limits.AUDIT_EXAMINED_MAX + 10) -> None:
    """Write more events of another session than one question looks at, past the writer."""
    event = '{"event":"user.logout","code":"SK002I","time":"%s","user":"alice","sid":"' + SESSION + '"}\n'
    begin = show.lab.clock() + timedelta(hours=2)
    with show.lab.audit.files()[-1].open("a") as file:
        for number in range(lines):
            file.write(event % format_instant(begin + number * timedelta(hours=20) / lines))


def test_an_older_session_s_timeline_is_found_below_whatever_came_after_it(show: Screening) -> None:
    tape = told(show)
    bury(show)
    page = see(show, "alice", tape.session)
    assert "Authorised by access as login pi" in text_of(page)
    assert "alice&#39;s session on gw-1 as pi ended" in page.text
    assert "nothing about it yet" not in page.text
    assert "too long to look at" not in page.text


def test_who_took_part_in_a_session_without_a_recording_finds_it_below_whatever_came_after_it(
    show: Screening,
) -> None:
    tape = show.short(user="alice")
    show.tell_session(tape)
    bury(show)
    assert see(show, "alice", tape.session).status_code == 200
    assert see(show, "bob", tape.session).status_code == 404


def test_a_timeline_that_is_cut_says_so(show: Screening) -> None:
    tape = show.keep(show.short(user="alice"))
    with show.lab.audit.files()[-1].open("a") as file:
        event = {"event": "exec", "code": "x", "time": format_instant(show.lab.clock()), "sid": tape.session}
        file.write((json.dumps(event, separators=(",", ":")) + "\n") * 400)
    page = see(show, "ada", tape.session)
    assert "too long to look at all of it here: it may tell of more" in text_of(page)
    assert f'href="/web/audit?session={tape.session}" data-key="audit further"' in page.text


def test_what_was_typed_and_printed_is_shown_as_text(show: Screening) -> None:
    tape = show.tape(user="alice", command="<script>alert(1)</script>\x1b]0;x\x07\u202e").head()
    show.keep(tape.events(Event(5, "o", "x")).seal("final", 10))
    page = see(show, "alice", tape.session).text
    assert "<script>alert" not in page
    assert r"\x1b]0;x\x07\u202e" in page


def test_without_scripts_the_page_checks_the_recording_when_it_is_asked_to(show: Screening) -> None:
    tape = told(show)
    page = see(show, "alice", tape.session).text
    assert f'href="/web/sessions/{tape.session}?check=1#verification"' in page
    assert "Intact" not in page
    assert "Intact" in see(show, "alice", tape.session, "?check=1").text


def test_a_recording_that_was_refused_or_cut_says_so_in_its_timeline(show: Screening) -> None:
    cut = show.keep(show.short("interrupted", user="alice"))
    text = text_of(see(show, "alice", cut.session))
    assert "recording interrupted" in text
    assert "The recording ends here: the agent was cut off" in text
