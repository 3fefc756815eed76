"""Chromium walks the pages of people: settings with a second app, an invite that another browser opens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from controller.accounts import Origin, codes
from protocol import limits
from protocol.access import ACCESS, ADMIN
from protocol.secret import Secret
from tests.controller.web.lab import PASSWORD, Lab, utc_now
from tests.controller.web.test_browser import CHROMIUM, FLAGS, Walk
from tests.harness.running_door import RunningDoor

StartDoor = Callable[..., RunningDoor]
TCTL = Origin(via="tctl", actor="root@host")


@dataclass
class App:
    """An authenticator app whose person knows which of its codes are spent."""

    secret: Secret[str]
    used: set[str] = field(default_factory=set)

    def code(self) -> str:
        """Return the latest code that is good now and was not used: it is good for another half minute at least."""
        now = utc_now()
        ahead = (now + steps * limits.TOTP_PERIOD for steps in (1, 0))
        code = next(code for moment in ahead if (code := codes.code_at(self.secret, moment)) not in self.used)
        self.used.add(code)
        return code


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
def door(start_door: StartDoor, shared: Lab, tmp_path: Path) -> RunningDoor:
    assert isinstance(shared, Lab)  # opened first: it makes the keys
    return start_door("web", data_dir=str(tmp_path), public_address="skerry.example:3080")


def an_hour_ago() -> datetime:
    return utc_now() - timedelta(hours=1)


def enter(walk: Walk, shared: Lab, tmp_path: Path, name: str) -> App:
    """Make an admin who enrolled an hour ago, so that no code of now is spent, and sign the browser in."""
    person = Lab.open(tmp_path, an_hour_ago).person(name, "pi", "root")
    shared.accounts.users.update(name, roles=(ACCESS, ADMIN), origin=TCTL)
    token = shared.session(name, "web", shared.clock() + timedelta(hours=1))
    cookie = {"name": "__Host-skerry", "value": token, "secure": True, "httpOnly": True, "path": "/"}
    walk.context.add_cookies([cookie | {"domain": "localhost"}])  # type: ignore[list-item]  # a cookie, as a table
    return App(person.secret)


def test_a_second_app_is_added_the_first_removed_and_the_second_signs_in(
    chromium: Browser, door: RunningDoor, shared: Lab, tmp_path: Path
) -> None:
    walk = Walk(chromium, door)
    page, first = walk.page, enter(walk, shared, tmp_path, "ada")
    shared.session("ada", "tsh", shared.clock() + timedelta(hours=8))
    page.goto("/web/settings")
    expect(page.get_by_role("row", name="this one")).to_be_visible()
    page.get_by_role("link", name="Add an authenticator app").click()
    second = App(Secret("".join(page.locator(".secret span").all_inner_texts())))
    walk.shoot("settings-factor-new")
    page.get_by_label("Name", exact=True).fill("tablet")
    page.get_by_label("Code of the new app").fill("000000")
    page.get_by_label("Code of an app you have").fill(first.code())
    first.used.clear()  # a slip with the new app's code costs none
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text("The six digits are not right")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("tablet")
    page.get_by_label("Code of the new app").fill(second.code())
    page.get_by_label("Code of an app you have").fill(first.code())
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text("The second factor is added")).to_be_visible()
    walk.shoot("settings")
    page.get_by_role("link", name="Remove authenticator").click()
    walk.shoot("settings-factor-remove")
    page.get_by_label("Six-digit code").fill(first.code())
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("The second factor is removed")).to_be_visible()
    expect(page.get_by_text("the only one stays")).to_be_visible()
    page.goto("/web/settings/password")
    walk.shoot("settings-password")
    sign_in_again(page, second)
    # The browser itself notes the answer 422, to a form that was typed wrong; nothing else.
    assert [each for each in walk.complaints if "422" not in each] == []
    assert walk.hosts == {f"localhost:{door.port}"}


def sign_in_again(page: Page, app: App) -> None:
    page.get_by_role("button", name="Sign out").first.click()
    page.get_by_label("Username").fill("ada")
    page.locator("#password").fill(PASSWORD)
    page.get_by_label("Six-digit code").fill(app.code())
    page.keyboard.press("Enter")
    page.wait_for_url("**/web/home")


def test_all_other_sign_ins_are_ended_after_a_question(
    chromium: Browser, door: RunningDoor, shared: Lab, tmp_path: Path
) -> None:
    walk = Walk(chromium, door)
    enter(walk, shared, tmp_path, "ada")
    other = shared.session("ada", "tsh", shared.clock() + timedelta(hours=8))
    walk.page.goto("/web/settings")
    walk.page.get_by_text("End all others").first.click()
    assert shared.accounts.session(other) is not None  # it only asks
    walk.page.get_by_role("button", name="End all others").click()
    expect(walk.page.get_by_text("Every other sign-in has ended.")).to_be_visible()
    assert shared.accounts.session(other) is None
    assert walk.complaints == []


@pytest.mark.parametrize("scripts", [True, False])
def test_somebody_is_invited_and_sets_up_the_account_in_another_browser(
    chromium: Browser, door: RunningDoor, shared: Lab, tmp_path: Path, scripts: bool
) -> None:
    walk = Walk(chromium, door, scripts=scripts)
    page = walk.page
    enter(walk, shared, tmp_path, "ada")
    page.goto("/web/users")
    page.get_by_role("link", name="Invite a user").click()
    page.get_by_label("Name", exact=True).fill("joe")
    page.get_by_label("Logins on devices").fill("pi")
    if scripts:
        walk.shoot("user-new")
    page.get_by_role("button", name="Make the link").click()
    link = page.locator(".link-panel code").inner_text()
    found = re.fullmatch(r"https://skerry\.example:3080(/web/invite/[0-9a-f]{32})", link)
    assert found
    if scripts:
        walk.shoot("user-link")
    other = Walk(chromium, door, scripts=scripts)
    other.page.goto(found[1])
    app = App(Secret("".join(other.page.locator(".secret span").all_inner_texts())))
    other.page.get_by_label("New password").fill(PASSWORD)
    other.page.get_by_label("Six-digit code").fill(app.code())
    other.page.get_by_role("button", name="Create my account").click()
    other.page.get_by_role("link", name="Sign in here in the browser").click()
    other.page.locator("#password").fill(PASSWORD)
    other.page.get_by_label("Six-digit code").fill(app.code())
    other.page.get_by_role("button", name="Sign in").click()
    other.page.wait_for_url("**/web/home")
    page.goto("/web/users")
    expect(page.get_by_role("row", name="joe")).to_contain_text("active")
    assert walk.complaints + other.complaints == []


def test_somebody_is_locked_and_removed_after_questions_and_every_page_fits_a_phone(
    chromium: Browser, door: RunningDoor, shared: Lab, tmp_path: Path
) -> None:
    walk = Walk(chromium, door)
    page = walk.page
    enter(walk, shared, tmp_path, "ada")
    Lab.open(tmp_path, an_hour_ago).person("bob.with-a-rather-long-name@ships.example", "pi")
    shared.invite("carol")
    shared.enrolment.tokens.add(
        ttl=timedelta(hours=1), uses=3, labels={"env": "production"}, claimable=None, origin=TCTL, approve=True
    )
    page.goto("/web/tokens")
    walk.shoot("tokens")
    page.get_by_text("Revoke", exact=True).first.click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("good for no join any more")).to_be_visible()
    page.goto("/web/users")
    walk.shoot("users")
    page.get_by_role("link", name="bob").click()
    walk.shoot("user")
    page.locator("summary", has_text="Lock").click()
    page.get_by_label("Why (they read it)").fill("on leave until spring")
    page.get_by_role("button", name="Lock", exact=True).click()
    expect(page.get_by_text("The lock is in force.")).to_be_visible()
    walk.shoot("user-locked")
    page.goto("/web/locks")
    expect(page.get_by_role("row", name="bob")).to_contain_text("on leave until spring")
    walk.shoot("locks")
    page.goto("/web/locks/new")
    walk.shoot("lock-new")
    page.goto("/web/users/bob.with-a-rather-long-name@ships.example")
    page.locator("summary", has_text="Remove").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("The user is removed")).to_be_visible()
    expect(page.get_by_role("row", name="bob")).to_have_count(0)
    assert walk.complaints == []
