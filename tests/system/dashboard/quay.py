"""Where people meet the dashboard: a real cluster, Debian's chromium, and what is looked for on every page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.running_program import RunningProgram
from tests.harness.web_terminal import SESSION_COOKIE, WebPerson

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PATIENCE_MS = 60_000
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
DESK: ViewportSize = {"width": 1280, "height": 800}
LOOKS: dict[str, tuple[Literal["light", "dark"], ViewportSize]] = {
    "light": ("light", DESK),
    "dark": ("dark", DESK),
    "phone-light": ("light", {"width": 390, "height": 844}),
    "phone-dark": ("dark", {"width": 390, "height": 844}),
}
# In which axe looks at the page: colours are judged in both schemes, what a narrow page moves or hides in one.
JUDGED = frozenset({"light", "dark", "phone-dark"})
# What xterm holds, a line each.
SHOWN = (
    "() => { const b = skerryTerminal.buffer.active;"
    " return Array.from({length: b.length}, (_, i) => b.getLine(i).translateToString(true)).join('\\n') }"
)
# Text that would be markup, that would act as a terminal's command, and that would be read backwards.
MARKUP = "<img class=injected src=x onerror=alert(1)><script class=injected>alert(2)</script>"
BIDI = "\u202egpj.exe\u2066"
ESCAPES = "\x1b]2;owned\x07\x1b[2J\x1b]8;;javascript:alert(3)\x07link\x1b]8;;\x07"
_BIDI_MARKS = "/[\\u202a-\\u202e\\u2066-\\u2069\\u001b]/"


@dataclass
class Desk:
    """One person's browser. What its console says, which hosts it asks and which dialogs open is kept.

    Attributes:
        complaints: what the console said.
        hosts: whom the pages asked for anything.
        dialogs: what `alert` and its like said; a page of ours opens none.
        web: the sign-in, where it was made beside the browser.
    """

    base: str
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    dialogs: list[str] = field(default_factory=list)
    web: WebPerson | None = None

    @classmethod
    def open(cls, chromium: Browser, base: str, **options: Any) -> Desk:  # noqa: ANN401 - Playwright's own
        context = chromium.new_context(
            base_url=base,
            ignore_https_errors=True,
            color_scheme="light",
            reduced_motion="reduce",
            viewport=DESK,
            permissions=["clipboard-read", "clipboard-write"],
            accept_downloads=True,
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        desk = cls(base, context, context.new_page())
        desk.listen(desk.page)
        return desk

    def listen(self, page: Page) -> None:
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.on("dialog", self._hear)

    def _hear(self, dialog: Any) -> None:  # noqa: ANN401 - Playwright's own
        if dialog.type != "beforeunload":  # the terminal asks so before an open one is left
            self.dialogs.append(dialog.message)
        dialog.accept()

    # --- signing in -----------------------------------------------------------------------------------------------

    def accept_invite(self, link: str, person: Person) -> None:
        """Set up an account as its person does: reads the secret off the page and computes the code."""
        page = self.page
        page.goto(link)
        person.secret = "".join(page.locator(".secret span").all_inner_texts())
        person.spent.clear()
        page.get_by_label("New password").fill(person.password)
        page.get_by_label("Six-digit code").fill(person.next_code())
        page.get_by_role("button", name="Create my account").click()
        expect(page.get_by_role("heading", name=f"You are set up, {person.name}")).to_be_visible()

    def sign_in(self, person: Person) -> None:
        """Fill in the form that is shown."""
        page = self.page
        page.get_by_label("Username").fill(person.name)
        page.locator("#password").fill(person.password)
        page.get_by_label("Six-digit code").fill(person.next_code())
        page.keyboard.press("Enter")
        expect(page.get_by_role("navigation", name="Main")).to_be_visible()

    def take_cookie(self, web: WebPerson) -> None:
        """Be signed in as somebody whose sign-in was made beside the browser."""
        self.web = web
        cookie = {"name": SESSION_COOKIE, "value": web.visitor.cookies[SESSION_COOKIE], "url": web.base}
        self.context.add_cookies([{**cookie, "secure": True, "httpOnly": True}])  # type: ignore[typeddict-item]  # a table

    # --- a terminal -----------------------------------------------------------------------------------------------

    def open_terminal(self, node: str, query: str = "") -> None:
        self.page.goto(f"/web/terminal/{node}?login={LOGIN}{query}")
        self.await_terminal()

    def await_terminal(self) -> None:
        expect(self.page.locator("#state")).to_have_attribute("data-state", "open", timeout=PATIENCE_MS)
        self.page.locator(".xterm-helper-textarea").focus()

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until the terminal shows what matches."""
        self.page.wait_for_function(
            f"([p]) => new RegExp(p, 'm').test(({SHOWN})())", arg=[pattern], timeout=PATIENCE_MS
        )
        found = re.search(pattern, self.shown(), re.MULTILINE)
        assert found, pattern
        return found

    def shown(self) -> str:
        return str(self.page.evaluate(SHOWN))

    # --- what is looked for on every page -------------------------------------------------------------------------

    def look(self, name: str, *, ready: Callable[[Page], None] | None = None) -> list[str]:
        """Keep a picture of the page in every look, and return its faults: too wide, or what axe says of it."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        faults = []
        for look, (scheme, size) in LOOKS.items():
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size(size)
            if ready:
                ready(self.page)
            if not self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                faults.append(f"{name} {look}: it scrolls sideways")
            self.page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png", full_page=True)
            if look in JUDGED:
                faults += [f"{name} {look}: {fault}" for fault in self.axe()]
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(DESK)
        return faults

    def axe(self) -> list[str]:
        """Return what axe-core finds serious or critical on the page as it is."""
        if not self.page.evaluate("'axe' in window"):
            # Evaluated by the browser's debugger, it needs no leave of the page's policy.
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['impact']} {each['id']}: {[node['target'] for node in each['nodes'][:3]]} "
            f"{each['nodes'][0].get('failureSummary', '')[:300]}"
            for each in found["violations"]
            if each["impact"] in {"serious", "critical"}
        ]

    def is_clean(self) -> None:
        """See that nothing of what peers said has become part of the page, and nothing else has happened."""
        assert self.page.evaluate("document.querySelectorAll('.injected').length") == 0
        assert not self.page.evaluate(f"{_BIDI_MARKS}.test(document.documentElement.outerHTML)")
        assert self.dialogs == []

    def saw_nothing_odd(self, *allowed: str) -> None:
        """See that no page complained and none asked another host; `allowed` are parts of complaints that are due."""
        odd = [each for each in self.complaints if not any(part in each for part in allowed)]
        assert odd == []
        assert self.hosts <= {self.host}
        assert self.dialogs == []

    @property
    def host(self) -> str:
        return self.base.removeprefix("https://")


@dataclass
class Quay:
    """A real controller, the browser, and the people and devices that come to it."""

    cluster: RealCluster
    chromium: Browser
    desks: list[Desk] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"https://{self.cluster.address('web')}"

    def desk(self, **options: Any) -> Desk:  # noqa: ANN401 - Playwright's own
        """Open a browser that nobody is signed in with."""
        made = Desk.open(self.chromium, self.base, **options)
        self.desks.append(made)
        return made

    def stranger(self, name: str) -> Person:
        """Return somebody who is no user yet."""
        home = self.cluster.folder / f"home of {name}"
        home.mkdir(mode=0o700)
        return Person(name, home)

    def user(self, name: str, roles: str = "access", logins: str = LOGIN) -> Person:
        """Return a user who has set up their account beside the browser."""
        person = self.stranger(name)
        page = self.cluster.accept(self.cluster.invite(name, logins, f"--roles={roles}"), person)
        assert page.status == 200, page.text
        return person

    def desk_of(self, person: Person, **options: Any) -> Desk:  # noqa: ANN401 - Playwright's own
        """Open a browser of somebody who is signed in."""
        desk = self.desk(**options)
        desk.take_cookie(WebPerson.sign_in(self.cluster, person))
        return desk

    def close_desks(self) -> None:
        for desk in self.desks:
            desk.context.close()
        self.desks.clear()

    def run_line(self, line: str, name: str) -> RunningProgram:
        """Run on a device of its own the line that a page has shown."""
        words = shlex.split(line)
        words = words[1:] if words[0] == "sudo" else words
        return self.cluster.run(f"agent {name}", [*words, f"--data-dir={self.cluster.folder / name}"])

    def device(self, name: str, labels: str = "") -> Agent:
        return self.cluster.start_agent(name, labels)

    def session_of(self, user: str) -> str:
        """Return the id of the session that `user` began last."""
        return str(self.cluster.await_event("session.start", user=user)["sid"])
