"""The terminal's page in Debian's chromium, on a real controller and a real agent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.harness.real_cluster import LOGIN
from tests.harness.web_terminal import SESSION_COOKIE, WebPerson
from tests.system.conftest import Harbour

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
pytestmark = pytest.mark.system
# What xterm shows, a line each.
SHOWN = (
    "() => { const b = skerryTerminal.buffer.active; "
    "return Array.from({length: b.length}, (_, i) => b.getLine(i).translateToString(true)).join('\\n') }"
)

# Nothing sticks out sideways, and the terminal fills the window, but for a scrollbar and part of a column.
SETTLED = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const size = () => `${innerWidth} ${skerryTerminal.cols} ${skerryTerminal.rows}`;
  const before = size();
  await frame();
  await frame();
  const spare = document.getElementById("stage").clientWidth - document.querySelector(".xterm-screen").offsetWidth;
  return size() === before && spare >= 0 && spare < 60 && document.documentElement.scrollWidth <= innerWidth;
}"""


# The stage is not scrolled, and what it has no row in is less than a row.
WHOLE = """() => {
  const stage = document.getElementById("stage");
  const rows = document.querySelector(".xterm-screen").getBoundingClientRect();
  const box = document.getElementById("terminal").getBoundingClientRect();
  return stage.scrollTop === 0 && rows.top >= stage.getBoundingClientRect().top && box.bottom - rows.bottom >= 0
    && box.bottom - rows.bottom < rows.height / skerryTerminal.rows;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


class Desk:
    """One person's browser, signed in; what its console complains of is kept."""

    def __init__(self, chromium: Browser, person: WebPerson) -> None:
        self.person = person
        self.context: BrowserContext = chromium.new_context(
            base_url=person.base,
            ignore_https_errors=True,
            reduced_motion="reduce",
            color_scheme="light",
            viewport={"width": 1280, "height": 800},
            permissions=["clipboard-read", "clipboard-write"],
            accept_downloads=True,
        )
        cookie = {"name": SESSION_COOKIE, "value": person.visitor.cookies[SESSION_COOKIE], "url": person.base}
        self.context.add_cookies([{**cookie, "secure": True, "httpOnly": True}])  # type: ignore[typeddict-item]  # a dict, not their class
        self.context.set_default_timeout(60_000)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, node: str, query: str = "") -> None:
        self.page.goto(f"/web/terminal/{node}?login={LOGIN}{query}")
        expect(self.page.locator("#state")).to_have_attribute("data-state", "open")

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def until(self, pattern: str) -> re.Match[str]:
        self.page.wait_for_function(f"([p]) => new RegExp(p).test(({SHOWN})())", arg=[pattern])
        found = re.search(pattern, self.shown())
        assert found
        return found

    def shown(self) -> str:
        return str(self.page.evaluate(SHOWN))

    def shoot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for look, scheme, width, height in (
            ("light", "light", 1280, 800),
            ("dark", "dark", 1280, 800),
            ("phone", "light", 390, 844),
        ):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the literals
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.wait_for_function(SETTLED)  # never, where something sticks out sideways
            self.page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png")
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": 1280, "height": 800})


@pytest.fixture
def desk(harbour: Harbour, chromium: Browser) -> Iterator[Desk]:
    person = harbour.cluster.add_user(f"erin-{uuid4().hex[:6]}")
    desk = Desk(chromium, WebPerson.sign_in(harbour.cluster, person))
    yield desk
    desk.context.close()


def test_a_person_types_resizes_searches_copies_and_pastes(harbour: Harbour, desk: Desk) -> None:
    page = desk.page
    desk.open(harbour.edge_1.node_id)
    expect(page).to_have_title(re.compile("^edge-1"))
    desk.type("printf 'size %s %s\\n' $(stty size); ls -la --color / | head -20\n")
    before = desk.until(r"size (\d+) (\d+)")
    desk.until("etc")
    desk.shoot("terminal")
    page.set_viewport_size({"width": 800, "height": 500})
    page.locator(".xterm-helper-textarea").focus()
    page.wait_for_function(f"skerryTerminal.cols < {before[2]}")
    desk.type("clear; printf 'now %s %s\\n' $(stty size)\n")
    after = desk.until(r"now (\d+) (\d+)")
    assert (int(after[1]) < int(before[1]), int(after[2]) < int(before[2])) == (True, True)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.keyboard.press("Control+Shift+F")
    page.get_by_label("Search in what was printed").fill("now")
    expect(page.locator("#found")).to_have_text(re.compile("of"))
    desk.shoot("terminal-search")
    page.keyboard.press("Control+Shift+C")
    assert page.evaluate("navigator.clipboard.readText()") == "now"
    page.keyboard.press("Escape")
    page.evaluate("navigator.clipboard.writeText('echo pasted-$((40+2))')")
    page.keyboard.press("Control+Shift+V")
    page.keyboard.press("Enter")
    desk.until("pasted-42")
    page.keyboard.press("Control+Equal")
    assert page.evaluate("skerryTerminal.options.fontSize") == 15
    page.keyboard.press("Control+F6")
    expect(page.get_by_role("button", name="Leave")).to_be_focused()
    page.locator(".xterm-helper-textarea").focus()
    desk.type("exit 3\n")
    expect(page.locator("#over-text")).to_have_text("The session has ended: exit status 3.")
    desk.shoot("terminal-ended")
    assert desk.complaints == []


