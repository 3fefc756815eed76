"""An admin and others, each with a browser that is signed in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta

from werkzeug.test import TestResponse

from controller.accounts import Origin
from protocol import limits
from protocol.access import ACCESS, ADMIN, parse_roles
from protocol.secret import Secret
from tests.controller.web.lab import HandClock, Lab, Person
from tests.controller.web.page_client import BASE, SAME_ORIGIN, Browser, text_of

TCTL = Origin(via="tctl", actor="root@host")


@dataclass
class People:
    """Everybody at one door."""

    lab: Lab
    clock: HandClock
    persons: dict[str, Person] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app = self.lab.app()

    def come(self, name: str, roles: str = ACCESS, *logins: str) -> Browser:
        """Make somebody who has set up an account, and sign them in."""
        person = self.lab.person(name, *logins)
        self.lab.accounts.users.update(name, roles=parse_roles(roles), origin=TCTL)
        self.clock.pass_(timedelta(seconds=max(30, limits.TOTP_PERIOD.total_seconds())))
        self.persons[name] = person
        return self.browser(self.lab.session(name, "web", self.clock() + limits.WEB_SESSION_MAX))

    def browser(self, token: str) -> Browser:
        browser = Browser(self.app)
        browser.client.set_cookie("__Host-skerry", token, domain="skerry.example", secure=True)
        return browser

    def admin(self) -> Browser:
        return self.come("ada", f"{ACCESS},{ADMIN}")

    def code(self, secret: Secret[str]) -> str:
        return Person(self.persons["ada"].name, secret).code(self.clock())

    def post(self, browser: Browser, path: str, page: str, **fields: str | list[str]) -> TestResponse:
        """Send the form of `page` to `path`."""
        csrf = browser.hidden(page)["csrf"]
        return browser.client.post(path, base_url=BASE, data={"csrf": csrf} | fields, headers=SAME_ORIGIN)

    def told(self, *kinds: str) -> list[dict[str, object]]:
        return list(self.lab.audit.entries(kinds=kinds))


def link_in(response: TestResponse, kind: str = "invite") -> str:
    """Return the path of the link that a page shows."""
    found = re.search(rf"https://skerry\.example:3080(/web/{kind}/[0-9a-f]{{32}})", response.text)
    assert found, text_of(response)
    return found[1]


def problem_at(response: TestResponse, field_name: str) -> str:
    """Return what stands beside a field, which must point there."""
    found = re.search(rf'<p class="problem" id="{field_name}-problem" role="alert">(.*?)</p>', response.text)
    assert found, text_of(response)
    assert f"{field_name}-problem" in re.sub(re.escape(found[0]), "", response.text)  # the field says where it stands
    return found[1]
