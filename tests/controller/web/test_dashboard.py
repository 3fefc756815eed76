"""The first page, the nodes and adding one, in a real browser: each look is kept, and no console complains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from controller.enrolment.nodes import NodeRecord
from controller.policy.liveness import BrokerHealth
from controller.presence import Tunnel
from protocol import events
from protocol.events import Json
from protocol.names import NodeId, parse_node_name
from tests.controller.web.crew import token_of
from tests.controller.web.fleet_at_sea import gave_up, history, put_to_sea, session_of, standing
from tests.controller.web.lab import Lab
from tests.controller.web.test_browser import CHROMIUM, FLAGS, Walk
from tests.controller.web.test_nodes_page import pend
from tests.harness.running_door import RunningDoor

BUOY = "/web/nodes/00000000-0000-4000-8000-000000000001"
Enter = Callable[..., Walk]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def shared(tmp_path: Path) -> Lab:
    return Lab.open(tmp_path)


@pytest.fixture
def door(start_door: Callable[..., RunningDoor], shared: Lab, tmp_path: Path) -> RunningDoor:
    assert isinstance(shared, Lab)  # opened first: it makes the keys
    return start_door("web", data_dir=str(tmp_path), public_address="skerry.example:3080")


@pytest.fixture
def enter(chromium: Browser, door: RunningDoor, shared: Lab) -> Enter:
    def entered(who: str, *logins: str, scripts: bool = True) -> Walk:
        walk = Walk(chromium, door, scripts=scripts)
        token = token_of(shared, who, *logins)
        cookie = {"name": "__Host-skerry", "value": token, "secure": True, "httpOnly": True, "path": "/"}
        walk.context.add_cookies([cookie | {"domain": "localhost"}])  # type: ignore[list-item]  # a cookie, as a table
        return walk

    return entered


def test_the_first_page_keeps_itself_up_to_date(enter: Enter, shared: Lab) -> None:
    walk = enter("ada")
    page = walk.page
    page.goto("/web/home")
    expect(page.get_by_role("heading", name="Getting started")).to_be_visible()
    walk.shoot("home-empty")
    ids = put_to_sea(shared)
    expect(page.get_by_role("link", name="2 online")).to_be_visible()
    pend(shared)
    join: dict[str, Json] = {"role": "Node", "host_id": "x", "method": "token", "token": "****1234", "success": True}
    shared.audit.write(events.INSTANCE_JOIN, {**join, "node_name": "buoy-north", "addr.remote": "192.0.2.9:1"})
    who: dict[str, Json] = {"user": "ada", "sid": "x", "server_id": "x", "server_hostname": "buoy-north", "login": "pi"}
    shared.audit.write(events.SESSION_START, {**who, "addr.remote": "192.0.2.7:1"})
    expect(page.get_by_text("1 device waits for approval")).to_be_visible()
    expect(page.get_by_role("heading", name="Getting started")).to_be_hidden()
    walk.shoot("home")
    down = BrokerHealth(is_up=False, since=shared.clock(), reason="the broker is away")
    shared.told.say({ids["buoy-north"]: standing(shared)}, down)
    expect(page.get_by_text("the broker is away").first).to_be_visible()
    walk.shoot("home-alerts")
    page.get_by_role("link", name="offline", exact=False).first.click()
    expect(page.get_by_role("heading", name="Nodes")).to_be_visible()
    assert walk.complaints == []


def test_nodes_are_narrowed_by_typing_by_a_click_on_a_label_and_by_the_keyboard(enter: Enter, shared: Lab) -> None:
    put_to_sea(shared)
    walk = enter("ada", "pi", "root")
    page = walk.page
    page.goto("/web/nodes")
    walk.shoot("nodes-fleet")
    page.keyboard.press("/")
    page.keyboard.type("kiosk")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert page.url.endswith("/web/nodes?q=kiosk")
    page.get_by_role("row", name="kiosk-2").get_by_role("link", name="model=rpi4").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert page.url.endswith("?q=kiosk&label=model%3Drpi4")
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="take this filter off").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.goto("/web/nodes?sort=-name")
    expect(page.locator("tbody tr").first).to_contain_text("new-one")
    page.get_by_label("Connect to buoy-north").click()
    expect(page.get_by_role("link", name="as root")).to_be_visible()
    walk.page.screenshot(path=Path("build/screenshots/nodes-chooser-light.png"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="as root")).to_be_hidden()
    assert walk.complaints == []


def test_hostile_names_and_labels_run_nothing_and_break_nothing(enter: Enter, shared: Lab) -> None:
    nasty = "<img src=x onerror=alert(1)>\N{RIGHT-TO-LEFT OVERRIDE}" + "long" * 30
    node_id = shared.enrol(1, "a" * 60, None, site=nasty, other="x")
    shared.enrol(2, "other")
    shared.told.say({node_id: standing(shared, version=nasty[:60], live=session_of(shared, command=nasty))})
    walk = enter("ada")
    dialogs: list[str] = []
    walk.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    for path in ("/web/nodes", BUOY, "/web/home", f"/web/nodes?q={nasty}", f"/web/nodes?label=site={nasty}"):
        walk.page.goto(path)
        walk.shoot("hostile")
    assert walk.page.evaluate("skerry.plain('\\u001b[2J\\u202e<b>' + 'x'.repeat(1e6))") == (
        "\\x1b[2J\\u202e<b>" + "x" * 291 + "…"
    )
    assert dialogs == []
    assert walk.complaints == []


def test_a_nodes_page_draws_its_day_and_follows_what_happens(enter: Enter, shared: Lab) -> None:
    ids = put_to_sea(shared)
    walk = enter("ada")
    page = walk.page
    page.goto(BUOY)
    expect(page.locator(".plot canvas")).to_have_count(3)
    expect(page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Load"))).to_contain_text(
        "0.20 at the least"
    )
    walk.shoot("node")
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("table", name="The last day by the hour")).to_be_visible()
    shared.told.say({ids["buoy-north"]: gave_up(shared)})
    shared.presence.write({ids["buoy-north"]: Tunnel("down", shared.clock())})
    expect(page.locator(".verdict")).to_contain_text("offline")
    assert walk.complaints == []


def test_a_node_is_locked_and_unlocked_and_removed_after_a_question(enter: Enter, shared: Lab) -> None:
    ids = put_to_sea(shared)
    walk = enter("ada")
    page = walk.page
    page.goto(BUOY)
    page.locator("summary", has_text="Lock").click()
    page.get_by_label("Why").fill("salt water")
    walk.shoot("node-lock")
    page.locator("form[action$='/lock'] button:not([type=button])").click()
    expect(page.get_by_text("The node is locked")).to_be_visible()
    (lock,) = shared.locks.list()
    assert (lock.value, lock.message) == (ids["buoy-north"], "salt water")
    page.locator("summary", has_text="Unlock").click()
    page.locator("form[action$='/unlock'] button:not([type=button])").click()
    expect(page.get_by_text("The lock was taken off")).to_be_visible()
    page.locator("summary", has_text="Remove").click()
    page.get_by_role("button", name="Cancel").click()
    assert len(shared.enrolment.nodes.list()) == 5
    page.locator("summary", has_text="Remove").click()
    page.locator("form[action$='/remove'] button:not([type=button])").click()
    expect(page.get_by_text("The node was removed")).to_be_visible()
    assert len(shared.enrolment.nodes.list()) == 4
    assert walk.complaints == []


def waited_for(page: Page) -> str:
    """Return the mark of the token that the page waits for."""
    source = page.locator("#arrivals").get_attribute("data-source") or ""
    return source.removeprefix("/web/devices/waiting/").partition("/")[0]


def test_a_device_is_added_and_the_page_turns_green_when_it_is_there(enter: Enter, shared: Lab) -> None:
    walk = enter("ada")
    page = walk.page
    page.goto("/web/home")
    page.get_by_role("link", name="Add a device").first.click()
    walk.shoot("device-new")
    page.get_by_label("Name").fill("two words")
    page.get_by_label("Labels").fill("no label")
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_role("alert")).to_have_count(2)
    expect(page.get_by_label("Name")).to_be_focused()
    walk.shoot("device-wrong")
    page.get_by_label("Name").fill("buoy-9")
    page.get_by_label("Labels").fill("env=production")
    page.get_by_label("Wait for an admin's approval").check()
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_role("heading", name="Waiting for the device")).to_be_visible()
    walk.shoot("device-waiting")
    (token,) = shared.enrolment.tokens.list()
    node_id = NodeId("00000000-0000-4000-8000-000000000009")
    now = shared.clock() + timedelta(milliseconds=5)
    name, mark = parse_node_name("buoy-9"), waited_for(page)
    shared.enrolment.nodes.add(
        NodeRecord(node_id, name, {}, "ssh-ed25519 AAAA", 0, now, token.suffix, "0.1.0", pending=True, token_mark=mark)
    )
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="Joined, and on its way")).to_be_visible()
    shared.presence.write({node_id: Tunnel("up", shared.clock())})
    shared.told.say({node_id: standing(shared)})
    expect(page.get_by_role("heading", name="buoy-9 is online")).to_be_visible()
    walk.shoot("device-online")
    expect(page.get_by_role("link", name="Connect to buoy-9 as pi")).to_be_visible()
    assert [each for each in walk.complaints if "status of 422" not in each] == []


def test_the_shell_is_used_by_the_keyboard_alone(enter: Enter, shared: Lab) -> None:
    put_to_sea(shared)
    walk = enter("ada")
    page = walk.page
    page.goto("/web/home")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    walk.page.screenshot(path=Path("build/screenshots/keys-light.png"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("n")
    page.wait_for_url("**/web/nodes")
    page.keyboard.press("/")
    expect(page.get_by_label("Search nodes")).to_be_focused()
    page.keyboard.type("g?n")  # what is typed into a field is no command
    expect(page.get_by_label("Search nodes")).to_have_value("g?n")
    assert walk.complaints == []


def test_on_a_phone_the_menu_opens_without_scripts_too(enter: Enter, shared: Lab) -> None:
    put_to_sea(shared)
    for scripts in (True, False):
        walk = enter("ada", scripts=scripts)
        page = walk.page
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto("/web/home")
        page.locator(".menu > summary").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        page.screenshot(path=Path(f"build/screenshots/menu-{'scripts' if scripts else 'plain'}-phone-light.png"))
        page.get_by_role("link", name="Nodes", exact=True).click()
        page.wait_for_url("**/web/nodes")  # with its style sheet: without one every button is small
        expect(page.get_by_role("heading", name="Nodes")).to_be_visible()
        assert small_targets(page) == []
        assert walk.complaints == []


def small_targets(page: Page) -> list[str]:
    """Buttons that a finger misses: lower than 44 pixels."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('button, .button, .chip')].filter(each => each.offsetParent"
        " && each.getBoundingClientRect().height < 43.5).map(each => each.outerHTML.slice(0, 120))"
    )
    return found


def test_without_scripts_a_node_is_found_looked_at_and_locked_and_a_device_added(enter: Enter, shared: Lab) -> None:
    put_to_sea(shared)
    shared.told.remember(NodeId("00000000-0000-4000-8000-000000000002"), history(shared))
    walk = enter("ada", scripts=False)
    page = walk.page
    page.goto("/web/nodes?label=env%3Dproduction")
    page.get_by_label("Search nodes").fill("south")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "label=env%3Dproduction" in page.url
    page.get_by_role("link", name="buoy-south", exact=True).click()
    expect(page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Load"))).to_contain_text(
        "0.20 at the least"
    )
    page.locator("summary", has_text="Lock").click()
    page.locator("form[action$='/lock'] button:not([type=button])").click()
    expect(page.get_by_text("The node is locked")).to_be_visible()
    page.goto("/web/devices/new")
    page.get_by_role("button", name="Make the token").click()
    page.get_by_role("link", name="Has it joined?").click()
    expect(page.get_by_role("heading", name="Waiting for the device")).to_be_visible()
