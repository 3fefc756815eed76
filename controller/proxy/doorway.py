"""What both SSH doors of the proxy have in common: the certificate gate, and what goes before it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

import asyncssh

from controller.authority import AuthorityError
from controller.proxy.errand import Errands
from controller.proxy.lobby import Lobby
from controller.store.interface import StoreError
from protocol.addresses import join_address
from protocol.certificates import SshCertificate
from protocol.decision import Granted, Refused
from protocol.locks import Lock, describe_lock
from protocol.ssh.gate import Gate
from protocol.ssh.packets import hasten

I = TypeVar("I")  # noqa: E741 - the identity a door establishes
LOG = logging.getLogger("PROXY")


class Doorway(asyncssh.SSHServer, Generic[I]):
    """One connection to a door, from its first byte until it has proved who it is.

    A subclass says how to judge a certificate and what happens afterwards.
    """

    door = "ssh"
    lock_check = "X1"

    def __init__(self, lobby: Lobby, errands: Errands, clock: Callable[[], datetime]) -> None:
        self._lobby = lobby
        self._errands = errands
        self._clock = clock
        self._gate: Gate[I] = Gate(self._judge)
        self._username = ""
        self._turned_away = ""
        self._has_begun = False
        self.is_turned_back = False
        self.address = ""
        self.connection: asyncssh.SSHServerConnection

    def judge(self, certificate: SshCertificate, username: str) -> Granted[I] | Refused:
        """Judge what the peer authenticates with."""
        raise NotImplementedError

    def _judge(self, certificate: SshCertificate, username: str) -> Granted[I] | Refused:
        try:
            return self.judge(certificate, username)
        except (StoreError, AuthorityError) as err:
            LOG.error("%s door: %s cannot be judged: %s", self.door, self.address, err)  # noqa: TRY400 - one line
            return Refused("the controller could not read its own records", "P0")

    def bar(self, identity: I) -> Lock | None:  # noqa: ARG002 - a subclass's to say
        """Return the lock that keeps out a peer that has proved who it is. May raise `StoreError`."""
        return None

    def is_worth_telling(self, identity: I, lock: Lock) -> bool:  # noqa: ARG002 - the same
        """Tell whether the audit log is to know that a lock has turned this peer back."""
        return True

    def admitted(self, identity: I) -> None:
        """Go on with a peer that has proved who it is."""

    def left(self, identity: I) -> None:
        """Tidy up after such a peer."""

    @property
    def identity(self) -> I | None:
        """Who the peer has proved to be."""
        return self._gate.identity

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Guard the connection, or turn it away where too many are waiting."""
        self.connection = conn
        peer: Any = conn.get_extra_info("peername") or ("", 0)
        self.address = join_address(str(peer[0]), int(peer[1]))
        hasten(conn)
        self._gate.guard(conn)
        # Nothing is read of a guest, and no work begun, before it is their turn.
        transport: asyncio.Transport = conn._transport  # type: ignore[assignment]  # noqa: SLF001 - as it is while a connection is made; the library lends no other hold on it
        make_room = partial(self._turn_away, "it made room for another")
        begin = partial(self._begin, transport)
        if not self._lobby.enter(conn, str(peer[0]), begin=begin, vacate=make_room):
            self._turn_away("too many unauthenticated connections from there or in all")
        # Not at once: Python 3.11.2, which is Debian 12's, overlooks that a transport is to wait before it has begun to
        # read. This comes after it has begun, and before it has read.
        asyncio.get_running_loop().call_soon(self._wait, transport)

    def _begin(self, transport: asyncio.Transport) -> None:
        self._has_begun = True
        transport.resume_reading()

    def _wait(self, transport: asyncio.Transport) -> None:
        if not self._has_begun and not transport.is_closing():
            transport.pause_reading()

    def _turn_away(self, reason: str) -> None:
        self._turned_away = reason
        self.connection.abort()

    def begin_auth(self, username: str) -> bool:
        """Demand authentication of everyone."""
        self._username = username[:100]
        return True

    def public_key_auth_supported(self) -> bool:
        """Offer public keys, and nothing else: the gate takes certificates."""
        return True

    def auth_completed(self) -> None:
        """Let the peer through the gate."""
        self._lobby.admit(self.connection)
        identity = self._gate.identity
        if identity is None:  # cannot be: the library says so only after the gate did
            self.connection.abort()
            return
        if self._gate.refused is not None:
            self._audit_refusal(self._gate.refused)
        if not self._is_barred(identity):
            self.admitted(identity)

    def _is_barred(self, identity: I) -> bool:
        """Turn back a peer on which a lock is. It has proved who it is: it is told why."""
        try:
            lock = self.bar(identity)
        except StoreError as err:
            LOG.error("%s door: %s cannot be judged: %s", self.door, self.address, err)  # noqa: TRY400 - one line
            self._say_goodbye("the controller cannot read its records now: try again in a moment")
            return True
        if lock is None:
            return False
        if self.is_worth_telling(identity, lock):
            self._audit_refusal(Refused(describe_lock(lock), self.lock_check))
        self._say_goodbye(describe_lock(lock))
        return True

    def _say_goodbye(self, reason: str) -> None:
        self.is_turned_back = True
        # Not "by application": see `Lobby.clear`.
        self.connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tidy up; a refusal that is not reported yet is audited, anything else that never authenticated is logged."""
        self._lobby.leave(self.connection)
        if self._gate.identity is not None:
            self.left(self._gate.identity)
        elif self._turned_away:
            self._lobby.complaints.say("%s door: %s turned away: %s", self.door, self.address, self._turned_away)
        elif self._gate.refused is not None:
            self._audit_refusal(self._gate.refused)
        elif self._said_nothing(exc):
            LOG.debug("%s door: %s came, said nothing and left", self.door, self.address)
        else:
            reason = str(exc) or type(exc).__name__ if exc else "it closed the connection"
            words = (self.door, self.address, reason[:200])
            self._lobby.complaints.say("%s door: %s did not authenticate: %s", *words, level=logging.INFO)

    def _said_nothing(self, exc: Exception | None) -> bool:
        """Tell whether the peer has left without a word, as a probe does that asks whether the door is open."""
        has_left = exc is None or isinstance(exc, OSError | asyncssh.ConnectionLost)
        return has_left and self.connection.get_extra_info("client_version") is None

    def _audit_refusal(self, refused: Refused) -> None:
        self._lobby.complaints.say("%s door: %s refused: %s", self.door, self.address, refused.reason)
        self._errands.auth_failed(self.door, self.address, self._username, refused)
