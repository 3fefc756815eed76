"""What the hall bounds: places, turns at nodes, sessions that are being ended, parts of a message, a file's name."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from controller.web.hall.end_session import Moderator
from controller.web.hall.files import saved_name
from controller.web.hall.places import Place, Places
from controller.web.hall.session_ends import SessionEnds
from controller.web.hall.turns import Turns
from controller.web.hall.web_socket import WebSocket, handshake
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.joining import NO_SUCH_SESSION
from protocol.names import parse_session_id, parse_user_name
from tests.controller.https.test_tls_wire import MakePair
from tests.controller.https.test_tls_wire import make as make_pair

ALICE, BOB = parse_user_name("alice"), parse_user_name("bob")
make = make_pair


def given(places: Places, user: str = ALICE, kind: str = "terminal") -> Place | None:
    answer = places.reserve(kind, parse_user_name(user))  # type: ignore[arg-type]  # a literal of the test's
    return answer.value if isinstance(answer, Granted) else None


def test_requests_at_the_same_moment_get_no_more_places_than_there_are() -> None:
    places, start = Places(), threading.Barrier(40)

    def ask(_number: int) -> Place | None:
        start.wait()
        return given(places)

    with ThreadPoolExecutor(40) as pool:
        got = [place for place in pool.map(ask, range(40)) if place]
    assert len(got) == limits.TERMINALS_PER_USER == places.count("terminal", ALICE)
    assert given(places, BOB) is not None
    places.release(got[0])
    places.release(got[0])
    assert given(places) is not None
    assert given(places) is None


def test_a_place_whose_connection_never_comes_is_free_again_in_time_and_a_taken_one_is_not() -> None:
    now = [0.0]
    places = Places(lambda: now[0])
    first = given(places)
    assert first is not None
    first.is_taken = True
    assert all(given(places) for _ in range(limits.TERMINALS_PER_USER - 1))
    assert given(places) is None
    now[0] = 1000.0
    assert all(given(places) for _ in range(limits.TERMINALS_PER_USER - 1))
    assert given(places) is None


def test_one_person_cannot_take_all_the_streams() -> None:
    places = Places()
    assert sum(given(places, kind="stream") is not None for _ in range(2 * limits.STREAMS_PER_USER)) == 30
    assert given(places, BOB, "stream") is not None


async def test_who_waits_for_a_silent_node_holds_up_nobody_else_s_and_not_for_ever() -> None:
    turns = Turns(1, patience=0.01)
    async with turns.of("silent"):
        with pytest.raises(TimeoutError):
            async with turns.of("silent"):
                raise AssertionError
        async with turns.of("another"):
            pass
    async with turns.of("silent"):
        pass


def test_a_session_is_ended_once_at_a_time_and_a_person_waits_for_few() -> None:
    ends, ids = SessionEnds(), [parse_session_id(f"00000000-0000-4000-8000-00000000000{n}") for n in range(6)]

    def check(answer: Granted[None] | Refused) -> str:
        return "" if isinstance(answer, Granted) else answer.check

    with contextlib.ExitStack() as held:
        assert check(held.enter_context(ends.one(ids[0], ALICE))) == ""
        assert check(held.enter_context(ends.one(ids[0], BOB))) == "WS8"
        assert check(held.enter_context(ends.one(ids[1], ALICE))) == ""
        assert check(held.enter_context(ends.one(ids[2], ALICE))) == "WS8"
        assert check(held.enter_context(ends.one(ids[3], BOB))) == ""
        assert check(held.enter_context(ends.one(ids[4], BOB))) == ""
        assert check(held.enter_context(ends.one(ids[5], parse_user_name("carol")))) == "WS8"
    with ends.one(ids[0], BOB) as again:
        assert check(again) == ""


# --- what became of a session that was to be ended ----------------------------------------------------------------

ENDED = b"\r\nSkerry: this session was ended by moderator bob\r\n"
REFUSED = f"Skerry: {NO_SUCH_SESSION}\r\n".encode()


@pytest.mark.parametrize(
    ("said", "status", "signal", "is_ended"),
    [
        (b"$ top" + ENDED, None, "HUP", True),
        (b"$ top" + ENDED, 129, "", True),
        (b"$ top" + ENDED, 255, "", True),
        (b"$ echo " + REFUSED + ENDED, 129, "", True),  # the screen shows a refusal; that is the program's
        (REFUSED, 255, "", False),
        (b"$ top\r\nlogout\r\n", 0, "", False),
        (b"$ top" + ENDED, None, "", False),  # the line was cut: nobody knows
        (b"", None, "", False),
        (b"Skerry: no such account here\r\n", 255, "", False),
        (b"$ echo" + ENDED + b"Skerry: locked: gone fishing\r\n", 255, "", False),
    ],
)
def test_a_session_has_ended_only_where_the_node_says_so_and_how(
    said: bytes, status: int | None, signal: str, *, is_ended: bool
) -> None:
    moderator = Moderator()
    for at in range(0, len(said), 7):  # whatever pieces it comes in
        moderator.data_received(said[at : at + 7], None)
    if status is not None:
        moderator.exit_status_received(status)
    if signal:
        moderator.exit_signal_received(signal, False, "", "")
    moderator.connection_lost(None)
    answer = moderator.judge()
    assert isinstance(answer, Granted) is is_ended, answer
    if isinstance(answer, Refused):
        assert answer.reason.isprintable()
        assert answer.reason


# --- messages and names -------------------------------------------------------------------------------------------

OPENING = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-Websocket-Version": "13",
}


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def test_the_handshake_is_given_what_it_is_about_and_no_large_cookie() -> None:
    opening = handshake(OPENING | {"Cookie": "a" * 20_000, "Origin": "https://x", "Broken": "line\r\nbreak"})
    assert opening is not None
    assert opening[0].state is OPEN
    assert opening[1].startswith(b"HTTP/1.1 101 ")
    assert handshake({"Host": "localhost"}) is None


async def test_a_message_in_parts_is_put_together_and_one_in_endless_parts_is_the_end(make: MakePair) -> None:
    opening = handshake(OPENING)
    assert opening is not None
    async with make() as pair:
        socket = WebSocket(pair.wire, opening[0])
        parts = [masked(Opcode.BINARY, b"a", fin=False), *[masked(Opcode.CONT, b"", fin=False)] * 500]
        pair.peer.sendall(b"".join([*parts, masked(Opcode.CONT, b"b")]))
        assert await socket.receive() == b"ab"
        endless = [masked(Opcode.BINARY, b"", fin=False), *[masked(Opcode.CONT, b"", fin=False)] * 2000]
        pair.peer.sendall(b"".join(endless))
        assert await socket.receive() is None
        assert opening[0].state is not OPEN


async def test_who_asks_without_end_whether_we_are_there_and_hears_no_answer_is_let_go(make: MakePair) -> None:
    opening = handshake(OPENING)
    assert opening is not None
    async with make(behind_max=64 * 1024) as pair:
        socket = WebSocket(pair.wire, opening[0])
        pings = masked(Opcode.PING, b"x" * 125) * 500

        def flood() -> None:
            with contextlib.suppress(OSError):
                while True:
                    pair.peer.sendall(pings)

        async with asyncio.TaskGroup() as group:
            flooding = group.create_task(asyncio.to_thread(flood))
            assert await socket.receive() is None
            assert pair.wire.is_lost
            assert pair.wire.waiting == 0
            await flooding


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/var/log/syslog", "syslog"),
        ("~/.bashrc", ".bashrc"),
        ("dir/", "dir"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("..\\..\\boot.ini", "....boot.ini"),
        ("line\nbreak\x1b[31m", "linebreak[31m"),
        ("/", "file"),
        ("..", "file"),
        ("x" * 500, "x" * 100),
        ("été.txt", "été.txt"),
    ],
)
def test_a_download_is_saved_under_the_name_that_was_asked_for_without_what_deceives(path: str, name: str) -> None:
    assert saved_name(path) == name
