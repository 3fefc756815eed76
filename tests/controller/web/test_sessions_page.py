from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from controller.accounts import Origin, UserRecord
from controller.web.app import create_app
from controller.web.archive import PAGE_SIZE
from protocol.decision import Granted, Refused
from protocol.fleet_sessions import SessionEntry
from protocol.names import SessionId
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import text_of
from tests.controller.web.screening import LIVE, Screening

DAY = 86_400_000
NOWHERE = SessionId("22222222-2222-4222-8222-222222222222")


@pytest.fixture
def show(lab: Lab) -> Screening:
    return Screening(lab)


def test_without_sessions_the_page_says_how_to_begin_one(show: Screening) -> None:
    text = text_of(show.browser("alice").get("/web/sessions"))
    assert "Nobody is on a node right now" in text
    assert "tsh ssh" in text


def test_a_live_session_is_shown_with_who_where_since_when_from_where_and_what(show: Screening) -> None:
    show.go_live(("alice", "peer"), ("bob", "observer"), command="top -d 1")
    page = show.browser("alice").get("/web/sessions")
    text = text_of(page)
    for said in (
        "alice",
        "bob observer",
        "pi on gw-1",
        "from 192.0.2.7:4711",
        "7 min",
        "top -d 1",
        "· recorded",
    ):
        assert said in text, said
    assert f"tsh join --mode=peer {LIVE}" in text
    link = f"/web/terminal/{show.node.node_id}?login=pi&amp;session={LIVE}&amp;mode="
    assert f'href="{link}observer"' in page.text
    assert f'href="{link}peer"' in page.text


def test_whose_logins_do_not_open_a_session_sees_nothing_of_it_and_cannot_end_it(show: Screening) -> None:
    show.go_live(("alice", "peer"))
    browser = show.browser("carol")
    assert "Nobody is on a node" in text_of(browser.get("/web/sessions"))
    assert browser.get(f"/web/sessions/{LIVE}").status_code == 404
    assert browser.submit("/web/sessions", {}, to=f"/web/sessions/{LIVE}/end").status_code == 404


def test_an_auditor_sees_a_session_and_has_nothing_to_join_it_with(show: Screening) -> None:
    show.go_live(("alice", "peer"), login="gast")
    page = show.browser("ada").get("/web/sessions")
    assert "Your logins do not open it" in text_of(page)
    assert "/web/terminal/" not in page.text


def test_a_session_without_a_terminal_cannot_be_joined(show: Screening) -> None:
    show.go_live(("alice", "peer"), size=None, command="make")
    text = text_of(show.browser("alice").get("/web/sessions"))
    assert "It has no terminal to join" in text
    assert "tsh join" not in text


def test_what_a_session_says_of_itself_is_shown_as_text(show: Screening) -> None:
    show.go_live(("alice", "peer"), command="<script>alert(1)</script>\x1b[2J\u202e")
    page = show.browser("alice").get("/web/sessions/table").text
    assert "<script>alert" not in page
    assert "\\x1b[2J\\u202e" in page


@dataclass
class RecordingHall:
    """Stands where the hall stands: it says what the node would have said, and keeps what it was asked."""

    answer: Granted[None] | Refused
    asked: list[tuple[SessionEntry, UserRecord, Origin]]

    def end_session(self, entry: SessionEntry, person: UserRecord, origin: Origin) -> Granted[None] | Refused:
        self.asked.append((entry, person, origin))
        return self.answer


def with_hall(show: Screening, hall: RecordingHall) -> None:
    services = show.lab.services("skerry.example:3080", 100_000)
    show.app = create_app(replace(services, hall=hall))  # type: ignore[arg-type]  # it has the one method that is asked


def test_who_may_join_may_end_a_session_and_is_led_to_its_page(show: Screening) -> None:
    hall = RecordingHall(Granted(None), [])
    with_hall(show, hall)
    show.go_live(("alice", "peer"))
    response = show.browser("bob").submit("/web/sessions", {}, to=f"/web/sessions/{LIVE}/end")
    assert (response.status_code, response.headers["Location"]) == (303, f"/web/sessions/{LIVE}?ended=1")
    ((entry, person, origin),) = hall.asked
    assert (entry.live.session, person.user, origin.via) == (LIVE, "bob", "web")
    (told,) = show.lab.audit.entries(kinds=["session.end_ordered"])
    assert (told["user"], told["sid"], told["login"], told["participants"]) == (
        "bob",
        LIVE,
        entry.live.login,
        ["alice"],
    )


