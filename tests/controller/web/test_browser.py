"""A real browser (Debian's chromium) walks the pages: nobody's console may hold a complaint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

from controller.accounts import Origin, codes
from controller.presence import Tunnel
from protocol import limits
from protocol.secret import Secret
from tests.controller.web.lab import PASSWORD, Lab
from tests.harness.running_door import RunningDoor

StartDoor = Callable[..., RunningDoor]
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
ORIGIN = Origin(via="web")
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Each size and each colour scheme once: a picture of a whole page takes a second and more, and there are many.
LOOKS: dict[str, tuple[Literal["light", "dark"], ViewportSize]] = {
    "light": ("light", {"width": 1280, "height": 800}),
    "phone-dark": ("dark", {"width": 390, "height": 844}),
}


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


class Walk:
    """One person's browser. Whatever its console or network complains of is kept."""

    def __init__(self, chromium: Browser, door: RunningDoor, *, scripts: bool = True) -> None:
        self.context: BrowserContext = chromium.new_context(
            base_url=f"https://localhost:{door.port}",
            ignore_https_errors=True,
            java_script_enabled=scripts,
            color_scheme="light",
            reduced_motion="reduce",
            viewport={"width": 1280, "height": 800},
        )
        self.context.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def shoot(self, name: str) -> None:
        """Keep a picture of the page in each look; whatever its size, nothing may stick out sideways."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for look, (scheme, size) in LOOKS.items():
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size(size)
            assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} too wide: {look}"
            self.page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png", full_page=True)
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": 1280, "height": 800})


def later_code(lab: Lab, secret: str) -> str:
    """The next half minute's code: this one is spent, and the clocks may differ by that much."""
    return codes.code_at(Secret(secret), lab.clock() + limits.TOTP_PERIOD)


def test_a_person_is_invited_signs_in_sees_a_device_arrive_and_signs_out(
    chromium: Browser, door: RunningDoor, shared: Lab
) -> None:
    walk = Walk(chromium, door)
    secret = accept_invite(walk, shared)
    sign_in(walk, shared, secret)
    watch_a_device_arrive(walk, shared)
    copy_and_search(walk.page)
    sign_out(walk)
    assert walk.complaints == []
    assert walk.hosts == {f"localhost:{door.port}"}


def accept_invite(walk: Walk, shared: Lab) -> str:
    """Set up an account; return the secret that the page showed."""
    page = walk.page
    page.goto(f"/web/invite/{shared.invite('ada.lovelace', 'pi', 'root').token.reveal()}")
    walk.shoot("invite")
    secret = "".join(page.locator(".secret span").all_inner_texts())
    page.get_by_label("New password").fill("too short")
    expect(page.locator(".count")).to_have_text(" 3 more to go.")
    page.get_by_label("New password").fill(PASSWORD)
    expect(page.locator(".count")).to_have_text(" Long enough.")
    page.get_by_role("button", name="Show").click()
    assert page.locator("#password").get_attribute("type") == "text"
    page.get_by_label("Six-digit code").fill(codes.code_at(Secret(secret), shared.clock()))
    page.get_by_role("button", name="Create my account").click()
    expect(page.get_by_role("heading", name="You are set up, ada.lovelace")).to_be_visible()
    expect(page.locator("code")).to_have_text("tsh login --proxy=skerry.example:3080 --user=ada.lovelace")
    walk.shoot("welcome")
    return secret


def sign_in(walk: Walk, shared: Lab, secret: str) -> None:
    page = walk.page
    page.get_by_role("link", name="Sign in here in the browser").click()
    expect(page.get_by_label("Username")).to_have_value("ada.lovelace")
    walk.shoot("login")
    page.locator("#password").fill(PASSWORD)
    page.get_by_label("Six-digit code").fill(later_code(shared, secret))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No node that you may open has joined yet")).to_be_visible()
    walk.shoot("home-empty-plain")
    page.get_by_role("link", name="Nodes", exact=True).click()
    expect(page.get_by_role("heading", name="No node that you may open has joined yet")).to_be_visible()
    walk.shoot("nodes-empty")


def watch_a_device_arrive(walk: Walk, shared: Lab) -> None:
    page, now = walk.page, shared.clock()
    shared.enrol(1, "buoy-north", Tunnel("up", now - timedelta(hours=3)), env="production", site="skagerrak")
    shared.enrol(2, "kiosk-hall-2", Tunnel("down", now - timedelta(days=2)), env="production", model="rpi4")
    shared.enrol(3, "new-device")
    # Nobody reloads the page.
    expect(page.get_by_role("row", name="buoy-north")).to_contain_text("online")
    expect(page.locator("#summary li")).to_have_text(["3 all", "1 online", "1 pending", "1 offline"])
    walk.shoot("nodes")


def copy_and_search(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy: the line that opens buoy-north").click()
    assert page.evaluate("navigator.clipboard.readText()") == "tsh ssh pi@buoy-north"
    page.keyboard.press("/")
    page.keyboard.type("env=production offline")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.wait_for_url("**/web/nodes?q=env%3Dproduction+offline")  # as the typing comes to rest
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)


def sign_out(walk: Walk) -> None:
    page = walk.page
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You have signed out.")).to_be_visible()


def test_an_open_page_says_so_when_the_sign_in_has_ended(chromium: Browser, door: RunningDoor, shared: Lab) -> None:
    walk = Walk(chromium, door)
    person = shared.person("ada")
    token = shared.session(person.name, "web", shared.clock() + timedelta(hours=1))
    cookie = {"name": "__Host-skerry", "value": token, "secure": True, "httpOnly": True, "path": "/"}
    walk.context.add_cookies([cookie | {"domain": "localhost"}])  # type: ignore[list-item]  # a cookie, as a table
    walk.page.goto("/web/nodes")
    expect(walk.page.get_by_role("heading", name="Nodes")).to_be_visible()
    shared.accounts.close_session(token, ORIGIN)
    expect(walk.page.get_by_text("Your sign-in has ended.")).to_be_visible()
    assert walk.page.get_by_role("link", name="Sign in again").get_attribute("href") == "/web/login?next=%2Fweb%2Fnodes"


def test_the_theme_that_was_chosen_is_kept(chromium: Browser, door: RunningDoor) -> None:
    walk = Walk(chromium, door)
    walk.page.goto("/web/login")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = walk.page.evaluate(ground)
    for _ in range(2):  # to light, then to dark
        walk.page.locator("[data-theme-switch]").click()
    dark = walk.page.evaluate(ground)
    assert dark != light
    walk.page.reload()
    assert walk.page.evaluate(ground) == dark
    assert walk.complaints == []


def test_without_scripts_the_pages_do_their_work(chromium: Browser, door: RunningDoor, shared: Lab) -> None:
    walk = Walk(chromium, door, scripts=False)
    page = walk.page
    page.goto("/web/invite/" + "A" * 32)
    expect(page.get_by_role("heading", name="This link is not valid")).to_be_visible()
    person = shared.person("ada")
    shared.enrol(1, "buoy-north", Tunnel("up", shared.clock()))
    page.goto("/web/login")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Six-digit code").fill(later_code(shared, person.secret.reveal()))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Nodes", exact=True).click()
    page.get_by_label("Search nodes").fill("north")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row", name="buoy-north")).to_be_visible()
    assert page.locator("button.copy:visible").count() == 0
