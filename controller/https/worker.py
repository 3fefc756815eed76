"""gunicorn's threaded worker, made to bear slow and hostile peers.

gunicorn gives a thread to a connection as soon as it is accepted, for the TLS handshake and for as long as the
peer takes to send its request: a few hundred peers that send a byte a second hold every thread. Here one
poller does the handshakes and gathers the bytes, without blocking, and a thread gets a request that is there.
What the thread makes of the answer the poller writes, again without blocking: a peer that does not read holds no
thread either, and an address has but a share of them at a time.
A handshake, a request, and a rest between two have one deadline each, counted from its beginning and not from the last
byte. An answer has one that moves on by a grace for each step of bytes that the peer has taken, to some graces ahead at
most: who takes less than a step a grace is gone in the end. Each time that a thread makes some, it has one grace.
Connections are bounded in all and for each address; a newcomer takes the place of whoever has dawdled longest. Those
that the application keeps (`controller.https.kept`) are counted with them, and no more than that.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import selectors
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.workers import gthread

from controller.https.answer import Answer
from controller.https.caller import READING, Caller, Phase
from controller.https.complaints import Complaints
from controller.https.intake import Intake, Progress, Rejected
from controller.https.kept import HandedOver, HandOver, Keeper, Kept, heeding
from controller.https.settings import ServerSettings, TlsFiles
from controller.https.turns import Turns

_READ = 16 * 1024
_READS_PER_TURN = 8
_ACCEPTS_PER_TURN = 64
# Most pages fit into the kernel's buffer: the thread that makes one writes it. What does not fit the poller writes. The
# kernel takes twice as much of its own memory for it, from whoever does not read.
_SEND_BUFFER = 64 * 1024
# For so many graces at once may a peer have taken more: a fast client buffers some MB, and reads them at leisure.
_GRACES_MAX = 5
# Of the threads one address has a quarter at a time, and two where that is less.
_SHARE, _SHARE_MIN = 4, 2
_PARTING = 2.0
_PATIENCE = 1.0
_WAITED = frozenset({Phase.HANDSHAKE, Phase.REQUEST, Phase.WRITING})
_STRANGER = "perhaps a node that was removed, whose certificate has run out, or of another cluster"
# Who is in one of these is not sent away to make room for another.
_BUSY = frozenset({Phase.SERVING, Phase.KEPT})
_PHRASES = {400: "Bad Request", 414: "URI Too Long", 431: "Request Header Fields Too Large", 501: "Not Implemented"}


class PatientWorker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn carries no types
    """A worker whose threads never wait for a peer's request."""

    callers: set[Caller]
    wsgi: Callable[..., Iterable[bytes]]

    def init_process(self) -> None:
        """Read the TLS files, in the process that serves."""
        self.callers = set()
        self.per_address: Counter[str] = Counter()
        self.held = 0
        self.keepers: set[Keeper] = set()
        self.settings: ServerSettings = self.app.settings
        self.tls: TlsFiles = self.app.tls
        self.journal = logging.getLogger(self.settings.name.upper())
        self.complaints = Complaints(self.journal)
        self.turns = Turns(self.settings.threads, max(_SHARE_MIN, self.settings.threads // _SHARE))
        self._tls_stamp = self.tls.stamp()
        self._tls_context = self.tls.context()
        self._tls_checked = time.monotonic()
        super().init_process()

    def notify(self) -> None:
        """Tell the arbiter that this worker turns, unless something that it runs does not: then it is replaced."""
        if self.app.signs.worker_turns():
            super().notify()

    def load_wsgi(self) -> None:
        """Load the application, which may keep connections."""
        super().load_wsgi()
        self.wsgi = heeding(self.wsgi)

    # --- coming in ------------------------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Take in who waits at the door, a bounded number a turn."""
        for _ in range(_ACCEPTS_PER_TURN):
            if self.nr_conns >= self.settings.connections and not self._make_room(None):
                return
            try:
                sock, client = listener.accept()
            except OSError as err:
                if err.errno in {errno.EMFILE, errno.ENFILE}:
                    self._make_room(None)
                return  # nobody left, or the peer has gone already
            self._admit(sock, client, listener.getsockname())

    def _admit(self, sock: socket.socket, client: Any, server: Any) -> None:  # noqa: ANN401 - a socket address
        address = str(client[0]) if client else ""
        if self.per_address[address] >= self.settings.per_address and not self._make_room(address):
            self.complaints.say("%s: more than %d connections; closed", address, self.settings.per_address)
            sock.close()
            return
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            wrapped = self._tls_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except (OSError, ValueError):  # gone between accept and here
            sock.close()
            return
        caller = Caller(wrapped, client, server, self.settings.body_max)
        caller.enter(Phase.HANDSHAKE, self.settings.request_grace.total_seconds())
        self.callers.add(caller)
        self.per_address[address] += 1
        self.nr_conns = len(self.callers)
        self._watch(caller)

    def _make_room(self, address: str | None) -> bool:
        """Close the connection that has waited longest for its peer; tell whether there was one to close."""
        now = time.monotonic()
        if address is None and self.per_address:
            address = self.per_address.most_common(1)[0][0]
        here = [caller for caller in self.callers if caller.address == address and caller.phase not in _BUSY]
        resting = [caller for caller in here if caller.phase in {Phase.IDLE, Phase.PARTING}]
        slow = [caller for caller in here if now - caller.since > _PATIENCE]
        chosen = min(resting or slow, key=lambda caller: caller.since, default=None)
        if chosen is not None:
            self._drop(chosen, "made room for another")
        return chosen is not None

    def _watch(self, caller: Caller, events: int = selectors.EVENT_READ) -> None:
        callback = partial(self._on_ready, caller)
        try:
            self.poller.modify(caller.sock, events, callback)
        except KeyError:
            self.poller.register(caller.sock, events, callback)

    def _on_ready(self, caller: Caller, _sock: object) -> None:
        try:
            self._advance(caller)
        except (ssl.SSLWantReadError, BlockingIOError):
            self._watch(caller)
        except ssl.SSLWantWriteError:
            self._watch(caller, selectors.EVENT_WRITE)
        except ssl.SSLError as err:
            self._complain_of_tls(caller, err)
            self._drop(caller)
        except (OSError, ValueError) as err:
            self._drop(caller, type(err).__name__ if caller.intake.buffer else "")

    def _complain_of_tls(self, caller: Caller, err: ssl.SSLError) -> None:
        """Say it once for each address: who cannot come in tries again and again, such as a node that was removed."""
        reason = err.reason or "broken off"
        subject = f"{caller.address} {reason}"
        if isinstance(err, ssl.SSLCertVerificationError):
            why = f"{err.verify_message}; {_STRANGER}"
            self.complaints.say_once(subject, "%s: TLS: %s: %s", caller.address, reason, why)
        else:
            self.complaints.say_once(subject, "%s: TLS: %s", caller.address, reason)

    def _advance(self, caller: Caller) -> None:
        if caller.phase is Phase.PARTING:
            # Below TLS: what still comes is thrown away.
            if not socket.socket.recv(caller.sock, _READ):
                self._drop(caller)
            return
        if caller.phase is Phase.WRITING:
            self._write(caller)
            return
        if caller.phase is Phase.HANDSHAKE:
            caller.sock.do_handshake()
            caller.phase = Phase.REQUEST  # the same deadline goes on
        for _ in range(_READS_PER_TURN):
            if caller.phase in READING:
                self._take(caller, caller.sock.recv(_READ))
        if caller.phase in READING:
            # TLS may hold bytes that the poller cannot see: this caller's turn comes again after the others'.
            self.method_queue.defer(self._on_ready, caller, None)

    def _take(self, caller: Caller, data: bytes) -> None:
        if not data:
            self._drop(caller, "ended in the middle of a request" if caller.intake.buffer else "")
            return
        if caller.phase is Phase.IDLE:
            caller.enter(Phase.REQUEST, self.settings.request_grace.total_seconds())
        progress = caller.intake.feed(data)
        self._count(caller)
        if isinstance(progress, Rejected):
            self._reject(caller, progress)
        elif progress is Progress.READY:
            self._serve(caller)
        elif progress is Progress.CONTINUE:
            caller.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _count(self, caller: Caller) -> None:
        """Keep what all requests that are not whole hold together within bounds: the largest of them goes."""
        self.held += len(caller.intake.buffer) - caller.held
        caller.held = len(caller.intake.buffer)
        if self.held > self.settings.buffers:
            waiting = [each for each in self.callers if each.phase is Phase.REQUEST and each is not caller]
            largest = max(waiting, key=lambda each: each.held, default=None)
            if largest is not None:
                self._drop(largest, "requests in the making take too much memory")

    def _reject(self, caller: Caller, rejected: Rejected) -> None:
        self.complaints.say("%s: %s", caller.address, rejected.reason)
        with contextlib.suppress(OSError, ValueError):
            caller.sock.send(_plain_answer(rejected.status))
        self._part(caller)

    # --- being served ---------------------------------------------------------------------------------------

    def _serve(self, caller: Caller) -> None:
        caller.parser = RequestParser(self.cfg, caller.sock, caller.client)
        caller.parser.unreader.unread(bytes(caller.intake.buffer))
        caller.enter(Phase.SERVING, math.inf)  # until a thread is free
        self._queue(caller)

    def _queue(self, caller: Caller) -> None:
        """Have a thread begin or go on with an answer, as soon as it is this caller's turn."""
        with contextlib.suppress(KeyError, ValueError):
            self.poller.unregister(caller.sock)
        self.turns.ask(caller)
        self._give_turns()

    def _give_turns(self) -> None:
        while (caller := self.turns.take()) is not None:
            future = self.tpool.submit(self.handle, caller)
            future.add_done_callback(partial(self.method_queue.defer, self._served, caller))

    def handle(self, conn: Caller) -> HandOver | None:
        """Begin an answer or go on with it, in a thread, and write what can be written at once."""
        answer = conn.answer
        conn.bound(time.monotonic() + self.settings.answer_grace.total_seconds())
        try:
            if answer is None:
                conn.earned = conn.deadline
                conn.sock.settimeout(self.settings.request_grace.total_seconds())
                answer = conn.answer = Answer()
                self._begin(conn, answer)
            else:
                answer.go_on()
            conn.sock.setblocking(False)
            with contextlib.suppress(ssl.SSLWantWriteError):
                while answer.write(conn.sock):
                    pass
        except HandedOver as handed:
            return handed.hand_over
        except (OSError, ValueError) as err:  # ValueError: the poller has shut the socket meanwhile
            self.complaints.say("%s: broken off while it was answered: %s", conn.address, type(err).__name__)
            if answer is not None:
                answer.give_up()
        except Exception:
            self.log.exception("an answer failed on its way")
            if answer is not None:
                answer.cut_off()
        return None

    def _begin(self, conn: Caller, answer: Answer) -> None:
        """Parse a request and have the application answer it, as far as is to be written now."""
        request = None
        try:
            request = next(conn.parser)
            response, environ = wsgi.create(request, answer, conn.client, conn.server, self.cfg)
            environ |= {"wsgi.multithread": True, "gunicorn.socket": conn.sock}
            if not self.alive:
                response.force_close()
            answer.begin(response, self.wsgi(environ, response.start_response))
            answer.go_on()
            answer.keeps = not response.should_close() and _is_done(conn)
        except (StopIteration, NoMoreData):
            self.log.debug("%s: ended in the middle of a request", conn.address)
            answer.cut_off()
        except HandedOver as handed:
            if _is_done(conn):
                raise
            del handed
            answer.cut_off()
        except (OSError, ValueError):
            raise
        except Exception as err:
            if answer.response is not None and answer.response.headers_sent:
                raise
            answer.cut_off()
            self.handle_error(request, answer, conn.client, err)

    def handle_error(self, req: object, client: Answer, addr: Any, exc: Exception) -> None:  # noqa: ANN401 - gunicorn's signature
        """Answer what the parser refused, or a fault of ours. The path is not logged: it may hold a token."""
        theirs = isinstance(exc, ParseException)
        status = _status_of(exc) if theirs else 500
        if theirs:
            self.complaints.say("%s: not a good request: %s", addr[0] if addr else "", type(exc).__name__)
        else:
            self.log.error("a request failed outside the application", exc_info=exc)
        client.sendall(_plain_answer(status))
        del req

    def _served(self, caller: Caller, done: Future[HandOver | None]) -> None:
        """Take a connection back from the thread that had it."""
        self.turns.give_back(caller)
        self._give_turns()
        answer = caller.answer
        if caller not in self.callers or answer is None or done.cancelled():
            if answer is not None:
                answer.close()
            return
        if caller.parser is not None:
            caller.early = caller.parser.unreader.take_buffered()
            caller.parser, caller.intake = None, Intake(self.settings.body_max)
            self._count(caller)
        caller.deadline = caller.earned
        self._note_taken(caller, answer)
        hand_over = done.result() if done.exception() is None else None
        if hand_over is not None:
            self._hand_over(caller, hand_over)
        elif answer.size:
            caller.enter(Phase.WRITING, caller.deadline - time.monotonic())
            self._watch(caller, selectors.EVENT_WRITE)
            self._bound_answers()
        else:
            self._written(caller, answer)

    def _bound_answers(self) -> None:
        """Keep what all answers that are not read hold together within bounds: who has not read for longest goes."""
        writing = [each for each in self.callers if each.phase is Phase.WRITING]
        total = sum(each.unread for each in writing)
        if total <= self.settings.buffers:
            return
        for caller in sorted(writing, key=lambda each: each.since):
            total -= caller.unread
            self._drop(caller, "answers that are not read take too much memory")
            if total <= self.settings.buffers:
                return

    def _write(self, caller: Caller) -> None:
        answer = caller.answer
        if answer is None:
            return
        before = answer.size
        try:
            answer.write(caller.sock)
        finally:
            if answer.size < before:
                caller.since = time.monotonic()  # it reads
                self._note_taken(caller, answer)
        if answer.size:
            self._watch(caller, selectors.EVENT_WRITE)
        else:
            self._written(caller, answer)

    def _note_taken(self, caller: Caller, answer: Answer) -> None:
        """Give a peer more time for what it has taken: it may have buffered at once what it reads little by little."""
        now, grace = time.monotonic(), self.settings.answer_grace.total_seconds()
        steps = answer.count_taken(self.settings.answer_step)
        if steps:
            caller.deadline = min(max(caller.deadline, now) + steps * grace, now + _GRACES_MAX * grace)

    def _written(self, caller: Caller, answer: Answer) -> None:
        """Go on where all that was made of an answer is written: with more of it, the next request, or the end."""
        if not answer.is_made:
            caller.phase = Phase.SERVING  # the same deadline goes on
            self._queue(caller)
            return
        early, caller.early, caller.answer = caller.early, b"", None
        if not answer.keeps:
            self._part(caller)
            return
        try:
            caller.sock.setblocking(False)
            caller.enter(Phase.IDLE, self.settings.keepalive.total_seconds() if self.alive else _PARTING)
            self._watch(caller)
            if early:
                self._take(caller, early)
        except (OSError, ValueError):
            self._drop(caller)
            return
        if caller.phase in READING:
            self._on_ready(caller, None)

    def _hand_over(self, caller: Caller, answer: HandOver) -> None:
        """Give the connection to the application: it is left alone until that says that it is gone."""
        early, caller.early, caller.answer = caller.early, b"", None
        caller.enter(Phase.KEPT, math.inf)
        self.keepers.add(answer.keeper)
        try:
            caller.sock.setblocking(False)
        except (OSError, ValueError):
            self._drop(caller)
            return
        try:
            answer.take(Kept(caller.sock, caller.address, early, partial(self.method_queue.defer, self._drop, caller)))
        except Exception:  # noqa: BLE001 - whatever the application's fault, the worker lives
            self.journal.exception("%s: a connection that was to be kept is closed", caller.address)
            self._drop(caller)
            return
        if not self.alive:
            answer.keeper.stop(self.settings.stop_grace.total_seconds())

    # --- going out ------------------------------------------------------------------------------------------

    def _part(self, caller: Caller) -> None:
        """End our side and wait a little for the peer's, so that no reset destroys the answer on its way."""
        caller.enter(Phase.PARTING, _PARTING)
        caller.intake = Intake()
        self._count(caller)
        try:
            caller.sock.setblocking(False)
            with contextlib.suppress(ssl.SSLError, OSError, ValueError):
                caller.sock.unwrap()  # sends close_notify; does not wait for the peer's
            socket.socket.shutdown(caller.sock, socket.SHUT_WR)
            self._watch(caller)
        except (OSError, ValueError):
            self._drop(caller)

    def _drop(self, caller: Caller, why: str = "") -> None:
        if why:
            self.complaints.say("%s: closed while it waited for %s: %s", caller.address, caller.phase.value, why)
        with contextlib.suppress(KeyError, ValueError):
            self.poller.unregister(caller.sock)
        with contextlib.suppress(OSError):
            caller.sock.close()
        if caller.answer is not None and caller.phase is not Phase.SERVING:  # then a thread has it
            caller.answer.close()
        if caller in self.callers:
            caller.phase = Phase.GONE
            self.callers.discard(caller)
            self.held -= caller.held
            self.per_address[caller.address] -= 1
            self.per_address += Counter()  # forgets those at nought
        self.nr_conns = len(self.callers)

    def murder_pending(self) -> None:
        """Close whoever is past the deadline. gunicorn's loop calls this at least once a second."""
        now = time.monotonic()
        for caller in [caller for caller in self.callers if caller.deadline < now]:
            if caller.phase is Phase.SERVING:
                # The thread that serves it, or will, is told by its next read or write, and then hands the socket back.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(caller.sock, socket.SHUT_RDWR)
            elif caller.phase is Phase.REQUEST and not caller.intake.buffer:
                # A browser connects ahead of what it may yet ask for, and often asks for nothing.
                self.journal.debug("%s: closed: it asked for nothing", caller.address)
                self._drop(caller)
            else:
                waited = caller.phase in _WAITED
                self._drop(caller, "too slow" if waited else "")
        self._renew_tls(now)

    def _renew_tls(self, now: float) -> None:
        if now - self._tls_checked < self.settings.tls_check.total_seconds():
            return
        self._tls_checked = now
        stamp = self.tls.stamp()
        if stamp == self._tls_stamp:
            return
        self._tls_stamp = stamp
        try:
            self._tls_context = self.tls.context()
        except (OSError, ValueError) as err:
            self.journal.warning("the TLS files have changed and cannot be read; serving with the old ones: %s", err)
        else:
            self.journal.info("the TLS files have changed; new connections get the new certificate")

    def murder_keepalived(self, force: bool = False) -> None:
        """Close everything when the worker ends; in between, `murder_pending` does."""
        if force:
            for caller in list(self.callers):
                self._drop(caller)

    def _cap_keepalive(self, deadline: float) -> None:
        """Begin to end: gunicorn's loop calls this once, when the worker stops."""
        for caller in self.callers:
            if caller.phase not in _BUSY and caller.phase is not Phase.WRITING:
                caller.deadline = min(caller.deadline, deadline)
        for keeper in self.keepers:
            keeper.stop(self.settings.stop_grace.total_seconds())


def _is_done(conn: Caller) -> bool:
    """Tell whether the request is wholly read: what follows on the connection is no part of it."""
    return conn.intake.whole and bool(conn.parser.finish_body(deadline=time.monotonic() + 1))


def _status_of(error: Exception) -> int:
    return cast("dict[str, int]", {"LimitRequestLine": 414, "LimitRequestHeaders": 431}).get(type(error).__name__, 400)


def _plain_answer(status: int) -> bytes:
    phrase = _PHRASES.get(status, "Internal Server Error")
    body = f"{phrase}\n"
    return (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
