from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.accounts import Origin
from controller.enrolment.nodes import TlsSerial
from controller.fleet import Fleet
from controller.web.app import create_app
from controller.web.portrait import paint
from protocol import events
from protocol.names import NodeId
from tests.controller.web.crew import enter
from tests.controller.web.fleet_at_sea import SESSION, put_to_sea, standing
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import BASE, SAME_ORIGIN, Browser, text_of
from tests.controller.web.test_nodes_page import pend
from tests.controller.web.told import BROKER_UP

BUOY = "/web/nodes/00000000-0000-4000-8000-000000000001"


@pytest.fixture
def ada(lab: Lab) -> Browser:
    put_to_sea(lab)
    return enter(lab, lab.app(), "ada")


@pytest.fixture
def paul(lab: Lab, ada: Browser) -> Browser:
    return enter(lab, ada.app, "paul")


def test_the_page_tells_both_facts_apart_and_what_they_make_together(paul: Browser) -> None:
    text = text_of(paul.get(BUOY))
    assert "online 3 h It is heard over MQTT and holds its tunnel" in text
    assert "Presence online since 2026-11-22 09:00 UTC" in text
    assert "Tunnel up since 2026-11-22 09:00 UTC" in text
    assert "Last heard of 9 s ago" in text


def test_the_page_tells_of_link_backlog_clock_device_and_certificate(paul: Browser) -> None:
    text = text_of(paul.get(BUOY))
    for said in (
        "Went offline 3 times in the last day",
        "Round trip 38.5 ms",
        "Link made anew 2 times since the agent was started",
        "Recordings waiting none",
        "Clock as the controller&#39;s",
        "Load 0.42",
        "Memory 512 MiB free of 948 MiB",
        "Temperature 48.5 °C",
        "Generation 1",
        "Host key SHA256:",
        "00000000-0000-4000-8000-000000000001",
        "tsh ssh pi@buoy-north",
    ):
        assert said in text, said
    assert "Recordings waiting 3 (4.3 MiB)" in text_of(paul.get(BUOY.replace("0001", "0002")))


def test_the_last_day_is_words_a_table_and_numbers(paul: Browser) -> None:
    text = text_of(paul.get(BUOY))
    assert "Load 0.20 at the least, 0.76 on average, 1.30 at the most; 1.30 now." in text
    assert "Memory available" in text
    assert "Temperature" not in text.split("The last day")[1]  # it has no sensor
    day = json.loads(paul.get(f"{BUOY}/history").text)
    assert [series["name"] for series in day["series"]] == ["load", "memory", "round_trip"]
    assert all(len(series["values"]) == 144 for series in day["series"])
    assert day["series"][0]["values"][60:66] == [None] * 6
    assert json.loads(paul.get(f"{BUOY}/history".replace("0001", "0002")).text)["series"] == []


def test_who_is_on_it_now_leads_to_the_session_and_into_it(paul: Browser) -> None:
    page = paul.get(BUOY).text
    assert f'href="/web/sessions/{SESSION}"' in page
    assert f"?login=pi&amp;session={SESSION}&amp;mode=peer" in page
    assert "Nobody is on it." in paul.get(BUOY.replace("0001", "0002")).text


def test_its_events_are_for_those_who_may_read_the_audit_log(lab: Lab, ada: Browser, paul: Browser) -> None:
    ids = put_to_sea_again(lab)
    lab.audit.write(events.NODE_OFFLINE, {"server_id": ids, "server_hostname": "buoy-north", "reason": "lost"})
    assert "buoy-north went offline: lost" in text_of(ada.get(BUOY))
    assert "What happened" not in text_of(paul.get(BUOY))


def put_to_sea_again(lab: Lab) -> str:
    return next(node.node_id for node in lab.enrolment.nodes.list() if node.name == "buoy-north")


