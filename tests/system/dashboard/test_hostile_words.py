"""What devices, programs and strangers say is shown in a real browser, and does nothing, however it is meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from protocol import limits
from tests.harness.real_cluster import LOGIN, Agent, Person
from tests.harness.running_program import BIN, RunningProgram
from tests.system.dashboard.quay import BIDI, ESCAPES, MARKUP, PATIENCE_MS, Desk, Quay

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
# As bad as a label may be: see `protocol.names.parse_label`.
LABEL = "&lt;script class&gt;{{7*7}}${7*7}"
# Opens a socket with a ticket; how it went.
SOCKET = """([address]) => new Promise((done) => {
  const socket = new WebSocket(address);
  socket.onopen = () => { window.held = socket; done("open"); };
  socket.onclose = () => done("refused");
})"""


@pytest.fixture(scope="module")
def buoy(whole_quay: Quay) -> Agent:
    return whole_quay.device("buoy-1", f"note={LABEL}")


@pytest.fixture(scope="module")
def mallory(whole_quay: Quay) -> Person:
    return whole_quay.user("mallory", "access,admin,auditor")


@pytest.fixture
def desk(quay: Quay, mallory: Person) -> Desk:
    """A browser whose name is hostile too, signed in by the form."""
    desk = quay.desk(user_agent=f"Mozilla/5.0 {MARKUP}")
    desk.page.goto("/web/login")
    desk.sign_in(mallory)
    return desk


def clean(desk: Desk, *paths: str) -> None:
    for path in paths:
        desk.page.goto(path)
        expect(desk.page.locator("h1")).to_have_count(1)
        desk.is_clean()


def test_hostile_words_are_shown_and_do_nothing(
    quay: Quay, buoy: Agent, mallory: Person, desk: Desk, tmp_path: Path
) -> None:
    page, cluster = desk.page, quay.cluster
    cluster.sign_in(mallory)
    program = run_hostile(quay, mallory, tmp_path)
    page.goto("/web/sessions")
    expect(page.get_by_role("row", name="mallory")).to_contain_text("<script class=injected>", timeout=PATIENCE_MS)
    desk.is_clean()
    session = quay.session_of("mallory")
    assert desk.look("system-hostile-sessions") == []
    clean(desk, "/web/home", f"/web/sessions/{session}", f"/web/nodes/{buoy.node_id}", "/web/nodes")
    expect(page.get_by_text(LABEL).first).to_be_visible()
    program.stop()
    cluster.await_event("session.upload", sid=session)
    lock_and_stranger(desk)
    clean(desk, "/web/locks", "/web/settings", "/web/users/mallory", "/web/recordings", "/web/home")
    clean(desk, "/web/audit", f"/web/audit?session={session}")
    replay(desk, session)
    desk.saw_nothing_odd("status of 4")


def run_hostile(quay: Quay, person: Person, folder: Path) -> RunningProgram:
    """Run a command whose text is hostile, and whose output is: markup, escape sequences, a line of a megabyte."""
    said = folder / "said"
    said.write_bytes(f"{MARKUP}\r\n{ESCAPES}".encode() + b"A" * 1_000_000 + b"\xff\xfe\r\nend-of-it\r\n")
    command = f": '{BIDI}{MARKUP}'; cat '{said}'; exec tail -f /dev/null"
    return quay.cluster.run(
        "hostile", [str(BIN / "tsh"), "ssh", "-t", f"{LOGIN}@buoy-1", command], {**person.environment}
    )


def lock_and_stranger(desk: Desk) -> None:
    """Have a lock say it, and a stranger be called it."""
    page = desk.page
    page.goto("/web/locks/new")
    page.get_by_role("radio", name="login an operating").check()
    page.get_by_label("Name").fill("games")
    page.get_by_label("Why").fill(MARKUP)
    page.get_by_role("button", name="Lock", exact=True).click()
    expect(page.get_by_role("row", name="games")).to_contain_text(MARKUP)
    desk.is_clean()
    assert desk.look("system-hostile-locks") == []
    other = desk.context.browser
    assert other
    stranger = Desk.open(other, desk.base)
    stranger.page.goto("/web/login")
    stranger.page.get_by_label("Username").fill(MARKUP[:60])
    stranger.page.locator("#password").fill(f"{MARKUP}{BIDI}")
    stranger.page.get_by_label("Six-digit code").fill("000000")
    stranger.page.keyboard.press("Enter")
    expect(stranger.page.get_by_role("alert")).to_be_visible()
    stranger.is_clean()
    stranger.context.close()


def replay(desk: Desk, session: str) -> None:
    """Play it to its end: the player's terminal shows it, and nothing more."""
    page = desk.page
    title = f"/web/sessions/{session}"
    page.goto(title)
    expect(page.get_by_role("group", name="Player")).to_be_visible(timeout=PATIENCE_MS)
    named = page.title()
    expect(page.locator("dl code")).to_have_text(re.compile("^: '"))  # the command as it was typed
    page.locator("#position").focus()
    page.keyboard.press("End")
    expect(page.locator(".ap-term-text")).to_contain_text("end-of-it", timeout=PATIENCE_MS)
    desk.is_clean()
    assert desk.look("system-hostile-recording") == []
    assert page.title() == named
    assert page.locator("a[href^='javascript']").count() == 0


