"""A browser without a screen: cookies, forms with their hidden fields, and the headers a browser sends by itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from flask import Flask
from werkzeug.test import TestResponse

BASE = "https://skerry.example:3080"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}


class _Hidden(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"] or ""] = given.get("value") or ""


class Browser:
    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client = app.test_client()

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url=BASE, headers={"Sec-Fetch-Site": "none"} | headers)

    def hidden(self, path: str) -> dict[str, str]:
        parser = _Hidden()
        parser.feed(self.get(path).text)
        return parser.fields

    def submit(self, page: str, fields: dict[str, str], *, to: str = "", **headers: str) -> TestResponse:
        """Open `page`, fill in its form and send it, to the page itself or to `to`."""
        form = self.hidden(page) | fields
        return self.client.post(to or page, base_url=BASE, data=form, headers=SAME_ORIGIN | headers)

    def sign_in(self, user: str, password: str, otp: str) -> TestResponse:
        return self.submit("/web/login", {"user": user, "password": password, "otp": otp})


def text_of(response: TestResponse) -> str:
    """What a person reads: without tags, white space in one."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.text))
