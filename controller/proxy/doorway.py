"""What both SSH doors of the proxy have in common: settings, the certificate gate, and who may wait in front."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import asyncssh

from controller.authority import AuthorityError
from controller.https.complaints import Complaints
from controller.proxy.errand import Errands
from controller.store.interface import StoreError
from controller.throttle import network_of
from protocol import limits
from protocol.addresses import join_address
from protocol.certificates import SshCertificate
from protocol.decision import Granted, Refused
from protocol.ssh.gate import Gate
from protocol.ssh.packets import hasten

I = TypeVar("I")  # noqa: E741 - the identity a door establishes
LOG = logging.getLogger("PROXY")
# An honest peer has authenticated by then, also over a slow radio link.
_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class _Seat:
    """One guest's place in the lobby: where they come from, since when they wait, and how to be rid of them."""

    network: str
    since: float
    vacate: Callable[[], None]


class Lobby:
    """Everyone who is connected to one door. Those not authenticated yet are bounded, in all and for each network.

    A newcomer to a full lobby takes the place of whoever has waited longest, among the guests of the network
    that holds most places. A network that has used up its own share gets a place back only from a guest of
    its own who dawdles: devices behind one address that come back all at once do not cut each other off.
    """

    def __init__(
        self, limit: int = limits.UNAUTHENTICATED_CONNECTIONS, share: int = limits.UNAUTHENTICATED_PER_NETWORK
    ) -> None:
        self.complaints = Complaints(LOG)
        self._limit = limit
        self._share = share
        self._waiting: dict[asyncssh.SSHServerConnection, _Seat] = {}  # who has waited longest comes first
        self._crowds: Counter[str] = Counter()
        self._inside: set[asyncssh.SSHServerConnection] = set()

    def enter(self, guest: asyncssh.SSHServerConnection, host: str, vacate: Callable[[], None]) -> bool:
        """Take a guest in, who is to go when `vacate` is called; False where there is no room."""
        network, now = network_of(host), time.monotonic()
        if self._crowds[network] >= self._share and not self._rid_of_dawdler(network, now):
            return False
        if len(self._waiting) >= self._limit:
            self._vacate(max(self._waiting, key=lambda each: self._crowds[self._waiting[each].network]))
        self._waiting[guest] = _Seat(network, now, vacate)
        self._crowds[network] += 1
        return True

    def admit(self, guest: asyncssh.SSHServerConnection) -> None:
        """Let a guest on, who has authenticated."""
        self._stand_up(guest)
        self._inside.add(guest)

    def leave(self, guest: asyncssh.SSHServerConnection) -> None:
        """Forget a guest, who is gone."""
        self._stand_up(guest)
        self._inside.discard(guest)

    def _rid_of_dawdler(self, network: str, now: float) -> bool:
        first = next((guest for guest, seat in self._waiting.items() if seat.network == network), None)
        if first is None or now - self._waiting[first].since < _PATIENCE:
            return False
        self._vacate(first)
        return True

    def _vacate(self, guest: asyncssh.SSHServerConnection) -> None:
        seat = self._waiting[guest]
        self._stand_up(guest)
        seat.vacate()

    def _stand_up(self, guest: asyncssh.SSHServerConnection) -> None:
        seat = self._waiting.pop(guest, None)
        if seat is not None:
            self._crowds[seat.network] -= 1
            if not self._crowds[seat.network]:
                del self._crowds[seat.network]

    def clear(self, reason: str) -> None:
        """Disconnect everyone; whoever speaks SSH already is told `reason`.

        Not "by application": with that code asyncssh, at the other end, keeps the reason to itself.
        """
        for guest in {*self._waiting, *self._inside}:
            guest.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, reason)


class Doorway(asyncssh.SSHServer, Generic[I]):
    """One connection to a door, from its first byte until it has proved who it is.

    A subclass says how to judge a certificate and what happens afterwards.
    """

    door = "ssh"

    def __init__(self, lobby: Lobby, errands: Errands, clock: Callable[[], datetime]) -> None:
        self._lobby = lobby
        self._errands = errands
        self._clock = clock
        self._gate: Gate[I] = Gate(self._judge)
        self._username = ""
        self._turned_away = ""
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
        if not self._lobby.enter(conn, str(peer[0]), lambda: self._turn_away("it made room for another")):
            self._turn_away("too many unauthenticated connections from there")
            return
        hasten(conn)
        self._gate.guard(conn)

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
        self.admitted(identity)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tidy up; a refusal that is not reported yet is audited, anything else that never authenticated is logged."""
        self._lobby.leave(self.connection)
        if self._gate.identity is not None:
            self.left(self._gate.identity)
        elif self._turned_away:
            self._lobby.complaints.say("%s door: %s turned away: %s", self.door, self.address, self._turned_away)
        elif self._gate.refused is not None:
            self._audit_refusal(self._gate.refused)
        else:
            reason = str(exc) or type(exc).__name__ if exc else "it closed the connection"
            words = (self.door, self.address, reason[:200])
            self._lobby.complaints.say("%s door: %s did not authenticate: %s", *words, level=logging.INFO)

    def _audit_refusal(self, refused: Refused) -> None:
        self._lobby.complaints.say("%s door: %s refused: %s", self.door, self.address, refused.reason)
        self._errands.auth_failed(self.door, self.address, self._username, refused)