@pytest.mark.parametrize("part", ["", "/facts", "/past", "/history"])
def test_a_node_that_one_may_not_open_is_as_if_it_were_not_there(lab: Lab, paul: Browser, part: str) -> None:
    nowhere, hidden = "/web/nodes/00000000-0000-4000-8000-00000000dead", f"/web/nodes/{pend(lab)}"
    assert paul.get(BUOY + part).status_code == 200
    answers = [paul.get(hidden + part), paul.get(nowhere + part), paul.get(f"/web/nodes/x{part}")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert enter(lab, paul.app, "rita").get(hidden + part).status_code == 200


@pytest.mark.usefixtures("ada")
def test_the_last_day_is_asked_for_where_it_is_shown_and_nowhere_else(lab: Lab) -> None:
    asked: list[str] = []

    def history(node_id: NodeId) -> None:
        asked.append(node_id)

    services = replace(lab.services("skerry.example:3080", 100_000), history=history)
    browser = enter(lab, create_app(services), "ada")
    for path in ("", "/facts", "/history"):
        browser.get(BUOY + path)
    assert len(asked) == 3
    page = browser.get(BUOY)
    asked.clear()
    assert browser.get(f"{BUOY}/past").status_code == 200
    for deed in ("labels", "lock", "unlock", "remove"):
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert token is not None
        given = {"csrf": token[1], "lock": "".join(lock.lock_id for lock in lab.locks.list())}
        done = browser.client.post(f"{BUOY}/{deed}", base_url=BASE, data=given, headers=SAME_ORIGIN)
        assert done.status_code == 303, deed
    assert asked == []


@pytest.mark.parametrize("time", [None, "", "yesterday", 7])
def test_an_event_whose_time_is_damaged_is_shown_and_breaks_no_page(lab: Lab, ada: Browser, time: object) -> None:
    told = {"event": "lock.created", "code": "TLK00I", "user": "root", "target": "x", "server_id": BUOY[-36:]}
    with lab.audit.files()[-1].open("a") as file:
        file.write(json.dumps(told | ({} if time is None else {"time": time})) + "\n")
    for path in (BUOY, f"{BUOY}/past", "/web/home", "/web/home/figures", "/web/audit"):
        assert ada.get(path).status_code == 200, path
    assert "root locked x" in text_of(ada.get(BUOY))


def test_hostile_text_from_a_node_is_shown_as_text(lab: Lab, ada: Browser) -> None:
    nasty = "<img src=x onerror=alert(1)>\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}"
    node_id = lab.enrol(9, "nasty", None, site=nasty.replace("\x1b", ""))
    told = standing(lab, version=nasty[:60])
    lab.told.say({node_id: told})
    lab.audit.write(events.NODE_OFFLINE, {"server_id": node_id, "server_hostname": "nasty", "reason": nasty})
    page = ada.get(f"/web/nodes/{node_id}").text
    for raw in ("<img", "\x1b", "\N{RIGHT-TO-LEFT OVERRIDE}</"):
        assert raw not in page, raw
    assert "\\u202e" in page
    assert "\\x1b[2J" in page


# --- what an admin does about it ------------------------------------------------------------------------------


def test_an_admin_changes_labels_and_the_audit_log_knows_who_did(lab: Lab, ada: Browser) -> None:
    done = ada.submit(BUOY, {"labels": "env=staging, owner=ada"}, to=f"{BUOY}/labels")
    assert (done.status_code, done.headers["Location"]) == (303, f"{BUOY}?done=labels")
    page = ada.get(f"{BUOY}?done=labels")
    assert "The labels were changed." in text_of(page)
    assert lab.enrolment.nodes.list()[0].labels == {"env": "staging", "owner": "ada"}
    (told,) = lab.audit.entries(kinds=["node.label"])
    assert (told["user"], told["via"]) == ("ada", "web")


def test_labels_that_are_none_are_told_of_and_stay_in_the_form(lab: Lab, ada: Browser) -> None:
    refused = ada.submit(BUOY, {"labels": "<b>=1"}, to=f"{BUOY}/labels")
    assert refused.status_code == 422
    assert "The labels stay as they are" in refused.text
    assert 'value="&lt;b&gt;=1"' in refused.text
    assert not list(lab.audit.entries(kinds=["node.label"]))


def test_an_admin_locks_and_unlocks_it(lab: Lab, ada: Browser) -> None:
    assert ada.submit(BUOY, {"message": "salt water", "ttl": "1h"}, to=f"{BUOY}/lock").status_code == 303
    (lock,) = lab.locks.list()
    assert (lock.kind, lock.value, lock.message) == ("node", BUOY.rsplit("/", 1)[1], "salt water")
    page = ada.get(BUOY).text
    assert "salt water" in page
    assert f"tctl locks rm {lock.lock_id}" in re.sub(r"<[^>]+>", "", page)
    other = BUOY.replace("0001", "0002")
    assert ada.submit(BUOY, {"lock": lock.lock_id}, to=f"{other}/unlock").status_code == 404
    assert ada.submit(BUOY, {"lock": lock.lock_id}, to=f"{BUOY}/unlock").status_code == 303
    assert not lab.locks.list()


@pytest.mark.parametrize("fields", [{"ttl": "soon"}, {"message": "two\nlines"}, {"message": "x" * 5000}])
def test_a_lock_that_is_none_is_told_of(lab: Lab, ada: Browser, fields: dict[str, str]) -> None:
    assert ada.submit(BUOY, fields, to=f"{BUOY}/lock").status_code == 422
    assert not lab.locks.list()


def test_an_admin_approves_or_rejects_who_waits(lab: Lab, ada: Browser) -> None:
    waiting = f"/web/nodes/{pend(lab)}"
    assert "Let it in" in text_of(ada.get(waiting))
    assert ada.submit(waiting, {}, to=f"{waiting}/approve").status_code == 303
    assert "is offline" not in text_of(ada.get(waiting))
    assert ada.submit(waiting, {}, to=f"{waiting}/approve").status_code == 409
    assert ada.submit(waiting, {}, to=f"{waiting}/reject").status_code == 409
    assert [event["event"] for event in lab.audit.entries(kinds=["node.approve", "node.reject"])] == ["node.approve"]


def test_after_an_approval_one_is_led_back_to_the_page_that_waits_and_nowhere_else(lab: Lab, ada: Browser) -> None:
    waiting = f"/web/nodes/{pend(lab)}"
    back = "/web/devices/waiting/1234?since=1"
    assert ada.submit(waiting, {"back": back}, to=f"{waiting}/approve").headers["Location"] == back


def test_an_approval_leads_to_no_other_host(lab: Lab, ada: Browser) -> None:
    waiting = f"/web/nodes/{pend(lab)}"
    gone = ada.submit(waiting, {"back": "//evil.example/"}, to=f"{waiting}/approve")
    assert gone.headers["Location"] == f"{waiting}?done=approve"


def test_an_admin_removes_it(lab: Lab, ada: Browser) -> None:
    assert ada.submit(BUOY, {}, to=f"{BUOY}/remove").headers["Location"] == "/web/nodes?done=remove"
    assert ada.get(BUOY).status_code == 404
    assert "buoy-north" not in [node.name for node in lab.enrolment.nodes.list()]


@pytest.mark.parametrize("deed", ["labels", "lock", "unlock", "approve", "reject", "remove"])
def test_nobody_else_does_any_of_it(lab: Lab, paul: Browser, deed: str) -> None:
    form = paul.hidden(BUOY)
    refused = paul.client.post(f"{BUOY}/{deed}", base_url=BASE, data=form, headers=SAME_ORIGIN)
    assert refused.status_code == 403
    assert not lab.locks.list()
    assert [event["check"] for event in lab.audit.entries(kinds=["access.denied"])] == ["W5"]
    assert "Manage" not in text_of(paul.get(BUOY))


def test_every_deed_is_shown_as_a_command_too(ada: Browser) -> None:
    page = ada.get(BUOY).text
    for command in ("tctl nodes label buoy-north", "tctl lock --node=buoy-north", "tctl nodes rm buoy-north"):
        assert f'data-copy="{command}' in page


def test_a_locked_node_says_so(lab: Lab, ada: Browser) -> None:
    lab.locks.add("node", BUOY.rsplit("/", 1)[1], "", timedelta(hours=1), Origin(via="tctl"))
    assert "locked" in text_of(ada.get(f"{BUOY}/facts"))


@pytest.mark.parametrize(
    ("left", "tone", "text"),
    [
        (timedelta(days=7), "", "in 7d"),
        (timedelta(hours=3, minutes=5), "stale", "in 3h 5m"),
        (timedelta(seconds=-1), "danger", "it has expired"),
    ],
)
def test_a_certificate_that_ends_soon_stands_out(
    lab: Lab, ada: Browser, clock: HandClock, left: timedelta, tone: str, text: str
) -> None:
    record = lab.enrolment.nodes.list()[0]
    certified = replace(record, generation=4, tls_serials=(TlsSerial("ab", clock() + left),), renewed=clock())
    view = Fleet(lab.enrolment.nodes, lab.presence, lab.told).all()[0]
    facts = {fact.term: fact for fact in paint(view, certified, BROKER_UP, None, clock()).certificate}
    assert (facts["Expires"].text, facts["Expires"].tone) == (text, tone)
    assert facts["Generation"].text == "4"
    assert ada.get(BUOY).status_code == 200


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(
    ("newest", "tone", "text"),
    [
        ("", "", "0.1.0"),
        ("0.1.0", "", "0.1.0"),
        ("0.0.9", "", "0.1.0"),
        ("0.2.0", "stale", "0.1.0, 0.2.0 is there: edge-agent upgrade"),
    ],
)
def test_an_agent_that_is_behind_what_is_handed_out_says_so(
    lab: Lab, clock: HandClock, newest: str, tone: str, text: str
) -> None:
    record = lab.enrolment.nodes.list()[0]
    view = replace(Fleet(lab.enrolment.nodes, lab.presence, lab.told).all()[0], version="0.1.0")
    (agent,) = [fact for fact in paint(view, record, BROKER_UP, None, clock(), newest).device if fact.term == "Agent"]
    assert (agent.text, agent.tone) == (text, tone)
