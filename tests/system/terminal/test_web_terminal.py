"""Terminals over the real web door, proxy and agent, spoken to as the page's script does."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.harness.real_cluster import LOGIN
from tests.harness.web_terminal import WebPerson, WebTerminal
from tests.harness.web_visitor import Page
from tests.system.conftest import Harbour

KIB = 1024
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def alice(harbour: Harbour) -> WebPerson:
    return WebPerson.sign_in(harbour.cluster, harbour.alice)


def test_a_shell_is_typed_into_resized_and_ends_with_its_exit_status(harbour: Harbour, alice: WebPerson) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN, (100, 30)) as terminal:
        terminal.until_told(type="open")
        terminal.type("echo begin $((20+3)); stty size\n")
        terminal.until("begin 23")
        terminal.until("30 100")
        terminal.say(type="size", columns=77, rows=11)
        terminal.type("stty size; echo $TERM\n")
        terminal.until("11 77")
        terminal.until("xterm-256color")
        terminal.type("exit 7\n")
        end = terminal.until_end()
    assert end == {"type": "end", "code": 1000, "text": ""}
    assert terminal.until_told(type="exit") == {"type": "exit", "status": 7}
    assert terminal.socket.close_code == 1000


def test_the_device_and_the_audit_log_know_where_the_browser_is(harbour: Harbour, alice: WebPerson) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        host, port = terminal.socket.local_address[:2]
        terminal.type("echo client $SSH_CLIENT; exit\n")
        terminal.until(f"client {host} {port} ")
        terminal.until_end()
    where = f"{host}:{port}"
    harbour.cluster.await_event("session.connect", user="alice", addr__remote=where)
    harbour.cluster.await_event("session.start", user="alice", addr__remote=where)
    harbour.cluster.await_event("cert.create", user="alice", addr__remote=where)


def test_programs_are_told_to_speak_utf_8(harbour: Harbour, alice: WebPerson) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.type("echo language $LANG.; exit\n")
        terminal.until("language C.UTF-8.")


def test_who_leaves_was_not_cut_off(harbour: Harbour, alice: WebPerson) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        session = terminal.until_told(type="news")["session"]
        with alice.terminal(harbour.edge_1.node_id, LOGIN, session=session, mode="moderator") as watching:
            watching.until("joined as moderator")
        left = harbour.cluster.await_event("session.leave", sid=session)
        assert "reason" not in left
    assert harbour.cluster.await_event("session.end", sid=session)["reason"] == "the client closed the channel"


# --- what is refused --------------------------------------------------------------------------------------------


def refusal(person: WebPerson, ticket: str, origin: str | None = "", cookie: str | None = None) -> int:
    with pytest.raises(InvalidStatus) as caught:
        person.open(ticket, origin, cookie)
    return caught.value.response.status_code


def test_a_ticket_opens_one_socket_and_no_second(harbour: Harbour, alice: WebPerson) -> None:
    ticket = alice.ticket(harbour.edge_1.node_id, LOGIN)
    with alice.open(ticket):
        assert refusal(alice, ticket) == 403
    harbour.cluster.await_event("SK039W", user="alice", check="WS6")


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", None])
def test_a_foreign_page_s_socket_is_refused_and_its_ticket_is_not_spent(
    harbour: Harbour, alice: WebPerson, origin: str | None
) -> None:
    ticket = alice.ticket(harbour.edge_1.node_id, LOGIN)
    assert refusal(alice, ticket, origin) == 403
    harbour.cluster.await_event("SK039W", check="WS1")
    with alice.open(ticket):
        pass


def test_nobody_comes_in_without_a_sign_in_or_with_another_s_ticket(harbour: Harbour, alice: WebPerson) -> None:
    bob = WebPerson.sign_in(harbour.cluster, harbour.cluster.add_user(f"bob-{uuid4().hex[:6]}"))
    ticket = alice.ticket(harbour.edge_1.node_id, LOGIN)
    assert refusal(alice, ticket, cookie="") == 403
    harbour.cluster.await_event("SK039W", check="WS2")
    assert refusal(alice, "a" * 43) == 403
    harbour.cluster.await_event("SK039W", check="WS3")
    assert refusal(bob, ticket) == 403
    harbour.cluster.await_event("SK039W", check="WS4")


def test_no_ticket_is_given_for_a_login_or_a_node_that_are_not_the_person_s(harbour: Harbour, alice: WebPerson) -> None:
    wanted = {"kind": "terminal", "node": harbour.edge_1.node_id, "login": LOGIN}
    refused = [{"login": "somebody"}, {"node": str(uuid4())}]
    malformed = [{"login": "no login!"}, {"kind": "anything"}, {"kind": "upload", "path": ""}, {"mode": "owner"}]
    assert {alice.ask_ticket(**wanted | wrong).status for wrong in refused} == {403}
    assert {alice.ask_ticket(**wanted | wrong).status for wrong in malformed} == {400}


def test_a_plain_request_for_the_socket_is_answered_as_one(alice: WebPerson) -> None:
    assert alice.visitor.get(f"{alice.base}/web/socket").status == 400


@pytest.mark.parametrize(
    "nonsense",
    ["{", "[]", '{"type":"size","columns":0,"rows":5}', '{"type":"size","columns":1e9,"rows":5}', '{"type":"none"}'],
)
def test_a_page_that_talks_nonsense_is_told_so_and_loses_its_terminal(
    harbour: Harbour, alice: WebPerson, nonsense: str
) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        terminal.socket.send(nonsense)
        assert terminal.until_end()["code"] == 1008


def test_a_message_beyond_the_bound_ends_the_terminal(harbour: Harbour, alice: WebPerson) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        terminal.socket.send(bytes(300 * KIB))
        while terminal.step():
            pass
    assert terminal.socket.close_code == 1009


# --- bounds and ends --------------------------------------------------------------------------------------------


def test_a_browser_that_shows_nothing_holds_the_program_and_gets_it_all_later(
    harbour: Harbour, alice: WebPerson, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        terminal.type(f"stty -echo; head -c 4000000 /dev/zero | tr '\\0' x; touch {done}; echo END$((1+1))\n")
        got = 0
        with contextlib.suppress(TimeoutError):
            while True:  # without a word that any of it was shown, until no more of it comes
                message = terminal.socket.recv(timeout=60 if got < 400 * KIB else 3)
                got += len(message) if isinstance(message, bytes) else 0
        with alice.terminal(harbour.edge_1.node_id, LOGIN) as other:  # all is well beside it
            other.type("echo here$((1+1))\n")
            other.until("here2")
        assert got < 4_000_000
        assert not done.exists()
        terminal.say(type="took", bytes=got)
        terminal.until("END2")
    assert done.exists()


def test_a_key_that_is_pressed_when_the_program_has_ended_loses_neither_output_nor_exit_status(
    harbour: Harbour, alice: WebPerson, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        # More than is shown at once, and little enough for the program to have said all of it and to be gone.
        terminal.type(f"stty -echo; head -c 700000 /dev/zero | tr '\\0' x; echo END$((1+1)); touch {done}; exit 3\n")
        got = bytearray()
        with contextlib.suppress(TimeoutError):
            while True:
                message = terminal.socket.recv(timeout=60 if len(got) < 400 * KIB else 3)
                got += message if isinstance(message, bytes) else b""
        terminal.type("\n")
        terminal.printed += got
        terminal.say(type="took", bytes=len(got))
        end = terminal.until_end()
        assert b"END2" in terminal.printed
    assert terminal.until_told(type="exit") == {"type": "exit", "status": 3}
    assert (end["code"], end["text"]) == (1000, "")
    assert done.exists()


def test_a_large_paste_into_a_program_that_prints_it_goes_through(harbour: Harbour, alice: WebPerson) -> None:
    size, piece = 3 * KIB * KIB, 32 * KIB
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        terminal.type(f"stty raw -echo; echo READY$((1+1)); head -c {size} | tr a b; stty sane; echo END$((1+1))\n")
        terminal.until("READY2")
        sent = taken = printed = 0
        while taken < size - piece:
            while sent < size and sent - taken <= 96 * KIB:
                terminal.socket.send(b"a" * piece)
                sent += piece
            assert terminal.step(), terminal.told[-1]
            taken = sum(each["bytes"] for each in terminal.told if each["type"] == "took")
        while b"END2" not in terminal.printed:
            assert terminal.step(), terminal.told[-1]
        printed = terminal.printed.count(b"b")
    assert printed >= size


def test_a_paste_that_nobody_reads_ends_with_words(harbour: Harbour, alice: WebPerson) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        terminal.type("stty raw -echo; echo READY$((1+1)); exec sleep 300\n")
        terminal.until("READY2")
        with contextlib.suppress(ConnectionClosed):
            for _ in range(200):
                terminal.socket.send(b"a" * 64 * KIB)
        end = terminal.until_end()
    assert (end["code"], "more was typed" in end["text"]) == (1008, True)


# --- in company -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def company(alice: WebPerson, node: str, mode: str) -> Iterator[tuple[WebTerminal, WebTerminal, str]]:
    """A session of alice's, and a second browser in it."""
    with alice.terminal(node, LOGIN, (90, 30)) as own:
        session = own.until_told(type="news")["session"]
        with alice.terminal(node, LOGIN, (40, 10), session=session, mode=mode) as guest:
            guest.until_told(type="news", session=session)
            yield own, guest, session


