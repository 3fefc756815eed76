from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from protocol import limits
from tests.harness.running_door import RunningDoor, make_identity, read_all
from tests.harness.running_program import await_pid_end, children_of

StartDoor = Callable[..., RunningDoor]
GET = b"GET /here HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
KEEP = b"GET /here HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /there HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def said(answer: bytes) -> dict[str, object]:
    found = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert isinstance(found, dict)
    return found


def read_one(sock: ssl.SSLSocket) -> bytes:
    answer = b""
    while b"}" not in answer and (part := sock.recv(65536)):
        answer += part
    return answer


def assert_serves(door: RunningDoor, within: float = 8.0) -> None:
    began = time.monotonic()
    assert status_of(door.ask(GET)) == 200
    assert time.monotonic() - began < within


def memory_kib(door: RunningDoor) -> int:
    """Resident memory of the door's processes."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) != door.process.pid:
                    continue
                status = (entry / "status").read_text()
            except (OSError, ValueError):
                continue
            total += int(status.partition("VmRSS:")[2].split()[0])
    return total


def test_a_request_over_tls_is_answered(start_door: StartDoor) -> None:
    answer = start_door().ask(GET)
    assert said(answer) == {"method": "GET", "path": "/here", "body": 0, "peer": None, "scheme": "https"}


def test_a_connection_serves_many_requests_also_when_they_come_at_once(start_door: StartDoor) -> None:
    door = start_door()
    with door.connect() as sock:
        for size in (0, 10, 100_000):
            sock.sendall(post(b"x" * size))
            assert said(read_one(sock))["body"] == size
        sock.sendall(KEEP + post(b"xyz") + GET)
        bodies = read_all(sock)
    assert bodies.count(b"HTTP/1.1 200 OK") == 3


def test_a_chunked_body_and_an_expected_continue_are_understood(start_door: StartDoor) -> None:
    door = start_door()
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert said(door.ask(chunked + b"5\r\nhello\r\n0\r\n\r\n"))["body"] == 5
    with door.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"abc")
        assert b'"body": 3' in read_one(sock)


def test_tls_1_1_is_refused_and_http_2_is_not_offered(start_door: StartDoor) -> None:
    door = start_door()
    context = door.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with door.connect(context=context) as sock:
        assert sock.version() == "TLSv1.3"
        assert sock.selected_alpn_protocol() == "http/1.1"
    hello = bytes.fromhex("16030200310100002d0302") + b"\0" * 32 + bytes.fromhex("000006002f0035000a0100")
    with door.raw() as old:
        old.sendall(hello)
        assert old.recv(100)[:1] in {b"\x15", b""}  # an alert, or the end
    assert_serves(door)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", id="http without tls"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="ssh"),
        pytest.param(os.urandom(100_000), id="noise"),
        pytest.param(b"\x16\x03\x01\x40\x00" + b"\x01" * 16384, id="a hello without end"),
    ],
)
def test_what_is_no_tls_costs_one_line_and_the_door_lives(start_door: StartDoor, garbage: bytes) -> None:
    door = start_door(seconds={"request_grace": 2})
    with door.raw() as sock:
        try:
            sock.sendall(garbage)
            while sock.recv(4096):
                pass
        except ConnectionError:
            pass
    log = door.wait_for_log("127.0.0.1: ")
    assert "TLS" in log
    assert "Traceback" not in log
    assert_serves(door)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"\x00\x01\x02\x03" * 100, 400, id="binary"),
        pytest.param(b"hello there\r\n\r\n", 400, id="prose"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, id="bare line feeds"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 414, id="a long line"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431, id="a long header"),
        pytest.param(
            b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(100)) + b"\r\n", 431, id="many"
        ),
        pytest.param(b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400, id="another version"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="two hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nBad_Name: x\r\n\r\n", 400, id="an underscore"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="cl+te"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, id="te unknown"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, id="cl+cl"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", 400, id="cl signed"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello", 400, id="cl with a space"),
    ],
)
def test_what_is_no_good_request_is_refused_and_what_follows_is_not_served(
    start_door: StartDoor, request_bytes: bytes, status: int
) -> None:
    door = start_door()
    answer = door.ask(request_bytes + GET)
    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"/here" not in answer
    log = door.log()
    assert "127.0.0.1: " in log
    assert "Traceback" not in log
    assert_serves(door)


def test_a_fault_in_the_application_is_a_plain_500(start_door: StartDoor) -> None:
    door = start_door()
    answer = door.ask(b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status_of(answer) == 500
    assert b"insecure detail" not in answer
    assert "insecure detail" in door.log()


def test_two_hundred_peers_that_dawdle_keep_nobody_waiting(start_door: StartDoor) -> None:
    door = start_door(numbers={"threads": 4}, seconds={"request_grace": 4})
    with ExitStack() as open_ones:
        slow = []
        for number in range(200):
            if number % 4 == 0:  # half open: nothing at all
                open_ones.enter_context(door.raw())
            elif number % 4 == 1:  # stops in the middle of the handshake
                sock = open_ones.enter_context(door.raw())
                sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            else:
                tls = open_ones.enter_context(door.connect())
                body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
                tls.sendall(body if number % 4 == 2 else b"GET / HTTP/1.1\r\n")
                slow.append(tls)
        before = memory_kib(door)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for tls in slow:
                try:
                    tls.sendall(b"a")  # each byte would begin a read timeout anew
                except OSError:
                    continue
            assert_serves(door)
        assert memory_kib(door) - before < 20 * 1024
        door.wait_for_log("closed while it waited for the rest of a request: too slow")
        door.wait_for_log("closed while it waited for the TLS handshake: too slow")
    assert_serves(door)


def test_who_connects_and_asks_for_nothing_is_closed_and_not_complained_of(start_door: StartDoor) -> None:
    door = start_door(seconds={"request_grace": 1})
    with door.connect(timeout=60) as ahead, door.connect(timeout=60) as slow:
        slow.sendall(b"G")
        assert ahead.recv(1) == b""
        assert slow.recv(1) == b""
        door.wait_for_log("closed while it waited for the rest of a request: too slow")
    assert door.log().count("too slow") == 1


def test_a_dawdler_is_closed_at_its_deadline_however_steadily_it_sends(start_door: StartDoor) -> None:
    door = start_door(seconds={"request_grace": 1})
    with door.connect() as sock:
        began = time.monotonic()
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        while time.monotonic() - began < 30 and not is_closed(sock):
            pass
        assert is_closed(sock)


def is_closed(sock: ssl.SSLSocket) -> bool:
    """Send one byte more, wait a tenth of a second, and tell whether the door has closed."""
    sock.settimeout(0.1)
    try:
        sock.sendall(b"a")
        return sock.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_past_the_bound_a_newcomer_takes_the_place_of_a_dawdler(start_door: StartDoor) -> None:
    door = start_door(numbers={"connections": 20, "per_address": 10})
    with ExitStack() as open_ones:
        for _ in range(10):
            open_ones.enter_context(door.raw())
        began = time.monotonic()
        while time.monotonic() - began < 30:
            try:
                if status_of(door.ask(GET)) == 200:
                    break
            except (OSError, IndexError):
                time.sleep(0.2)  # those that came just now have a second before they are taken for dawdlers
    door.wait_for_log("made room for another")


def test_a_peer_that_does_not_read_its_answer_holds_no_thread_for_ever(start_door: StartDoor) -> None:
    door = start_door(numbers={"threads": 2}, seconds={"answer_grace": 1, "request_grace": 30})
    with ExitStack() as open_ones:
        for _ in range(2):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", door.port))
            tls = open_ones.enter_context(door.client().wrap_socket(raw, server_hostname="localhost"))
            tls.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        assert_serves(door, within=5)
        door.wait_for_log("closed while it waited for the peer to read its answer: too slow")


BIG = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
LONG = b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENT = {"answer_grace": 600, "request_grace": 600}


def begin_to_read(door: RunningDoor, request: bytes) -> ssl.SSLSocket:
    """Ask for something, and read no more than the first byte of the answer."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(30)
    raw.connect(("127.0.0.1", door.port))
    tls = door.client().wrap_socket(raw, server_hostname="localhost")
    tls.sendall(request)
    assert tls.recv(1) == b"H"
    return tls


