"""A person with only a browser is invited, signs in, adds a device and works on it: on a real cluster."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.harness.real_cluster import LOGIN
from tests.system.dashboard.quay import PATIENCE_MS, Desk, Quay

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
# The colour in which a line of the terminal begins.
COLOUR = """(text) => {
  const b = skerryTerminal.buffer.active;
  const lines = Array.from({length: b.length}, (_, i) => b.getLine(i));
  const found = lines.find((line) => line.translateToString(true) === text);
  return found ? found.getCell(0).getFgColor() : -1;
}"""


def test_from_the_invite_to_a_terminal_on_the_first_device(quay: Quay) -> None:
    ada = quay.stranger("ada")
    desk = quay.desk()
    page = desk.page
    desk.accept_invite(quay.cluster.invite("ada", LOGIN, "--roles=access,admin,auditor"), ada)
    page.get_by_role("link", name="Sign in here in the browser").click()
    desk.sign_in(ada)
    expect(page.locator(".steps-list li")).to_have_count(3)
    expect(ticked(page)).to_have_count(0)
    faults = desk.look("system-home-first")
    line = make_the_token(desk)
    faults += desk.look("system-device-waiting")
    program = quay.run_line(line, "buoy-7")
    # Nobody reloads the page.
    expect(page.locator(".arrival")).to_have_attribute("data-state", "online", timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", name="buoy-7 is online")).to_be_visible()
    faults += desk.look("system-device-online")
    home = desk.context.new_page()
    desk.listen(home)
    home.goto("/web/home")
    expect(ticked(home)).to_have_count(2)  # the token, the device
    page.get_by_role("link", name="Connect to buoy-7").click()
    desk.await_terminal()
    faults += work(desk)
    page.get_by_role("link", name="To the device", exact=True).click()
    expect(page.get_by_role("heading", name="buoy-7", exact=True)).to_be_visible()
    # The first page was open all the while, and has seen the first session come.
    expect(home.locator(".recent li")).to_have_count(1, timeout=PATIENCE_MS)
    expect(home.get_by_role("heading", name="Getting started")).to_have_count(0)
    assert program.is_running
    assert not faults, "\n".join(faults)
    desk.saw_nothing_odd()


def ticked(page: Page) -> Locator:
    return page.locator(".steps-list li.done")


def make_the_token(desk: Desk) -> str:
    page = desk.page
    page.get_by_role("link", name="Add a device").first.click()
    page.get_by_label("Name", exact=True).fill("buoy-7")
    page.get_by_label("Labels").fill("env=staging, site=skagerrak")
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_role("heading", name="Waiting for the device")).to_be_visible()
    page.get_by_role("button", name="Copy: the line that joins a device that has the agent").click()
    return str(page.evaluate("navigator.clipboard.readText()"))


def work(desk: Desk) -> list[str]:
    """Type, see colours, resize, search and copy; leave with a status."""
    page = desk.page
    desk.type("printf 'size %s %s\\n' $(stty size); printf '\\033[31mred\\033[0m plain\\n'\n")
    before = desk.until(r"size (\d+) (\d+)")
    desk.until(r"^red plain")
    assert page.evaluate(COLOUR, "red plain") == 1
    page.set_viewport_size({"width": 800, "height": 500})
    page.wait_for_function(f"() => skerryTerminal.cols < {before[2]} && skerryTerminal.rows < {before[1]}")
    desk.type("clear; printf 'now %s %s\\n' $(stty size)\n")
    after = desk.until(r"^now (\d+) (\d+)")
    assert [int(after[1]), int(after[2])] == page.evaluate("[skerryTerminal.rows, skerryTerminal.cols]")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.keyboard.press("Control+Shift+F")
    page.get_by_label("Search in what was printed").fill("now")
    expect(page.locator("#found")).to_have_text(re.compile(r"\d of \d"))
    page.keyboard.press("Control+Shift+C")
    assert page.evaluate("navigator.clipboard.readText()") == "now"
    page.keyboard.press("Escape")
    faults = desk.look("system-terminal")
    page.locator(".xterm-helper-textarea").focus()
    desk.type("exit 3\n")
    expect(page.locator("#over-text")).to_have_text("The session has ended: exit status 3.")
    return faults + desk.look("system-terminal-over")