def test_what_a_program_prints_in_a_terminal_moves_no_more_than_the_terminal(buoy: Agent, desk: Desk) -> None:
    page = desk.page
    desk.open_terminal(buoy.node_id)
    title = page.title()
    page.evaluate("navigator.clipboard.writeText('untouched')")
    bad = MARKUP.replace("'", "")
    desk.type(f"printf '\\033]2;{bad}\\007\\033]52;c;aGFja2Vk\\007\\033]11;?\\007'; echo after-$((1+1))\n")
    desk.until("^after-2")
    expect(page.locator("#program")).to_contain_text("<script class=injected>")
    assert page.title() == title
    assert page.evaluate("navigator.clipboard.readText()") == "untouched"
    assert page.evaluate("document.querySelectorAll('.injected').length") == 0
    desk.type("head -c 1000000 /dev/zero | tr '\\0' z; echo; echo done-$((3+4))\n")
    desk.until("^done-7")
    assert "rgb:" not in desk.shown()
    assert desk.look("system-hostile-terminal") == []
    desk.saw_nothing_odd()


def test_a_file_over_the_limit_is_refused_with_a_clear_text(buoy: Agent, desk: Desk, tmp_path: Path) -> None:
    page, large = desk.page, tmp_path / "large.img"
    with large.open("wb") as file:
        file.truncate(limits.WEB_FILE_MAX + 1)  # holes: it takes no room
    desk.open_terminal(buoy.node_id)
    page.get_by_role("button", name="Upload").click()
    page.locator("#upload-file").set_input_files(large)
    page.locator("#upload-form").get_by_role("button", name="Upload").click()
    expect(page.locator("#moves li")).to_contain_text("larger than 512 MiB; use scp or rsync")
    faults = desk.look("system-upload-refused")
    assert not faults, "\n".join(faults)
    desk.saw_nothing_odd()


def test_a_ticket_opens_one_socket_of_our_own_page_and_no_other(quay: Quay, buoy: Agent, mallory: Person) -> None:
    desk = quay.desk_of(mallory)
    assert desk.web
    page, host = desk.page, desk.host
    address = f"wss://{host}/web/socket?ticket={desk.web.ticket(buoy.node_id, LOGIN)}"
    foreign: Page = desk.context.new_page()  # about:blank, whose origin is "null"
    assert foreign.evaluate(SOCKET, [address]) == "refused"
    quay.cluster.await_event("SK039W", check="WS1")
    page.goto("/web/settings")
    assert page.evaluate(SOCKET, [address]) == "open"
    assert page.evaluate(SOCKET, [address]) == "refused"
    quay.cluster.await_event("SK039W", user="mallory", check="WS6")
    desk.saw_nothing_odd("Error during WebSocket handshake", "WebSocket connection to")
