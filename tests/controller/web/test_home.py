from __future__ import annotations

import re

import pytest

from controller.accounts import Origin
from controller.policy.liveness import BrokerHealth
from protocol import events, limits
from protocol.events import Json
from tests.controller.web.crew import enter
from tests.controller.web.fleet_at_sea import SESSION, put_to_sea, standing
from tests.controller.web.lab import Lab
from tests.controller.web.page_client import Browser, text_of
from tests.controller.web.test_nodes_page import pend


@pytest.fixture
def ada(lab: Lab) -> Browser:
    return enter(lab, lab.app(), "ada")


def cards(page: str) -> dict[str, tuple[str, str]]:
    found = re.findall(r'<a class="card[^"]*" href="([^"]+)"[^>]*><b>(\d+)</b><span>([^<]+)</span>', page)
    return {label: (number, link) for link, number, label in found}


@pytest.mark.parametrize("path", ["/", "/web"])
def test_the_door_leads_to_the_first_page_or_to_the_login_page(browser: Browser, ada: Browser, path: str) -> None:
    assert ada.get(path).headers["Location"] == "/web/home"
    assert browser.get(path).headers["Location"] == "/web/login"


def test_each_card_counts_and_leads_to_what_it_counts(lab: Lab, ada: Browser) -> None:
    put_to_sea(lab)
    found = cards(ada.get("/web/home").text)
    assert found["online"] == ("2", "/web/nodes?state=online")
    assert found["stale"] == ("1", "/web/nodes?state=stale")
    assert found["offline"] == ("1", "/web/nodes?state=offline")
    assert found["pending"] == ("1", "/web/nodes?state=pending")
    assert found["live sessions"] == ("1", "/web/sessions")
    assert found["to upload"] == ("3", "/web/nodes?sort=-backlog")
    assert found["alerts"] == ("0", "#alerts")
    for label in ("online", "stale", "offline", "pending"):
        number, link = found[label]
        listed = ada.get(link).text
        assert listed.count('<th scope="row">') == int(number), label


def test_alerts_say_what_to_do_and_lead_to_the_nodes(lab: Lab, ada: Browser) -> None:
    ids = put_to_sea(lab)
    pend(lab)
    lab.told.say({ids["buoy-north"]: standing(lab)}, BrokerHealth(is_up=False, reason="it is away"))
    text = text_of(ada.get("/web/home"))
    assert "it is away" in text
    assert "1 device waits for approval" in text
    assert "tctl nodes approve stranger" in text
    assert 'href="/web/nodes?q=stranger"' in ada.get("/web/home").text


def test_recent_sessions_begin_with_the_live_ones(lab: Lab, ada: Browser) -> None:
    put_to_sea(lab)
    page = ada.get("/web/home")
    assert f'href="/web/sessions/{SESSION}"' in page.text
    assert "ada on buoy-north live" in text_of(page)


def test_what_changed_in_the_last_day_is_for_those_who_may_read_the_audit_log(lab: Lab, ada: Browser) -> None:
    put_to_sea(lab)
    tell_of_a_join(lab, "buoy-north", "192.0.2.9:1")
    lab.locks.add("user", "paul", "", None, Origin(via="tctl", actor="root"))
    lab.locks.remove(lab.locks.list()[0].lock_id, Origin(via="tctl", actor="root"))
    text = text_of(ada.get("/web/home"))
    assert "1 node joined" in text
    assert "The device buoy-north joined from 192.0.2.9:1" in text
    assert "1 lock put on" in text
    paul = enter(lab, ada.app, "paul")
    assert "Changed in the last day" not in paul.get("/web/home").text


def test_an_empty_cluster_begins_with_a_list_that_ticks_itself(lab: Lab, ada: Browser) -> None:
    def step() -> str:
        found = re.search(r'<li class="next"[^>]*>\s*<b>([^<]+)</b>', ada.get("/web/home").text)
        return found[1] if found else ""

    assert step() == "Make a join token"
    assert "tctl tokens add --type=node" in ada.get("/web/home").text
    assert 'href="/web/devices/new"' in ada.get("/web/home").text
    lab.enrolment.tokens.add(ttl=limits.JOIN_TOKEN_TTL, uses=1, labels={}, claimable=None, origin=Origin(via="tctl"))
    assert step() == "Join the first device"
    ids = put_to_sea(lab)
    lab.told.say({ids["buoy-north"]: standing(lab)})
    assert step() == "Open the first session"
    assert "tsh ssh pi@buoy-north" in re.sub(r"<[^>]+>", "", ada.get("/web/home").text)
    put_to_sea_with_session(lab)
    assert step() == ""
    assert "Getting started" not in ada.get("/web/home").text


def tell_of_a_join(lab: Lab, name: str, address: str) -> None:
    fields: dict[str, Json] = {"role": "Node", "host_id": "x", "method": "token", "token": "****1234", "success": True}
    lab.audit.write(events.INSTANCE_JOIN, {**fields, "node_name": name, "addr.remote": address})


def put_to_sea_with_session(lab: Lab) -> None:
    fields: dict[str, Json] = {
        "user": "ada",
        "sid": SESSION,
        "server_id": "x",
        "server_hostname": "buoy-north",
        "login": "pi",
    }
    lab.audit.write(events.SESSION_START, fields | {"addr.remote": "192.0.2.7:1"})


def test_who_may_open_nothing_is_told_whom_to_ask(lab: Lab, ada: Browser) -> None:
    paul = enter(lab, ada.app, "paul")
    assert "Ask an admin" in text_of(paul.get("/web/home"))
    assert "Getting started" not in paul.get("/web/home").text
    assert "/web/devices/new" not in paul.get("/web/home").text


def test_a_plain_person_counts_only_what_they_may_open(lab: Lab, ada: Browser) -> None:
    put_to_sea(lab)
    pend(lab)
    paul = enter(lab, ada.app, "paul")
    assert cards(paul.get("/web/home").text)["pending"] == ("1", "/web/nodes?state=pending")
    assert cards(ada.get("/web/home").text)["pending"] == ("2", "/web/nodes?state=pending")
    assert "stranger" not in paul.get("/web/home").text


def test_hostile_text_in_the_log_is_shown_as_text(lab: Lab, ada: Browser) -> None:
    put_to_sea(lab)
    nasty = "<script>alert(1)</script>\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}"
    tell_of_a_join(lab, nasty, nasty)
    page = ada.get("/web/home").text
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\\u202e" in page
