"""Parts of pages that are fetched anew, in a real browser whose requests the test answers when and as it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from controller.accounts import Origin
from tests.controller.web.lab import Lab
from tests.controller.web.screening import Screening
from tests.controller.web.test_browser import CHROMIUM, FLAGS, Walk
from tests.harness.running_door import RunningDoor

OpenAs = Callable[[str], Walk]
# A part of a page like any other, with what somebody may be at work in.
PART = """() => {
  const element = document.createElement("section");
  element.id = "part";
  element.dataset.source = "/web/part";
  element.innerHTML = "<p id=text>as it was</p><details class=confirm><summary>End</summary>Really?</details>";
  document.getElementById("main").append(element);
  window.part = skerry.refreshable(element);
  window.answers = [];
  window.ask = (given) => { part.refresh(given).then((answer) => answers.push(answer)); };
}"""
SECOND = "() => answers.length === 2"


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


class Part:
    """A part on a page that follows nothing else, and the questions it has asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[Route] = []
        page.route("**/web/part*", self.hold)
        page.goto("/web/settings")
        page.evaluate(PART)

    def hold(self, route: Route) -> None:
        self.asked.append(route)

    def ask(self, given: str = "{}") -> None:
        self.page.evaluate(f"() => ask({given})")

    def wait_for(self, count: int) -> None:
        """Wait until so many questions have come."""
        deadline = monotonic() + 60
        while len(self.asked) < count and monotonic() < deadline:
            self.page.evaluate("new Promise((done) => requestAnimationFrame(done))")
        assert len(self.asked) == count

    def answers(self) -> object:
        return self.page.evaluate("answers")

    def text(self) -> str:
        return self.page.locator("#text").inner_text()


@pytest.fixture
def part(open_as: OpenAs) -> Part:
    return Part(open_as("alice").page)


def put(route: Route, text: str) -> None:
    body = f"<p id=text>{text}</p><details class=confirm><summary>End</summary>Really?</details>"
    route.fulfill(content_type="text/html", body=body)


def test_one_question_is_on_its_way_at_a_time_and_one_more_after_it(part: Part) -> None:
    for _ in range(5):
        part.ask()
    part.wait_for(1)
    put(part.asked[0], "first")
    part.wait_for(2)
    assert part.text() == "first"
    put(part.asked[1], "second")
    part.page.wait_for_function("() => answers.length === 5")
    assert (part.text(), len(part.asked)) == ("second", 2)


def test_typing_overtakes_what_was_asked_before_it(part: Part) -> None:
    part.ask()
    part.wait_for(1)
    part.ask("{overtake: true}")
    part.wait_for(2)
    part.page.wait_for_function("() => answers.length === 1")
    put(part.asked[1], "what was typed")
    part.page.wait_for_function(SECOND)
    assert part.answers() == [False, True]
    assert part.text() == "what was typed"


def test_what_comes_while_somebody_is_asked_something_is_shown_when_they_are_done(part: Part) -> None:
    part.page.locator("#part summary").click()
    part.ask()
    part.wait_for(1)
    put(part.asked[0], "as it is")
    part.page.wait_for_function("() => answers.length === 1")
    assert part.text() == "as it was"
    part.page.keyboard.press("Escape")
    expect(part.page.locator("#text")).to_have_text("as it is")


def test_what_comes_while_somebody_copies_is_shown_when_they_are_done(part: Part) -> None:
    part.page.evaluate("getSelection().selectAllChildren(document.getElementById('text'))")
    part.ask()
    part.wait_for(1)
    put(part.asked[0], "as it is")
    part.page.wait_for_function("() => answers.length === 1")
    assert part.text() == "as it was"
    part.page.evaluate("getSelection().removeAllRanges()")
    expect(part.page.locator("#text")).to_have_text("as it is")


def test_a_click_that_has_begun_ends_where_it_began(part: Part) -> None:
    box = part.page.locator("#part summary").bounding_box()
    assert box is not None
    part.page.mouse.move(box["x"] + 5, box["y"] + 5)
    part.page.mouse.down()
    part.ask()
    part.wait_for(1)
    put(part.asked[0], "as it is")
    part.page.wait_for_function("() => answers.length === 1")
    part.page.mouse.up()
    expect(part.page.get_by_text("Really?")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "said"), [(404, "This is not there any more."), (403, "You may not see this any more.")]
)
def test_what_is_gone_is_said_to_be_and_not_asked_for_again(part: Part, status: int, said: str) -> None:
    part.ask()
    part.wait_for(1)
    part.asked[0].fulfill(status=status)
    expect(part.page.locator("#stale")).to_have_text(said)
    part.ask()
    part.page.wait_for_function(SECOND)
    assert part.answers() == [None, None]
    assert len(part.asked) == 1


def test_records_that_cannot_be_reached_are_not_a_controller_that_does_not_answer(part: Part) -> None:
    for count in (1, 2):
        part.ask()
        part.wait_for(count)
        part.asked[-1].fulfill(status=503)
        part.page.wait_for_function(f"() => answers.length === {count}")
    expect(part.page.locator("#stale")).to_contain_text("cannot reach its records")
    part.ask()
    part.wait_for(3)
    put(part.asked[-1], "as it is")
    expect(part.page.locator("#stale")).to_be_hidden()


def test_a_check_that_is_refused_is_given_up_after_a_few_more_questions(open_as: OpenAs) -> None:
    page = open_as("ada").page
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503)

    page.route("**/web/audit/chain*", refuse)
    page.goto("/web/audit")
    expect(page.locator("#stale")).to_contain_text("is not asked any more")
    assert len(asked) == 6


def test_what_changes_before_the_news_begin_is_shown_all_the_same(show: Screening, open_as: OpenAs) -> None:
    show.go_live(("alice", "peer"))
    page = open_as("alice").page

    def end_first(route: Route) -> None:
        show.lab.told.say({})
        route.continue_()

    page.route("**/web/events", end_first)
    page.goto("/web/sessions")
    expect(page.get_by_role("heading", name="Nobody is on a node right now")).to_be_visible()


def test_a_page_that_follows_nothing_says_that_the_sign_in_has_ended(show: Screening, open_as: OpenAs) -> None:
    page = open_as("alice").page
    page.goto("/web/settings")
    show.lab.accounts.close_session(show.tokens["alice"], Origin(via="web"))
    expect(page.locator("#stale")).to_have_text("Your sign-in has ended. Sign in again")


def test_single_keys_can_be_switched_off_and_stay_so(open_as: OpenAs) -> None:
    page = open_as("alice").page
    page.goto("/web/nodes")
    page.keyboard.press("?")
    page.get_by_label("Single keys").uncheck()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    for key in ("/", "?"):
        page.keyboard.press(key)
    assert page.locator("#q:focus, #keys[open]").count() == 0
    page.reload()
    page.get_by_role("button", name="Keyboard").click()
    expect(page.get_by_label("Single keys")).not_to_be_checked()
    page.get_by_label("Single keys").check()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()


def test_who_searches_is_told_what_was_found(show: Screening, open_as: OpenAs) -> None:
    page = open_as("alice").page
    page.goto("/web/nodes")
    page.locator("#q").fill(show.node.name)
    expect(page.locator("#said")).to_have_text("Nodes that match: 1 of 1")
    page.locator("#q").fill("nowhere")
    expect(page.locator("#said")).to_have_text("No node matches “nowhere”")