@pytest.mark.parametrize("request_bytes", [BIG * 3, LONG], ids=["three answers at once", "an answer without end"])
def test_peers_that_do_not_read_hold_no_thread_at_all(start_door: StartDoor, request_bytes: bytes) -> None:
    door = start_door(numbers={"threads": 2, "buffers": 1 << 30}, seconds=PATIENT)
    with ExitStack() as open_ones:
        for _ in range(6):
            open_ones.enter_context(begin_to_read(door, request_bytes))
        assert status_of(door.ask(GET)) == 200


def test_a_slow_reader_gets_on_for_as_long_as_it_takes_enough_and_one_that_takes_less_is_gone(
    start_door: StartDoor,
) -> None:
    grace = 2
    door = start_door(numbers={"answer_step": 1 << 10}, seconds={"answer_grace": grace, "request_grace": 30})
    began = time.monotonic()
    with begin_to_read(door, LONG) as sock:
        while time.monotonic() < began + 2.5 * grace:
            assert sock.recv(4096)
            time.sleep(0.1)  # it is the slow line
        door.wait_for_log("closed while it waited for the peer to read its answer: too slow", within=60)


def test_what_a_peer_has_earned_by_reading_is_not_for_a_thread_that_is_stuck(start_door: StartDoor) -> None:
    grace = 4
    door = start_door(numbers={"answer_step": 1 << 10}, seconds={"answer_grace": grace, "request_grace": 30})
    with door.connect(60) as reader:
        reader.sendall(b"GET /long/stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        taken = 0
        while taken < 2 << 20:
            taken += len(reader.recv(1 << 16))
        door.wait_for_log("stuck", within=60)
        with door.connect(60) as later:
            later.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
            assert until_cut(later) == b""
        reader.settimeout(2 * grace)  # it began earlier, and so is cut by now; with what it has earned, much later
        assert len(until_cut(reader)) < 1 << 16
        assert status_of(door.ask(b"GET /release HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == 200


def until_cut(sock: ssl.SSLSocket) -> bytes:
    found = b""
    with suppress(ssl.SSLEOFError, ConnectionResetError):
        while part := sock.recv(1 << 16):
            found += part
    return found


def test_who_does_not_read_takes_little_of_the_kernels_memory(start_door: StartDoor) -> None:
    door = start_door(seconds=PATIENT)
    with begin_to_read(door, BIG) as sock:
        port = sock.getsockname()[1]
        here = ["ss", "-tmnH", "state", "established", f"( sport = :{door.port} and dport = :{port} )"]
        shown = subprocess.run(here, capture_output=True, text=True, check=True, timeout=30).stdout
    found = re.search(r"skmem:\(.*\btb(\d+),", shown)
    assert found, shown
    assert int(found[1]) <= 128 * 1024  # what it may take in all


def test_answers_that_wait_for_their_reader_are_whole_and_in_order(start_door: StartDoor) -> None:
    door = start_door(seconds=PATIENT)
    with begin_to_read(door, BIG + LONG + KEEP + GET) as sock:
        assert status_of(door.ask(GET)) == 200
        big, chunked, *short = read_all(sock).split(b"TTP/1.1 200 OK")[1:]
    assert big.removesuffix(b"H").endswith(b"\r\n\r\n" + b"x" * (8 << 20))
    pieces = b"".join(b"10000\r\n" + number.to_bytes(8, "big") * (8 << 10) + b"\r\n" for number in range(1024))
    assert chunked.removesuffix(b"H").partition(b"\r\n\r\n")[2] == pieces + b"0\r\n\r\n"
    assert [b'"path": "/here"' in each for each in short] == [True, True]


def test_an_answer_that_fails_on_its_way_is_cut_off_and_told_apart_from_a_whole_one(start_door: StartDoor) -> None:
    door = start_door()
    answer = door.ask(b"GET /long/broken HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    assert status_of(answer) == 200
    assert not answer.endswith(b"0\r\n\r\n")
    assert b"/here" not in answer
    assert b"insecure detail" not in answer
    assert "insecure detail" in door.wait_for_log("an answer failed on its way")


def test_what_answers_hold_together_is_bounded_and_what_made_them_is_closed(start_door: StartDoor) -> None:
    door = start_door(numbers={"buffers": 12 << 20}, seconds=PATIENT)
    with ExitStack() as open_ones:
        open_ones.enter_context(begin_to_read(door, LONG))
        for _ in range(20):
            if "the long answer is closed" not in door.log():
                open_ones.enter_context(begin_to_read(door, BIG))
        log = door.wait_for_log("the long answer is closed")
        assert "closed while it waited for the peer to read its answer: answers that are not read" in log
        assert status_of(door.ask(GET)) == 200


def test_one_address_holds_no_more_than_its_share_of_the_threads(start_door: StartDoor) -> None:
    door = start_door(numbers={"threads": 8})
    with ExitStack() as open_ones:
        held = [open_ones.enter_context(door.connect(timeout=60)) for _ in range(20)]
        for sock in held:
            sock.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        door.wait_for_log("holding")
        raw = socket.create_connection(("127.0.0.1", door.port), timeout=30, source_address=("127.0.0.2", 0))
        with door.client().wrap_socket(raw, server_hostname="localhost") as other:
            other.sendall(b"GET /release HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert status_of(read_all(other)) == 200
        assert [status_of(read_all(sock)) for sock in held] == [200] * 20


def test_a_body_over_the_bound_reaches_the_application_unread_and_ends_the_connection(start_door: StartDoor) -> None:
    door = start_door()
    size = limits.HTTP_BODY_MAX + 1
    with door.connect() as sock:
        sock.sendall(post(b"x" * size))
        answer = read_one(sock)
        assert said(answer)["body"] == size  # this application reads what it is given
        assert sock.recv(100) == b""


def test_a_stranger_without_a_client_certificate_is_refused_where_one_is_demanded(
    start_door: StartDoor, tmp_path: Path
) -> None:
    ours, theirs = make_identity(tmp_path, "node-7"), make_identity(tmp_path, "stranger")
    door = start_door(ca=str(ours.cert))
    known = door.client()
    known.load_cert_chain(ours.cert, ours.key)
    with door.connect(context=known) as sock:
        sock.sendall(GET)
        assert said(read_all(sock))["peer"] == "node-7"
    foreign = door.client()
    foreign.load_cert_chain(theirs.cert, theirs.key)
    assert not is_answered(door, door.client())
    assert not is_answered(door, foreign)
    log = door.wait_for_log("TLS: PEER_DID_NOT_RETURN_A_CERTIFICATE")
    assert "Traceback" not in log
    assert not is_answered(door, foreign)
    assert not is_answered(door, foreign)
    # What it says of this one comes after what it said of them.
    with door.raw() as sock, suppress(ConnectionError):
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.recv(100)
    log = door.wait_for_log("TLS: HTTP_REQUEST")
    assert log.count("TLS: CERTIFICATE_VERIFY_FAILED: ") == 1
    assert "; perhaps a node that was removed" in log


def is_answered(door: RunningDoor, context: ssl.SSLContext) -> bool:
    try:
        with door.connect(context=context) as sock:
            sock.sendall(GET)
            return read_all(sock) != b""
    except (ssl.SSLError, ConnectionError):
        return False


def test_what_requests_in_the_making_hold_together_is_bounded(start_door: StartDoor) -> None:
    door = start_door(numbers={"buffers": 150_000})
    with ExitStack() as open_ones:
        started = [open_ones.enter_context(door.connect()) for _ in range(4)]
        for sock in started:
            sock.sendall(post(b"x" * 100_000)[:-1])
        door.wait_for_log("requests in the making take too much memory")
        assert [finishes(sock) for sock in started].count(True) <= 1
    assert_serves(door)


def finishes(sock: ssl.SSLSocket) -> bool:
    """Send the last byte of a request; tell whether it is answered."""
    try:
        sock.sendall(b"x")
        return b'"body": 100000' in read_one(sock)
    except OSError:
        return False


def test_a_bad_request_behind_a_good_one_is_refused_after_it(start_door: StartDoor) -> None:
    answer = start_door().ask(KEEP + b"\x00\x01 garbage\r\n\r\n" + GET)
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200", b"400"]


def test_sigterm_lets_a_request_finish_and_ends_with_0(start_door: StartDoor) -> None:
    door = start_door()
    with door.connect() as idle, door.connect() as busy:
        idle.sendall(KEEP)
        read_one(idle)
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        door.process.terminate()
        door.stopped = True
        time.sleep(0.3)  # the signal travels from the arbiter to its worker; nothing outside shows it
        busy.sendall(b"abc")
        answer = read_all(busy)
    assert said(answer)["body"] == 3
    assert b"Connection: close" in answer
    assert door.process.wait(timeout=10) == 0


def test_a_new_certificate_is_taken_up_without_a_restart(start_door: StartDoor, tmp_path: Path) -> None:
    first, second = make_identity(tmp_path, "first"), make_identity(tmp_path, "second")
    door = start_door(cert=str(first.cert), key=str(first.key), seconds={"tls_check": 0})
    assert served_certificate(door) == first.cert.read_text()
    second.key.replace(first.key)
    second.cert.replace(first.cert)
    door.wait_for_log("the TLS files have changed; new connections get the new certificate")
    assert served_certificate(door) == first.cert.read_text()


def served_certificate(door: RunningDoor) -> str:
    return ssl.get_server_certificate(("127.0.0.1", door.port), timeout=10)


def test_a_hundred_clients_at_once_are_all_served(start_door: StartDoor) -> None:
    door = start_door()
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: door.ask(GET, timeout=20), range(100)))
    assert [status_of(answer) for answer in answers] == [200] * 100


def test_a_worker_that_is_stopped_is_replaced(start_door: StartDoor) -> None:
    door = start_door(seconds={"worker_silence": 4})
    assert status_of(door.ask(GET, timeout=60)) == 200
    (worker,) = children_of(door.process.pid)
    os.kill(worker, signal.SIGSTOP)
    door.wait_for_log(f"WORKER TIMEOUT (pid:{worker})", within=60)
    await_pid_end(worker, 60)
    assert status_of(door.ask(GET, timeout=60)) == 200


def test_a_worker_beside_whose_loop_something_stands_still_is_replaced(start_door: StartDoor) -> None:
    door = start_door(seconds={"worker_silence": 4})
    assert status_of(door.ask(GET, timeout=60)) == 200
    (worker,) = children_of(door.process.pid)
    assert status_of(door.ask(GET.replace(b"/here", b"/stand"), timeout=60)) == 200
    door.wait_for_log(f"WORKER TIMEOUT (pid:{worker})", within=60)
    await_pid_end(worker, 60)
    assert status_of(door.ask(GET, timeout=60)) == 200