def test_the_way_out_is_in_sight_on_a_phone(harbour: Harbour, desk: Desk) -> None:
    desk.page.set_viewport_size({"width": 390, "height": 844})
    desk.open(harbour.edge_1.node_id)
    expect(desk.page.get_by_role("button", name="Leave")).to_be_in_viewport(ratio=0.99)
    assert desk.complaints == []


def test_larger_text_leaves_the_keyboard_and_every_row_in_place(harbour: Harbour, desk: Desk) -> None:
    page = desk.page
    desk.open(harbour.edge_1.node_id)
    for _ in range(3):
        page.get_by_role("button", name="Larger text").click()
    expect(page.locator(".xterm-helper-textarea")).to_be_focused()
    desk.type("seq 100\n")
    desk.until("\\n100\\n")
    page.wait_for_function(WHOLE)  # no row is cut by the bar, and none would fit below
    desk.shoot("terminal-larger")
    page.get_by_role("button", name="Keys").click()
    desk.shoot("terminal-keys")
    page.keyboard.press("Escape")
    assert desk.complaints == []


def test_what_a_hostile_program_prints_does_nothing_but_print(harbour: Harbour, desk: Desk) -> None:
    page = desk.page
    desk.open(harbour.edge_1.node_id)
    page.evaluate("navigator.clipboard.writeText('untouched')")
    title = page.title()
    desk.type(
        "printf '\\033]2;<script>alert(1)</script>\\007\\033]52;c;aGFja2Vk\\007\\033[8;5;5t"
        "\\033]11;?\\007\\033[>q' ; echo after$((1+1))\n"
    )
    desk.until("after2")
    assert page.title() == title
    expect(page.locator("#program")).to_contain_text("<script>")
    assert page.evaluate("navigator.clipboard.readText()") == "untouched"
    assert page.evaluate("skerryTerminal.cols") > 20
    desk.type("head -c 1000000 /dev/zero | tr '\\0' z; echo; echo done$((3+4))\n")
    desk.until("done7")
    assert "rgb:" not in desk.shown()
    assert desk.complaints == []


def test_files_go_up_and_come_down(harbour: Harbour, desk: Desk, tmp_path: Path) -> None:
    page, mine, there = desk.page, tmp_path / "report.txt", tmp_path / "on the device.txt"
    mine.write_bytes(b"some lines\n" * 100_000)
    desk.open(harbour.edge_1.node_id)
    page.get_by_role("button", name="Upload").click()
    page.locator("#upload-file").set_input_files(mine)
    page.get_by_label("Path on the device").first.fill(str(there))
    desk.shoot("terminal-upload")
    page.locator("#upload-form").get_by_role("button", name="Upload").click()
    expect(page.locator("#moves li span")).to_have_text(f"Uploaded report.txt to {there}, 1 MiB")
    assert there.read_bytes() == mine.read_bytes()
    page.get_by_role("button", name="Download").click()
    page.locator("#download-path").fill(str(there))
    with page.expect_download(timeout=60_000) as caught:
        page.locator("#download-form").get_by_role("button", name="Download").click()
    assert Path(caught.value.path()).read_bytes() == mine.read_bytes()
    assert caught.value.suggested_filename == "on the device.txt"
    for number in range(4):
        page.get_by_role("button", name="Download").click()
        page.locator("#download-path").fill(f"/nowhere/{number}")
        page.locator("#download-form").get_by_role("button", name="Download").click()
        last = page.locator("#moves .failed span").last
        expect(last).to_have_text(re.compile(f"^Could not download /nowhere/{number}: .*no such file"))
    expect(page.locator("#moves li:visible")).to_have_count(3)
    desk.shoot("terminal-notices")
    assert desk.complaints == []


def test_who_is_alone_in_it_ends_the_session_by_leaving_and_is_asked(harbour: Harbour, desk: Desk) -> None:
    page = desk.page
    desk.open(harbour.edge_1.node_id)
    desk.type("echo id=$SSH_SESSION_ID.\n")
    session = desk.until(r"id=([0-9a-f-]{36})\.")[1]
    page.get_by_role("button", name="Leave").click()
    expect(page.locator("#ask-text")).to_contain_text("End this session and leave?")
    desk.shoot("terminal-leave")
    page.get_by_role("button", name="End the session").click()
    page.wait_for_url(f"**/web/nodes/{harbour.edge_1.node_id}")
    end = harbour.cluster.await_event("session.end", sid=session)
    assert end["reason"] == "the client closed the channel"


def test_signing_out_elsewhere_ends_the_terminal_and_says_so(harbour: Harbour, desk: Desk) -> None:
    desk.open(harbour.edge_1.node_id)
    desk.person.sign_out()
    expect(desk.page.locator("#over-text")).to_have_text("Your sign-in has ended.")
    expect(desk.page.get_by_role("link", name="Sign in again")).to_be_visible()
    expect(desk.page.get_by_role("button", name="Connect again")).to_have_count(0)
    expect(desk.page.get_by_role("button", name="Upload")).to_be_hidden()
    desk.shoot("terminal-signed-out")