def test_what_an_observer_types_and_how_large_their_window_is_changes_nothing(
    harbour: Harbour, alice: WebPerson
) -> None:
    with company(alice, harbour.edge_1.node_id, "observer") as (own, watching, _):
        watching.type("echo never$((1+1))\n")
        watching.say(type="size", columns=20, rows=5)
        watching.socket.send(json.dumps({"type": "answer", "data": "echo never$((1+1))\n"}))
        watching.type("\x03")  # and leaves: what came before has been heeded
        watching.until_end()
        own.type("stty size; echo mine$((1+1))\n")
        own.until("30 90")
        own.until("mine2")
        assert b"never2" not in own.printed
        assert b"never" not in watching.printed


def test_of_sizes_that_come_in_a_flood_few_reach_the_program_and_the_last_one_holds(
    harbour: Harbour, alice: WebPerson
) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        for rows in range(10, 310):
            terminal.say(type="size", columns=77, rows=rows)
        terminal.type("until [ \"$(stty size)\" = '309 77' ]; do sleep 0.1; done; echo AT$((1+1))\n")
        terminal.until("AT2")


def end_it(alice: WebPerson, session: str) -> Page:
    return alice.visitor.submit(f"{alice.base}/web/sessions/{session}/end", {"csrf": alice.csrf})


