"""The player in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

from protocol.recording.cast import Event
from tests.controller.web.lab import Lab
from tests.controller.web.screening import Screening
from tests.controller.web.test_browser import CHROMIUM, FLAGS, Walk
from tests.harness.running_door import RunningDoor
from tests.harness.tape import Tape


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
def door(start_door: Callable[..., RunningDoor], show: Screening, tmp_path: Path) -> RunningDoor:
    assert isinstance(show, Screening)  # made first: it makes the keys
    return start_door("web", data_dir=str(tmp_path), public_address="skerry.example:3080")


@pytest.fixture
def open_as(chromium: Browser, door: RunningDoor, show: Screening) -> Callable[[str], Walk]:
    def opened(who: str) -> Walk:
        walk = Walk(chromium, door)
        cookie = {"name": "__Host-skerry", "value": show.tokens[who], "secure": True, "httpOnly": True, "path": "/"}
        walk.context.add_cookies([cookie | {"domain": "localhost"}])  # type: ignore[list-item]  # a cookie, as a table
        return walk

    return opened


def at(page: Page) -> float:
    return float(page.locator("#player").get_attribute("data-time") or 0)


def wait_until_at(page: Page, least: float, most: float) -> None:
    page.wait_for_function(
        "([least, most]) => { const at = Number(document.getElementById('player').dataset.time);"
        " return at >= least && at <= most; }",
        arg=[least, most],
    )


def a_minute(show: Screening) -> Tape:
    """A minute in which a line is printed each second, bob comes and goes, and the terminal changes its size."""
    tape = show.tape(user="alice").head(width=60, height=12)
    for second in range(1, 61):
        events = [Event(second * 1000, "o", f"second {second}\r\n")]
        if second == 20:
            events.append(Event(20_100, "j", "bob"))
        if second == 30:
            events.append(Event(30_100, "r", "50x10"))
        if second == 40:
            events.append(Event(40_100, "l", "bob"))
        tape.events(*events)
    return show.keep(tape.seal("final", 61_000))


def test_a_recording_is_played_and_gone_about_in_by_mouse_and_keys(
    show: Screening, open_as: Callable[[str], Walk]
) -> None:
    tape = a_minute(show)
    show.tell_session(tape)
    walk = open_as("alice")
    page = walk.page
    page.goto(f"/web/sessions/{tape.session}")
    expect(page.locator("#verification")).to_contain_text("Intact")
    expect(page.get_by_role("group", name="Player")).to_be_visible()
    play_and_pause(page)
    go_by_keys(page)
    go_by_marks(page)
    go_by_the_bar(page)
    walk.shoot("session-page")
    assert walk.complaints == []
    assert walk.hosts == {page.url.split("/")[2]}


def play_and_pause(page: Page) -> None:
    tools = page.get_by_role("group", name="Player")
    page.locator("#speed").select_option("8")
    tools.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator(".ap-term-text")).to_contain_text("second 3")
    tools.get_by_role("button", name="Pause").click()
    expect(tools.get_by_role("button", name="Play", exact=True)).to_be_visible()


def go_by_keys(page: Page) -> None:
    screen = page.locator(".ap-term-text")
    page.locator(".ap-wrapper").focus()
    page.keyboard.press("5")  # to the middle
    wait_until_at(page, 30, 31)
    expect(screen).to_contain_text("second 30")
    assert "second 31" not in screen.inner_text()
    page.keyboard.press("ArrowLeft")
    wait_until_at(page, 25, 26)
    expect(screen).not_to_contain_text("second 26")
    page.locator("#position").focus()
    page.keyboard.press("Home")
    wait_until_at(page, 0, 0.2)
    expect(screen).not_to_contain_text("second")


def go_by_marks(page: Page) -> None:
    tools = page.get_by_role("group", name="Player")
    tools.get_by_role("button", name="Next mark").click()
    wait_until_at(page, 20.05, 20.15)
    tools.get_by_role("button", name="Next mark").click()
    wait_until_at(page, 30.05, 30.15)
    tools.get_by_role("button", name="Previous mark").click()
    wait_until_at(page, 20.05, 20.15)
    page.locator("#marks summary").click()
    page.get_by_role("button", name="0:40 bob left").click()
    wait_until_at(page, 40.05, 40.15)
    expect(page.locator(".ap-term-text")).to_contain_text("second 40")


def go_by_the_bar(page: Page) -> None:
    tools = page.get_by_role("group", name="Player")
    bar = page.locator("#position").bounding_box()
    assert bar is not None
    page.mouse.click(bar["x"] + bar["width"] * 0.75, bar["y"] + bar["height"] / 2)
    wait_until_at(page, 43, 48)
    page.locator(".ap-wrapper").focus()
    page.keyboard.press(" ")
    expect(page.locator(".ap-term-text")).to_contain_text("second 60")
    expect(tools.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_idle_time_is_skipped_unless_one_wants_to_see_it(show: Screening, open_as: Callable[[str], Walk]) -> None:
    tape = show.tape(user="alice").head().output(1000, "before the pause\r\n")
    show.keep(tape.output(3_600_000, "an hour later\r\n").seal("final", 3_600_500))
    walk = open_as("alice")
    page = walk.page
    page.goto(f"/web/sessions/{tape.session}")
    page.locator("#speed").select_option("8")
    page.locator("#skip-idle").uncheck()
    page.get_by_role("button", name="Play", exact=True).first.click()
    wait_until_at(page, 2, 3500)  # at eight times the speed the text is minutes away
    expect(page.locator(".ap-term-text")).to_contain_text("before the pause")
    assert "an hour later" not in page.locator(".ap-term-text").inner_text()
    page.locator("#skip-idle").check()
    expect(page.locator(".ap-term-text")).to_contain_text("an hour later")
    assert walk.complaints == []


def test_a_recording_that_arrives_is_played_on_as_it_comes(show: Screening, open_as: Callable[[str], Walk]) -> None:
    tape = show.tape(user="alice").head().output(500, "what came first\r\n").seal("running", 600)
    show.keep(tape)
    walk = open_as("alice")
    page = walk.page
    page.goto(f"/web/sessions/{tape.session}")
    expect(page.locator("#player-status")).to_contain_text("still arriving")
    page.get_by_role("button", name="Play", exact=True).first.click()
    expect(page.locator(".ap-term-text")).to_contain_text("what came first")
    show.keep(tape.output(2000, "what came later\r\n").seal("final", 3000))
    expect(page.locator(".ap-term-text")).to_contain_text("what came later")
    expect(page.locator("#player-status")).not_to_contain_text("still arriving")
    assert walk.complaints == []


HOSTILE = (
    "\x1b]0;<script>document.title='taken'</script>\x07",
    "\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07",
    "\x1b]52;c;aGFja2Vk\x07",
    "<img src=x onerror=\"document.title='taken'\">",
    "\x1b[8;60000;60000t",
    "\x1b[999999999b" * 2000,
    "A\x1b[65535b" * 20_000,
    "\x1b[" + "1" * 100_000 + "m",
    "\x1bP" + "q" * 50_000 + "\x1b\\",
    "x" * 1_000_000,
    "\u202e reversed",
)


def test_whatever_a_recording_holds_the_page_stays_itself(show: Screening, open_as: Callable[[str], Walk]) -> None:
    tape = show.tape(user="alice", command="<b>bold</b>\x1b]0;x\x07\u202e").head(width=10_000, height=10_000)
    for second, text in enumerate(HOSTILE, 1):
        tape.events(Event(second * 1000, "o", text), Event(second * 1000 + 1, "m", text[:100]))
    tape.events(Event(15_000, "r", "65535x65535"))
    show.keep(tape.output(16_000, "\x1bcthe end is reached\r\n").seal("final", 17_000))
    walk = open_as("alice")
    page = walk.page
    page.goto(f"/web/sessions/{tape.session}")
    title = page.title()
    page.locator("#speed").select_option("8")
    page.get_by_role("button", name="Play", exact=True).first.click()
    expect(page.locator(".ap-term-text")).to_contain_text("the end is reached")
    page.locator("#position").focus()
    page.keyboard.press("Home")
    wait_until_at(page, 0, 0.2)
    page.keyboard.press("End")
    expect(page.locator(".ap-term-text")).to_contain_text("the end is reached")
    assert page.title() == title
    assert page.locator(".player a, .player img, .player script").count() == 0
    assert page.locator("main b", has_text="bold").count() == 0
    assert walk.complaints == []
    walk.shoot("session-hostile")


def test_going_to_the_end_of_a_long_recording_loads_neither_all_before_nor_after(
    show: Screening, open_as: Callable[[str], Walk]
) -> None:
    tape = show.tape(user="alice").head()
    for minute in range(1, 400):
        tape.output(minute * 60_000, f"{'z' * 9000} minute {minute}\r\n")
    show.keep(tape.seal("final", 400 * 60_000))
    walk = open_as("alice")
    page = walk.page
    asked: list[str] = []
    got: list[int] = []

    def count(reply: Response) -> None:
        what = reply.url.rsplit("/", 1)[1].split("?")[0]
        if what in {"segment", "screen"}:
            asked.append(what)
            got.append(int(reply.headers["content-length"]))

    page.on("response", count)
    page.goto(f"/web/sessions/{tape.session}")
    expect(page.get_by_role("group", name="Player")).to_be_visible()
    page.locator("#position").focus()
    page.keyboard.press("End")
    expect(page.locator(".ap-term-text")).to_contain_text("minute 399")
    assert asked[0] == "segment"
    assert "screen" in asked
    assert sum(got) < 2_000_000  # of 3.6 MB that were printed
    assert walk.complaints == []
