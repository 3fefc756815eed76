"""The session and audit pages in a real browser: they keep themselves up to date, and nobody's console complains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from protocol import events
from protocol.events import Json
from tests.controller.web.lab import Lab
from tests.controller.web.screening import LIVE, Screening
from tests.controller.web.test_browser import CHROMIUM, FLAGS, Walk
from tests.harness.running_door import RunningDoor

OpenAs = Callable[[str], Walk]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def show(tmp_path: Path) -> Screening:
    return Screening(Lab.open(tmp_path))


@pytest.fixture
def open_as(chromium: Browser, start_door: Callable[..., RunningDoor], show: Screening, tmp_path: Path) -> OpenAs:
    door = start_door("web", data_dir=str(tmp_path), public_address="skerry.example:3080")

    def opened(who: str) -> Walk:
        walk = Walk(chromium, door)
        cookie = {"name": "__Host-skerry", "value": show.tokens[who], "secure": True, "httpOnly": True, "path": "/"}
        walk.context.add_cookies([cookie | {"domain": "localhost"}])  # type: ignore[list-item]  # a cookie, as a table
        return walk

    return opened


def test_sessions_come_and_go_on_the_page_by_themselves(show: Screening, open_as: OpenAs) -> None:
    walk = open_as("alice")
    page = walk.page
    page.goto("/web/sessions")
    expect(page.get_by_role("heading", name="Nobody is on a node right now")).to_be_visible()
    walk.shoot("sessions-empty")
    show.go_live(("bob", "peer"), ("alice", "observer"), command="tail -f /var/log/syslog")
    row = page.get_by_role("row", name="bob")
    expect(row).to_contain_text("tail -f")
    walk.shoot("sessions")
    row.get_by_text("End", exact=True).click()
    expect(row.get_by_text("This ends the session for all")).to_be_visible()
    page.keyboard.press("Escape")
    expect(row.get_by_text("This ends the session for all")).to_be_hidden()
    page.goto(f"/web/sessions/{LIVE}")
    expect(page.get_by_role("heading", name="Here now")).to_be_visible()
    walk.shoot("session-live")
    show.lab.told.say({})
    page.goto("/web/sessions")
    expect(page.get_by_role("heading", name="Nobody is on a node right now")).to_be_visible()
    assert walk.complaints == []


def test_recordings_are_found_by_what_is_filled_in(show: Screening, open_as: OpenAs) -> None:
    for number in range(6):
        reason, user = ("final", "alice") if number % 3 else ("interrupted", "bob")
        command = "" if number % 2 else "journalctl -u kiosk --since yesterday"
        show.keep(show.short(reason, user=user, started=show.start + number, command=command))
    walk = open_as("ada")
    page = walk.page
    page.goto("/web/recordings")
    expect(page.locator("tbody tr")).to_have_count(6)
    walk.shoot("recordings")
    page.get_by_label("State").select_option("interrupted")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    assert "state=interrupted" in page.url
    page.get_by_role("row", name="bob").first.get_by_role("link", name="bob").click()
    expect(page.get_by_role("heading", name="bob on gw-1")).to_be_visible()
    assert walk.complaints == []


def test_the_audit_log_is_filtered_opened_and_checked(show: Screening, open_as: OpenAs) -> None:
    tape = show.keep(show.short(user="alice"))
    show.tell_session(tape)
    hostile: dict[str, Json] = {
        "success": False,
        "error": "<img src=x onerror=alert(1)>\x1b[2J\u202e",
        "addr.remote": "192.0.2.1:1",
    }
    show.lab.audit.write(events.INSTANCE_JOIN_FAILED, hostile)
    walk = open_as("ada")
    page = walk.page
    page.goto("/web/audit")
    # The lab's log was not begun as a controller begins one, and the door says so.
    expect(page.locator("#chain [data-state]")).to_be_visible()
    walk.shoot("audit")
    page.get_by_label("Kind").select_option("T2000I")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".events > li")).to_have_count(1)
    assert "kind=T2000I" in page.url
    page.locator(".events summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".events pre")).to_contain_text('"code": "T2000I"')
    walk.shoot("audit-open")
    page.get_by_role("link", name="All events of the session").click()
    expect(page.locator(".events > li")).to_have_count(3)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    assert "T2004I" in Path(download.value.path()).read_text()
    assert walk.complaints == []