def test_a_session_is_ended_from_its_page_and_one_that_is_over_is_not(harbour: Harbour, alice: WebPerson) -> None:
    with alice.terminal(harbour.edge_1.node_id, LOGIN) as own:
        session = str(own.until_told(type="news")["session"])
        own.type("echo 'Skerry: there is no such session here that you could join'; echo shown$((1+1))\n")
        own.until("shown2")
        deadline = time.monotonic() + 60
        while (answer := end_it(alice, session)).status == 404:  # the node's word of it is on its way
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert answer.status == 303, answer.text
        own.until("this session was ended by moderator alice")
        own.until_end()
    assert harbour.cluster.await_event("session.end", sid=session)["reason"] == "ended by moderator alice"
    assert end_it(alice, session).status in {404, 409}


def test_an_upload_that_is_cut_off_leaves_no_part_and_is_told_of(
    harbour: Harbour, alice: WebPerson, place: Path
) -> None:
    with alice.open(alice.ticket(harbour.edge_1.node_id, LOGIN, "upload", path=str(place))) as socket:
        socket.send(json.dumps({"type": "file", "size": 1_000_000}))
        assert said(socket) == {"type": "go"}
        socket.send(bytes(100 * KIB))
        assert said(socket) == {"type": "took", "bytes": 100 * KIB}
        assert len(list(place.parent.glob(".skerry-alice-*"))) == 1
        socket.socket.shutdown(2)
    told = harbour.cluster.await_event("T3005E", user="alice", path=str(place))
    assert told["error"]
    assert not place.exists()
    assert list(place.parent.glob(".skerry-alice-*")) == []


def test_signing_out_ends_the_person_s_terminals_and_says_why(harbour: Harbour) -> None:
    person = harbour.cluster.add_user(f"carol-{uuid4().hex[:6]}")
    carol = WebPerson.sign_in(harbour.cluster, person)
    with carol.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        carol.sign_out()
        end = terminal.until_end()
    assert (end["code"], end["text"]) == (4001, "your sign-in has ended")
    assert terminal.socket.close_code == 4001


