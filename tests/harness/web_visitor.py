"""A browser as far as the forms of the web door need one: GET, cookies, hidden fields, POST."""

from __future__ import annotations

import html.parser
import http.client
import json
import ssl
import urllib.parse
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Page:
    """What the web door answered."""

    status: int
    text: str
    headers: http.client.HTTPMessage


class Form(html.parser.HTMLParser):
    """The hidden fields of a page, and the secret in its otpauth link (the link that opens an authenticator app)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.secret = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given["value"]
        if tag == "a" and given.get("href", "").startswith("otpauth:"):
            self.secret = urllib.parse.parse_qs(urllib.parse.urlsplit(given["href"]).query)["secret"][0]


@dataclass
class Visitor:
    """One browser: trusts `anchors` (PEM) alone, keeps cookies. Every request is a connection of its own."""

    anchors: str
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, url: str) -> Page:
        return self._ask("GET", url, None, {})

    def submit(self, url: str, fields: dict[str, str]) -> Page:
        """Send a form as the browser does that has loaded it from `url`."""
        origin = urllib.parse.urlsplit(url).netloc
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://{origin}"}
        return self._ask("POST", url, urllib.parse.urlencode(fields), headers)

    def post_json(self, url: str, value: object) -> Page:
        """Send a JSON body as a program does."""
        return self._ask("POST", url, json.dumps(value), {"Content-Type": "application/json"})

    def _ask(self, method: str, url: str, body: str | None, headers: dict[str, str]) -> Page:
        address = urllib.parse.urlsplit(url)
        context = ssl.create_default_context(cadata=self.anchors)
        connection = http.client.HTTPSConnection(address.netloc, context=context, timeout=30)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, address.path, body, headers | ({"Cookie": cookies} if cookies else {}))
            reply = connection.getresponse()
            text = reply.read().decode()
        finally:
            connection.close()
        for cookie in reply.msg.get_all("set-cookie", []):
            name, _, value = cookie.split(";")[0].partition("=")
            self.cookies[name] = value
        return Page(reply.status, text, reply.msg)
