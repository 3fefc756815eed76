"""A browser's part of a terminal, without the browser: signs in with the forms, gets tickets, speaks WebSocket."""

from __future__ import annotations

import json
import ssl
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.harness.real_cluster import Person, RealCluster
from tests.harness.web_visitor import Form, Page, Visitor

PATIENCE = 60
SESSION_COOKIE = "__Host-skerry"


def _one_handshake(anchors: str) -> ssl.SSLContext:
    """Return TLS settings under which nothing of the handshake comes behind it.

    The library reads in one thread and writes in another. In TLS 1.3 the server's tickets (RFC 8446 section 4.6.1) come
    just then: OpenSSL takes them in while the opening request is written, and now and then that is never sent.
    """
    context = ssl.create_default_context(cadata=anchors)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@dataclass
class WebPerson:
    """Somebody signed in with a browser."""

    base: str
    visitor: Visitor
    csrf: str

    @classmethod
    def sign_in(cls, cluster: RealCluster, person: Person) -> WebPerson:
        base, visitor = f"https://{cluster.address('web')}", Visitor(cluster.anchors)
        form = Form(visitor.get(f"{base}/web/login").text)
        fields = {"user": person.name, "password": person.password, "otp": person.next_code()}
        answer = visitor.submit(f"{base}/web/login", {**form.fields, **fields})
        assert answer.status == 303, answer.text
        page = visitor.get(f"{base}/web/nodes")
        return cls(base, visitor, Form(page.text).fields["csrf"])

    @property
    def host(self) -> str:
        return urllib.parse.urlsplit(self.base).netloc

    @property
    def cookie(self) -> str:
        return f"{SESSION_COOKIE}={self.visitor.cookies[SESSION_COOKIE]}"

    def ask_ticket(self, **fields: str) -> Page:
        return self.visitor.submit(f"{self.base}/web/tickets", {"csrf": self.csrf, **fields})

    def ticket(self, node: str, login: str, kind: str = "terminal", **fields: str) -> str:
        answer = self.ask_ticket(kind=kind, node=node, login=login, **fields)
        assert answer.status == 200, answer.text
        return str(json.loads(answer.text)["ticket"])

    def sign_out(self) -> None:
        answer = self.visitor.submit(f"{self.base}/web/logout", {"csrf": self.csrf})
        assert answer.status == 303

    def open(self, ticket: str, origin: str | None = "", cookie: str | None = None) -> ClientConnection:
        """Open the WebSocket; raises `websockets.exceptions.InvalidStatus` where it is refused."""
        return connect(
            f"wss://{self.host}/web/socket?ticket={ticket}",
            ssl=_one_handshake(self.visitor.anchors),
            origin=self.base if origin == "" else origin,  # type: ignore[arg-type]  # a NewType of theirs
            additional_headers={"Cookie": self.cookie if cookie is None else cookie},
            compression=None,
            open_timeout=PATIENCE,
            close_timeout=PATIENCE,
            max_size=None,
            proxy=None,
        )

    @contextmanager
    def terminal(self, node: str, login: str, size: tuple[int, int] = (80, 24), **fields: str) -> Iterator[WebTerminal]:
        with self.open(self.ticket(node, login, **fields)) as socket:
            terminal = WebTerminal(socket)
            terminal.say(type="size", columns=size[0], rows=size[1])
            yield terminal


class WebTerminal:
    """What the page's script does of a terminal. All that was printed is kept."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.printed = bytearray()
        self.told: list[dict[str, Any]] = []

    def say(self, **message: object) -> None:
        self.socket.send(json.dumps(message))

    def type(self, text: str) -> None:
        self.socket.send(text.encode())

    def step(self) -> bool:
        """Take one message; False at the end."""
        try:
            message = self.socket.recv(timeout=PATIENCE)
        except ConnectionClosed:
            return False
        if isinstance(message, bytes):
            self.printed += message
            self.say_quietly(type="took", bytes=len(message))
        else:
            self.told.append(json.loads(message))
        return True

    def say_quietly(self, **message: object) -> None:
        try:
            self.say(**message)
        except ConnectionClosed:
            return  # the end comes with the next `step`

    def until(self, text: str | bytes) -> None:
        """Wait until this was printed, and forget what came up to it."""
        wanted = text.encode() if isinstance(text, str) else text
        while wanted not in self.printed:
            assert self.step(), f"no {wanted!r} in {bytes(self.printed)[-2000:]!r}; {self.told}"
        del self.printed[: self.printed.index(wanted) + len(wanted)]

    def until_told(self, **wanted: object) -> dict[str, Any]:
        """Wait for a text message with these fields, and return it."""
        while True:
            for message in self.told:
                if wanted.items() <= message.items():
                    return message
            assert self.step(), f"no {wanted} in {self.told}; {bytes(self.printed)[-2000:]!r}"

    def until_end(self) -> dict[str, Any]:
        """Wait until the connection ends, and return the last word."""
        while self.step():
            pass
        return self.told[-1]
