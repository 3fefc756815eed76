from __future__ import annotations

import re
from datetime import timedelta

import pytest

from controller.accounts import Origin
from controller.enrolment.nodes import NodeRecord
from controller.presence import Tunnel
from protocol.names import NodeId, parse_node_name
from tests.controller.web.crew import enter
from tests.controller.web.fleet_at_sea import put_to_sea
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import Browser, text_of

HOSTILE = "<script>alert(1)</script>\N{RIGHT-TO-LEFT OVERRIDE}"


@pytest.fixture
def ada(lab: Lab) -> Browser:
    return enter(lab, lab.app(), "ada", "pi", "root")


@pytest.fixture
def paul(lab: Lab, ada: Browser) -> Browser:
    return enter(lab, ada.app, "paul")


def pend(lab: Lab) -> NodeId:
    """A device that waits for approval."""
    node_id = NodeId("00000000-0000-4000-8000-0000000000ff")
    record = NodeRecord(
        node_id, parse_node_name("stranger"), {}, "ssh-ed25519 AAAA", 0, lab.clock(), "****1234", "0.1.0", pending=True
    )
    lab.enrolment.nodes.add(record)
    return node_id


def test_an_empty_cluster_says_what_to_do_next_to_who_can_do_it(ada: Browser, paul: Browser) -> None:
    assert "tctl tokens add --type=node" in ada.get("/web/nodes").text
    assert 'href="/web/devices/new"' in ada.get("/web/nodes").text
    assert "tctl tokens add" not in paul.get("/web/nodes").text
    assert "Ask an admin" in text_of(paul.get("/web/nodes"))


def test_a_row_says_state_since_when_labels_version_and_the_line_that_opens_it(
    lab: Lab, paul: Browser, clock: HandClock
) -> None:
    lab.enrol(1, "buoy-north", Tunnel("up", clock() - timedelta(hours=3)), env="production")
    lab.enrol(2, "kiosk-2", Tunnel("down", clock() - timedelta(days=2)))
    lab.enrol(3, "new-one")
    page = paul.get("/web/nodes")
    text = text_of(page)
    assert "3 all 1 online 1 pending 1 offline" in text
    assert "buoy-north online 3 h env= production 0.1.0 tsh ssh pi@buoy-north" in text.replace(" Copy", "")
    assert 'title="offline since 2026-11-20' in page.text
    assert 'data-copy="tsh ssh pi@kiosk-2"' in page.text
    assert 'href="/web/terminal/00000000-0000-4000-8000-000000000001?login=pi"' in page.text


def test_what_is_heard_over_mqtt_stands_in_the_rows(lab: Lab, paul: Browser) -> None:
    put_to_sea(lab)
    text = text_of(paul.get("/web/nodes"))
    assert "buoy-north 1 live online 3 h 9 s" in text
    assert "0.2.10" in text
    assert "kiosk-3 stale 2 d" in text


def test_several_logins_are_a_choice(lab: Lab, ada: Browser) -> None:
    put_to_sea(lab)
    page = ada.get("/web/nodes?q=buoy-north").text
    assert {"pi", "root"} == set(re.findall(r"/web/terminal/[0-9a-f-]+\?login=(\w+)", page))


def test_an_admin_without_access_sees_every_node_and_opens_none(lab: Lab, ada: Browser) -> None:
    put_to_sea(lab)
    pend(lab)
    olga = enter(lab, ada.app, "olga")
    page = olga.get("/web/nodes")
    assert "buoy-north" in page.text
    assert "stranger pending approval" in text_of(page)
    assert "/web/terminal/" not in page.text
    assert "tsh ssh" not in page.text


def test_others_do_not_see_who_waits_for_approval(lab: Lab, paul: Browser) -> None:
    put_to_sea(lab)
    pend(lab)
    assert "stranger" not in paul.get("/web/nodes").text


def test_an_auditor_sees_every_node_and_opens_none(lab: Lab, paul: Browser) -> None:
    rita = enter(lab, paul.app, "rita")
    assert "No node has joined yet" in rita.get("/web/nodes").text
    assert "No node that you may open has joined yet" in paul.get("/web/nodes").text
    put_to_sea(lab)
    pend(lab)
    page = rita.get("/web/nodes")
    assert "stranger pending approval" in text_of(page)
    assert "/web/terminal/" not in page.text
    alone = rita.get(f"/web/nodes/{lab.enrolment.nodes.list()[0].node_id}")
    assert alone.status_code == 200
    assert f'action="/web/nodes/{lab.enrolment.nodes.list()[0].node_id}' not in alone.text


def test_labels_state_and_order_are_kept_in_the_address(lab: Lab, paul: Browser) -> None:
    put_to_sea(lab)
    page = paul.get("/web/nodes?label=env=staging&state=offline&sort=-name").text
    assert "kiosk-2" in page
    assert "kiosk-3" not in page
    assert "buoy-north" not in page
    # A form that searches brings the rest along, and a label is taken off by clicking it again.
    assert '<input type="hidden" name="label" value="env=staging">' in page
    assert 'href="?state=offline&amp;sort=-name"' in page
    assert 'aria-sort="descending"' in page


def test_a_locked_node_says_so(lab: Lab, paul: Browser) -> None:
    ids = put_to_sea(lab)
    lab.locks.add("node", ids["buoy-south"], "salt water", None, Origin(via="tctl"))
    assert "buoy-south locked" in text_of(paul.get("/web/nodes"))


def test_pages_lead_to_each_other_with_all_that_was_asked(lab: Lab, paul: Browser) -> None:
    for number in range(1, 121):
        lab.enrol(number, f"n{number:03}", env="x" if number % 2 else "y")
    page = paul.get("/web/nodes?label=env=x&page=1").text
    assert "Page 1 of 2" in page
    assert 'rel="next" href="?label=env%3Dx&amp;page=2"' in page
    second = paul.get("/web/nodes?label=env=x&page=2").text
    assert "n119" in second
    assert 'rel="prev"' in second


def test_hostile_names_labels_and_questions_are_shown_as_text(lab: Lab, ada: Browser) -> None:
    lab.enrol(1, "buoy", site="</td>&\N{RIGHT-TO-LEFT OVERRIDE}x", plain="ok")
    lab.enrol(2, "kiosk", site="y")
    page = ada.get("/web/nodes").text
    assert "</td>&\N{RIGHT-TO-LEFT OVERRIDE}" not in page
    assert "&lt;/td&gt;&amp;\\u202e" in page
    for query in (f"?q={HOSTILE}", f"?label={HOSTILE}=x", f"?sort={HOSTILE}", f"?state={HOSTILE}"):
        shown = ada.get(f"/web/nodes{query}").text
        assert "<script>alert" not in shown
        assert "\N{RIGHT-TO-LEFT OVERRIDE}</h2>" not in shown
    assert "No node matches" in ada.get(f"/web/nodes?q={HOSTILE}").text


def test_the_fragment_is_the_table_alone(lab: Lab, paul: Browser) -> None:
    put_to_sea(lab)
    fragment = paul.get("/web/nodes/table?state=online").text
    assert "buoy-north" in fragment
    assert "<html" not in fragment