def test_a_lock_ends_a_terminal_and_the_page_is_told_which(harbour: Harbour) -> None:
    name = f"dave-{uuid4().hex[:6]}"
    dave = WebPerson.sign_in(harbour.cluster, harbour.cluster.add_user(name))
    with dave.terminal(harbour.edge_1.node_id, LOGIN) as terminal:
        terminal.until_told(type="open")
        harbour.cluster.tctl("lock", f"--user={name}", "--message=gone fishing")
        end = terminal.until_end()
    assert "gone fishing" in end["text"]


# --- files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(f"/tmp/skerry-test-{uuid4().hex}")
    yield path
    path.unlink(missing_ok=True)


def said(socket: ClientConnection) -> dict[str, object] | bytes:
    message = socket.recv(timeout=60)
    return message if isinstance(message, bytes) else json.loads(message)


def send(alice: WebPerson, node: str, path: Path, data: bytes, *, overwrite: bool = False) -> list[object]:
    heard: list[object] = []
    with alice.open(alice.ticket(node, LOGIN, "upload", path=str(path))) as socket:
        socket.send(json.dumps({"type": "file", "size": len(data), "overwrite": overwrite}))
        heard.append(said(socket))
        if heard[-1] == {"type": "go"}:
            for at in range(0, len(data), 100 * KIB):
                socket.send(data[at : at + 100 * KIB])
                heard.append(said(socket))
            socket.send(json.dumps({"type": "done"}))
            heard.append(said(socket))
    return heard


def test_a_file_goes_up_and_comes_down_again_and_is_not_replaced_unasked(
    harbour: Harbour, alice: WebPerson, place: Path
) -> None:
    node, data = harbour.edge_1.node_id, bytes(range(256)) * 2000
    assert send(alice, node, place, data)[-1] == {"type": "done", "bytes": len(data)}
    assert place.read_bytes() == data
    harbour.cluster.await_event("T3005I", user="alice", path=str(place), bytes=len(data), action="upload")
    assert send(alice, node, place, b"other") == [{"type": "exists", "size": len(data)}]
    assert place.read_bytes() == data
    harbour.cluster.await_event("T3005E", user="alice", path=str(place))
    assert send(alice, node, place, b"other", overwrite=True)[-1] == {"type": "done", "bytes": 5}
    assert place.read_bytes() == b"other"
    assert [each.name for each in place.parent.glob(".skerry-alice-*")] == []
    with alice.open(alice.ticket(node, LOGIN, "download", path=str(place))) as socket:
        assert said(socket) == {"type": "file", "name": place.name, "size": 5}
        assert said(socket) == b"other"
        socket.send(json.dumps({"type": "took", "bytes": 5}))
        assert said(socket) == {"type": "done", "bytes": 5}
    harbour.cluster.await_event("T3004I", user="alice", path=str(place), bytes=5, action="download")


@pytest.mark.parametrize(
    ("path", "words"), [("/dev/zero", "no plain file"), ("/etc", "a directory"), ("/nothing/here", "no such file")]
)
def test_what_is_no_file_is_not_fetched(harbour: Harbour, alice: WebPerson, path: str, words: str) -> None:
    with alice.open(alice.ticket(harbour.edge_1.node_id, LOGIN, "download", path=path)) as socket:
        end = said(socket)
    assert isinstance(end, dict)
    assert words in str(end["text"])
    harbour.cluster.await_event("T3004E", user="alice", path=path)


def test_a_file_beyond_the_bound_is_refused_before_a_byte_of_it_goes(
    harbour: Harbour, alice: WebPerson, place: Path
) -> None:
    with alice.open(alice.ticket(harbour.edge_1.node_id, LOGIN, "upload", path=str(place))) as socket:
        socket.send(json.dumps({"type": "file", "size": 600 * KIB * KIB}))
        end = said(socket)
    assert isinstance(end, dict)
    assert "does not go through the browser" in str(end["text"])
    assert not place.exists()


def test_more_than_was_said_is_refused_and_nothing_is_left_behind(
    harbour: Harbour, alice: WebPerson, place: Path
) -> None:
    with alice.open(alice.ticket(harbour.edge_1.node_id, LOGIN, "upload", path=str(place))) as socket:
        socket.send(json.dumps({"type": "file", "size": 10}))
        assert said(socket) == {"type": "go"}
        socket.send(b"more than ten bytes")
        end = said(socket)
    assert isinstance(end, dict)
    assert "more than it had said" in str(end["text"])
    assert not place.exists()
    assert [each.name for each in place.parent.glob(".skerry-alice-*")] == []
