"""The pages' news over the real web door, and what becomes of what the hall keeps."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from controller.accounts import Origin
from controller.policy.ticket import Order, Ticket
from controller.web.hall.tickets import Tickets
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import NodeId, parse_login, parse_user_name
from tests.controller.web.lab import HandClock, Lab
from tests.harness.running_door import RunningDoor

StartDoor = Callable[..., RunningDoor]
ORIGIN = Origin(via="web")


@pytest.fixture
def shared(tmp_path: Path) -> Lab:
    return Lab.open(tmp_path)


@pytest.fixture
def door(start_door: StartDoor, shared: Lab, tmp_path: Path) -> RunningDoor:
    assert isinstance(shared, Lab)  # opened first: it makes the keys
    return start_door("web", data_dir=str(tmp_path), public_address="skerry.example:3080")


def listen(door: RunningDoor, token: str) -> ssl.SSLSocket:
    sock = door.connect(timeout=60)
    head = f"GET /web/events HTTP/1.1\r\nHost: localhost\r\nX-Skerry-Script: 1\r\nCookie: __Host-skerry={token}\r\n\r\n"
    sock.sendall(head.encode())
    return sock


def read_until(sock: ssl.SSLSocket, wanted: bytes) -> bytes:
    got = b""
    while wanted not in got:
        data = sock.recv(65536)
        assert data, got
        got += data
    return got


def signed_in(lab: Lab) -> str:
    lab.person("alice")
    return lab.session("alice", "web", lab.clock() + timedelta(hours=1))


def test_a_page_is_told_what_changes_under_the_door_s_own_headers(door: RunningDoor, shared: Lab) -> None:
    with listen(door, signed_in(shared)) as sock:
        head = read_until(sock, b": Skerry\n\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"text/event-stream" in head
        assert b"Content-Security-Policy: default-src 'none'" in head
        shared.invite("bob")  # the first look may come after this one: so a second change follows
        shared.invite("carol")
        while b"event: audit" not in head:
            shared.invite(f"user{len(head)}")
            head += read_until(sock, b"\n\n")
        assert b"data: {}\n\n" in head


def test_the_news_end_with_the_sign_in_and_say_so(door: RunningDoor, shared: Lab) -> None:
    token = signed_in(shared)
    with listen(door, token) as sock:
        read_until(sock, b": Skerry\n\n")
        shared.accounts.close_session(token, ORIGIN)
        read_until(sock, b"event: ended")
        while sock.recv(65536):
            pass


def test_a_page_is_told_at_once_to_look_at_everything(door: RunningDoor, shared: Lab) -> None:
    with listen(door, signed_in(shared)) as sock:
        got = read_until(sock, b"event: sessions")
        for topic in (b"audit", b"nodes", b"recordings"):
            assert b"event: " + topic in got


def test_one_person_s_pages_have_bounds_and_what_is_closed_makes_room(door: RunningDoor, shared: Lab) -> None:
    token = signed_in(shared)
    heads: list[bytes] = []
    with contextlib.ExitStack() as held:
        socks = []
        while not heads or heads[-1].startswith(b"HTTP/1.1 200 "):
            socks.append(held.enter_context(listen(door, token)))
            heads.append(read_until(socks[-1], b"\r\n"))
            assert len(heads) <= 4 * limits.STREAMS_PER_USER
        assert heads[-1].startswith(b"HTTP/1.1 503 ")
        assert len(heads) > limits.STREAMS_PER_USER
        shared.person("bob")
        other = shared.session("bob", "web", shared.clock() + timedelta(hours=1))
        with listen(door, other) as sock:
            assert read_until(sock, b"\r\n").startswith(b"HTTP/1.1 200 ")
    deadline = time.monotonic() + 60
    while True:
        with listen(door, token) as sock:
            if read_until(sock, b"\r\n").startswith(b"HTTP/1.1 200 "):
                break
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_was_kept_and_is_gone_counts_for_its_address_no_more(
    start_door: StartDoor, shared: Lab, tmp_path: Path
) -> None:
    token, numbers = signed_in(shared), {"per_address": 4}
    door = start_door("web", data_dir=str(tmp_path), public_address="skerry.example:3080", numbers=numbers)
    for _ in range(12):
        deadline, head = time.monotonic() + 60, b""
        while not head.startswith(b"HTTP/1.1 200 "):
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError), listen(door, token) as sock:
                head = sock.recv(65536)


def test_nobody_hears_news_without_a_sign_in(door: RunningDoor) -> None:
    with listen(door, "a" * 43) as sock:
        assert read_until(sock, b"\r\n").startswith(b"HTTP/1.1 401 ")


def test_a_door_that_stops_lets_go_of_what_it_kept(door: RunningDoor, shared: Lab) -> None:
    with listen(door, signed_in(shared)) as sock:
        read_until(sock, b": Skerry\n\n")
        assert door.stop() == 0
        while sock.recv(65536):
            pass
    assert "Traceback" not in door.log()


def test_a_ticket_is_spent_once_and_is_forgotten_in_time(lab: Lab, clock: HandClock) -> None:
    tickets = Tickets(lab.store, clock)
    order = Order("terminal", NodeId("00000000-0000-4000-8000-000000000001"), parse_login("pi"))
    ticket = Ticket(parse_user_name("alice"), "hash", order)
    text = tickets.give(ticket).reveal()
    assert tickets.find(text) == ticket
    assert tickets.spend(text) == Granted(None)
    again = tickets.spend(text)
    assert isinstance(again, Refused)
    assert again.check == "WS6"
    clock.pass_(limits.TICKET_TTL)
    assert tickets.find(text) is None
