"""Two people, two browsers, one session of a real device: joined, watched, ended, replayed, and cut by a lock."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.harness.real_cluster import Agent, Person
from tests.system.dashboard.quay import PATIENCE_MS, Desk, Quay

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
EVERYTHING = "access,admin,auditor"


@pytest.fixture(scope="module")
def buoy(whole_quay: Quay) -> Agent:
    return whole_quay.device("buoy-1", "env=staging")


@pytest.fixture(scope="module")
def ada(whole_quay: Quay) -> Person:
    return whole_quay.user("ada", EVERYTHING)


@pytest.fixture(scope="module")
def bob(whole_quay: Quay) -> Person:
    return whole_quay.user("bob")


def test_two_people_work_in_one_session_and_find_it_again(quay: Quay, buoy: Agent, ada: Person, bob: Person) -> None:
    first, second, third = quay.desk_of(ada), quay.desk_of(bob), quay.desk_of(ada)
    sessions = third.page
    sessions.goto("/web/sessions")
    expect(sessions.get_by_role("heading", name=re.compile("^Nobody is on a (node|device) right now"))).to_be_visible()
    first.open_terminal(buoy.node_id)
    # The list changes by itself.
    row = sessions.locator("table.live-sessions tbody tr")
    expect(row).to_contain_text("ada", timeout=PATIENCE_MS)
    session = quay.session_of("ada")
    second.page.goto("/web/sessions")
    second.page.get_by_role("link", name="Join the session of ada on buoy-1").click()
    second.await_terminal()
    expect(first.page.locator("#here")).to_have_text("Here: ada, bob", timeout=PATIENCE_MS)
    expect(second.page.locator("#here")).to_have_text("Here: ada, bob")
    expect(row).to_contain_text("bob", timeout=PATIENCE_MS)
    second.type("echo typed-by-$((40+2))\n")
    first.until("^typed-by-42")
    second.until("^typed-by-42")
    faults = second.look("system-joined") + third.look("system-sessions")
    a_phone_makes_all_small_and_is_named(first, second)
    faults += third_watches(third, first, session)
    moderate(third, buoy, session, first, second)
    faults += the_page_of_the_session(third, session)
    faults += the_audit_log_has_it(third, session)
    assert not faults, "\n".join(faults)
    for desk in quay.desks:
        desk.saw_nothing_odd()


def a_phone_makes_all_small_and_is_named(first: Desk, second: Desk) -> None:
    second.page.set_viewport_size({"width": 390, "height": 844})
    expect(first.page.locator("#fit")).to_have_text(
        re.compile(r"^\d\d.\d\d: as small as bob's screen$"), timeout=PATIENCE_MS
    )
    expect(second.page.locator("#fit")).to_have_text("")
    first.page.get_by_role("button", name="Leave").click()
    expect(first.page.locator("#ask-text")).to_have_text("Leave? The session goes on with bob.")
    first.look("system-leave-shared")
    first.page.get_by_role("button", name="Cancel").click()
    second.page.set_viewport_size({"width": 1280, "height": 800})
    expect(first.page.locator("#fit")).to_have_text("", timeout=PATIENCE_MS)


def third_watches(third: Desk, first: Desk, session: str) -> list[str]:
    """Watch the session: keys of an observer do nothing."""
    page = third.page
    page.get_by_role("link", name="Watch the session of ada on buoy-1").click()
    third.await_terminal()
    third.until("^typed-by-42")  # what was printed before is there
    expect(page.locator(".bar .badge")).to_have_text("observer")
    expect(first.page.locator("#here")).to_have_text("Here: ada, bob, ada (observer)")
    third.type("echo never-seen\n")
    first.page.locator(".xterm-helper-textarea").focus()
    first.type("echo seen-$((1+1))\n")
    third.until("^seen-2")
    assert "never" not in first.shown()
    # The smallest of those who type is what all have.
    assert page.evaluate("skerryTerminal.cols") == first.page.evaluate("skerryTerminal.cols")
    faults = third.look("system-watched")
    page.get_by_role("button", name="Leave").click()
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
    assert session in page.content()
    return faults


def moderate(third: Desk, buoy: Agent, session: str, first: Desk, second: Desk) -> None:
    """End the session for all of them, as its moderator."""
    third.open_terminal(buoy.node_id, f"&session={session}&mode=moderator")
    page = third.page
    page.get_by_role("button", name="End session").click()
    page.get_by_role("button", name="End it").click()
    for desk in (first, second):
        expect(desk.page.locator("#over-text")).to_contain_text("ended", timeout=PATIENCE_MS)
        expect(desk.page.get_by_role("link", name="the session's page")).to_be_visible()
    expect(page.locator("#over-text")).to_be_visible(timeout=PATIENCE_MS)


def the_page_of_the_session(third: Desk, session: str) -> list[str]:
    """Read the timeline and replay: by the keys, by a click, by a mark."""
    page = third.page
    page.goto(f"/web/sessions/{session}")
    timeline = page.locator("ol.timeline")
    expect(timeline).to_contain_text("bob joined", timeout=PATIENCE_MS)
    expect(page.locator(".page-head")).to_contain_text("recording complete", timeout=PATIENCE_MS)
    page.reload()
    screen, tools = page.locator(".ap-term-text"), page.get_by_role("group", name="Player")
    expect(tools).to_be_visible(timeout=PATIENCE_MS)
    page.locator("#position").focus()
    page.keyboard.press("End")
    expect(screen).to_contain_text("seen-2", timeout=PATIENCE_MS)
    page.keyboard.press("Home")
    expect(screen).not_to_contain_text("seen-2", timeout=PATIENCE_MS)
    bar = page.locator("#position").bounding_box()
    assert bar
    page.mouse.click(bar["x"] + bar["width"] * 0.98, bar["y"] + bar["height"] / 2)
    expect(screen).to_contain_text("seen-2", timeout=PATIENCE_MS)
    page.locator("#marks summary").click()
    page.get_by_role("button", name=re.compile("bob joined")).click()
    expect(screen).not_to_contain_text("seen-2", timeout=PATIENCE_MS)
    page.locator("#check-recording").click()
    expect(page.locator("#verification .verdict")).to_contain_text("Intact", timeout=PATIENCE_MS)
    return third.look("system-session-over", ready=lambda shown: expect(shown.locator(".ap-term")).to_be_visible())


def the_audit_log_has_it(third: Desk, session: str) -> list[str]:
    page = third.page
    page.goto("/web/audit")
    page.get_by_label("Kind").select_option("T2001I")
    page.get_by_label("User").fill("bob")
    page.get_by_role("button", name="Search").click()
    # He joined, and was there when the moderator and the observer did; the newest stands first.
    expect(page.locator(".events > li")).to_have_count(3)
    page.locator(".events summary").last.click()
    expect(page.locator(".events pre").last).to_contain_text(session)
    faults = third.look("system-audit")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as JSON lines").click()
    lines = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert sorted((line["user"], line["mode"]) for line in lines) == [
        ("ada", "moderator"),
        ("ada", "observer"),
        ("bob", "peer"),
    ]
    assert {line["sid"] for line in lines} == {session}
    return faults


def test_a_lock_put_on_in_one_browser_ends_the_terminal_in_another(quay: Quay, buoy: Agent, ada: Person) -> None:
    carol = quay.user("carol")
    hers, admins = quay.desk_of(carol), quay.desk_of(ada)
    hers.open_terminal(buoy.node_id)
    page = admins.page
    page.goto("/web/locks/new")
    page.get_by_role("radio", name="user a person").check()
    page.get_by_label("Name").fill("carol")
    page.get_by_label("Why").fill("please call the office")
    page.get_by_role("button", name="Lock", exact=True).click()
    expect(page.get_by_role("row", name="carol")).to_contain_text("please call the office")
    expect(hers.page.locator("#over-text")).to_contain_text("please call the office", timeout=PATIENCE_MS)
    expect(hers.page.get_by_role("button", name="Connect again")).to_have_count(0)
    expect(hers.page.get_by_role("button", name="Upload")).to_be_hidden()
    faults = hers.look("system-terminal-locked") + admins.look("system-locks")
    assert not faults, "\n".join(faults)
    admins.saw_nothing_odd()
    hers.saw_nothing_odd("401", "403")


def test_a_second_app_is_added_and_signing_out_ends_the_open_terminal(quay: Quay, buoy: Agent) -> None:
    dora = quay.user("dora")
    desk = quay.desk_of(dora)
    terminal = desk.context.new_page()
    desk.listen(terminal)
    page = desk.page
    page.goto("/web/settings")
    page.get_by_role("link", name="Add an authenticator app").click()
    tablet = quay.stranger("dora's tablet")
    tablet.secret = "".join(page.locator(".secret span").all_inner_texts())
    page.get_by_label("Name", exact=True).fill("tablet")
    page.get_by_label("Code of the new app").fill(tablet.next_code())
    page.get_by_label("Code of an app you have").fill(dora.next_code())
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text("The second factor is added")).to_be_visible(timeout=PATIENCE_MS)
    shown = Desk(desk.base, desk.context, terminal)
    shown.open_terminal(buoy.node_id)
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_text("You have signed out.")).to_be_visible()
    expect(terminal.locator("#over-text")).to_have_text("Your sign-in has ended.", timeout=PATIENCE_MS)
    expect(terminal.get_by_role("link", name="Sign in again")).to_be_visible()
    sign_in_with(page, dora, tablet)
    desk.saw_nothing_odd()


def sign_in_with(page: Page, person: Person, app: Person) -> None:
    page.get_by_label("Username").fill(person.name)
    page.locator("#password").fill(person.password)
    page.get_by_label("Six-digit code").fill(app.next_code())
    page.keyboard.press("Enter")
    page.wait_for_url("**/web/home")


def test_a_link_a_token_and_a_sign_in_that_are_no_more_say_so(quay: Quay, ada: Person) -> None:
    link = quay.cluster.invite("eve")
    desk = quay.desk_of(ada)
    page = desk.page
    page.goto("/web/devices/new")
    page.get_by_label("Name", exact=True).fill("never")
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_role("heading", name="Waiting for the device")).to_be_visible()
    admins = desk.context.new_page()
    desk.listen(admins)
    admins.goto("/web/tokens")
    admins.get_by_label(re.compile("^Revoke")).first.click()
    admins.get_by_role("button", name="Revoke").first.click()
    expect(page.locator(".arrival")).to_have_attribute("data-state", "over", timeout=PATIENCE_MS)
    faults = desk.look("system-device-revoked")
    quay.cluster.tctl("users", "rm", "eve")
    page.goto(link)
    expect(page.get_by_role("heading", name="This link is not valid")).to_be_visible()
    faults += desk.look("system-link-gone")
    page.goto("/web/nodes")
    assert desk.web
    desk.web.sign_out()
    expect(page.get_by_text("Your sign-in has ended.")).to_be_visible(timeout=PATIENCE_MS)
    faults += desk.look("system-sign-in-ended")
    assert not faults, "\n".join(faults)
    desk.saw_nothing_odd("404", "410", "401", "403")