def test_a_session_that_could_not_be_ended_says_why(show: Screening) -> None:
    with_hall(show, RecordingHall(Refused("the node does not answer", "Z9"), []))
    show.go_live(("alice", "peer"))
    response = show.browser("bob").submit("/web/sessions", {}, to=f"/web/sessions/{LIVE}/end")
    assert response.status_code == 409
    assert "could not be ended: the node does not answer" in text_of(response)


def test_ending_takes_a_form_of_our_own_page(show: Screening) -> None:
    show.go_live(("alice", "peer"))
    browser = show.browser("bob")
    response = browser.submit("/web/sessions", {"csrf": "forged"}, to=f"/web/sessions/{LIVE}/end")
    assert response.status_code == 403


def test_a_session_that_is_over_cannot_be_ended(show: Screening) -> None:
    assert show.browser("bob").submit("/web/sessions", {}, to=f"/web/sessions/{NOWHERE}/end").status_code == 404


# --- recordings ------------------------------------------------------------------------------------------------------


def listed(show: Screening, who: str, query: str = "") -> list[str]:
    page = show.browser(who).get(f"/web/recordings{query}")
    assert page.status_code == 200, page.text
    return [part.split('"')[0] for part in page.text.split('<th scope="row"><a href="/web/sessions/')[1:]]


def test_without_recordings_the_page_says_where_they_come_from(show: Screening) -> None:
    assert "Nothing is on record yet" in text_of(show.browser("alice").get("/web/recordings"))


def test_a_person_finds_the_sessions_they_took_part_in_and_an_auditor_all_the_newest_first(show: Screening) -> None:
    mine = show.keep(show.short(user="alice"))
    other = show.keep(show.short(user="bob", started=show.start + 1000))
    assert listed(show, "alice") == [mine.session]
    assert listed(show, "bob") == [other.session]
    assert listed(show, "ada") == [other.session, mine.session]


def test_recordings_are_found_by_node_user_and_state(show: Screening) -> None:
    whole = show.keep(show.short(user="alice"))
    cut = show.keep(show.short("interrupted", user="bob", started=show.start + 1000))
    assert listed(show, "ada", "?user=alice") == [whole.session]
    assert listed(show, "ada", "?state=interrupted") == [cut.session]
    assert listed(show, "ada", "?node=GW") == [cut.session, whole.session]
    assert listed(show, "ada", "?node=other") == []
    assert listed(show, "ada", "?state=nonsense&from=yesterday&last=ever&before=x") == [cut.session, whole.session]


def test_recordings_are_found_by_time(show: Screening, clock: HandClock) -> None:
    first = show.keep(show.short(user="alice"))
    clock.pass_(timedelta(days=3))
    show.tokens["alice"] = show.lab.session("alice", "web", clock() + timedelta(hours=1))
    second = show.keep(show.short(user="alice", started=show.start + 3 * DAY))
    assert listed(show, "alice") == [second.session, first.session]
    assert listed(show, "alice", "?last=1d") == [second.session]
    assert listed(show, "alice", "?last=7d") == [second.session, first.session]
    assert listed(show, "alice", "?from=2026-11-24") == [second.session]
    assert listed(show, "alice", "?to=2026-11-22") == [first.session]
    assert listed(show, "alice", "?from=2026-11-22&to=2026-11-25") == [second.session, first.session]


def test_pages_follow_one_another_without_gap_or_repetition(show: Screening) -> None:
    made = (show.short(user="alice", started=show.start + 100 * (number // 2)) for number in range(PAGE_SIZE + 5))
    tapes = [show.keep(tape).session for tape in made]
    query, seen = "", list[str]()
    while True:
        page = show.browser("alice").get(f"/web/recordings{query}").text
        seen += listed(show, "alice", query)
        if 'rel="next"' not in page:
            break
        query = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert len(seen) == len(tapes)
    assert set(seen) == set(tapes)
