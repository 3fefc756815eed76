"""Who may wait at a door of the proxy until they have proved who they are, and whose turn it is.

A fleet that comes back all at once wants a thousand handshakes in the same second, and each costs the processor
milliseconds. Were all of them begun, none would end before the devices lose patience, and all the work would be for
nothing. So a few at a time have their turn, in the order in which they came; of the others nothing is read yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh

from controller.https.complaints import Complaints
from controller.throttle import network_of
from protocol import limits

# An honest peer has authenticated so long after its turn, also over a slow radio link; over one by satellite, later.
_PATIENCE = 3.0
_LONG_PATIENCE = 6.0
# So many have their turn at once. It is over when they are in, or after so many seconds in which we waited for them:
# whoever is slow goes on beside the others.
_TURNS = 32
_TURN = 0.25
# A timer that is so late says that we were busy.
_BUSY = 0.05


@dataclass(slots=True, eq=False)
class _Seat:
    """One guest's place.

    Attributes:
        network: where they come from.
        begin: has them served.
        vacate: is how to be rid of them.
        begun: since when they are served; None before that.
        idle: since when their turn is over, though they are not in; None where it is not.
    """

    network: str
    begin: Callable[[], None]
    vacate: Callable[[], None]
    begun: float | None = None
    idle: float | None = None


class Lobby:
    """Everyone who is connected to one door. Those not authenticated yet are bounded, in all and for each network.

    A newcomer to a full lobby takes the place of whoever has waited longest, among the guests of the network that
    holds most places. Where no network holds more than its own would then, as when a whole fleet comes back, only a
    guest who dawdles makes room: nobody's handshake is broken off for the next one's. A network that has used up its
    own share, too, gets a place back only from a guest of its own who dawdles: devices behind one address that come
    back all at once do not cut each other off.
    """

    def __init__(
        self,
        log: logging.Logger,
        limit: int = limits.UNAUTHENTICATED_CONNECTIONS,
        share: int = limits.UNAUTHENTICATED_PER_NETWORK,
    ) -> None:
        self.complaints = Complaints(log)
        self._limit = limit
        self._share = share
        self._waiting: dict[asyncssh.SSHServerConnection, _Seat] = {}  # who has waited longest comes first
        self._queue: dict[asyncssh.SSHServerConnection, _Seat] = {}  # those of them who have not had their turn
        self._turns: set[asyncssh.SSHServerConnection] = set()
        self._crowds: Counter[str] = Counter()
        self._inside: set[asyncssh.SSHServerConnection] = set()

    def enter(
        self, guest: asyncssh.SSHServerConnection, host: str, *, begin: Callable[[], None], vacate: Callable[[], None]
    ) -> bool:
        """Take a guest in; False where there is no room.

        Args:
            guest: nothing of whom is to be read until `begin` is called, which may be at once.
            host: the address that they come from.
            begin: serves the guest.
            vacate: is called where the guest has to go.
        """
        network = network_of(host)
        if self._crowds[network] >= self._share and not self._vacate(self._dawdler(_PATIENCE, network)):
            return False
        if len(self._waiting) >= self._limit and not self._vacate(self._who_goes(network)):
            return False
        self._waiting[guest] = self._queue[guest] = _Seat(network, begin, vacate)
        self._crowds[network] += 1
        self._call()
        return True

    def admit(self, guest: asyncssh.SSHServerConnection) -> None:
        """Let a guest on, who has authenticated."""
        self._stand_up(guest)
        self._inside.add(guest)

    def leave(self, guest: asyncssh.SSHServerConnection) -> None:
        """Forget a guest, who is gone."""
        self._stand_up(guest)
        self._inside.discard(guest)

    def clear(self, reason: str) -> None:
        """Disconnect everyone; whoever speaks SSH already is told `reason`.

        Not "by application": with that code asyncssh, at the other end, keeps the reason to itself.
        """
        for guest in {*self._waiting, *self._inside}:
            guest.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, reason)

    # --- room ---------------------------------------------------------------------------------------------------------

    def _who_goes(self, network: str) -> asyncssh.SSHServerConnection | None:
        """Return who makes room for a newcomer from `network`; None where nobody has to."""
        first = max(self._waiting, key=lambda guest: self._crowds[self._waiting[guest].network])
        if self._crowds[self._waiting[first].network] > self._crowds[network] + 1:
            return first
        return self._dawdler(_LONG_PATIENCE)

    def _dawdler(self, patience: float, network: str | None = None) -> asyncssh.SSHServerConnection | None:
        """Return who is not in so many seconds after their turn, of one network or of all; None where all are."""
        now = asyncio.get_running_loop().time()
        for guest, seat in self._waiting.items():
            if seat.idle is not None and now - seat.idle >= patience and network in (None, seat.network):
                return guest
        return None

    def _vacate(self, guest: asyncssh.SSHServerConnection | None) -> bool:
        if guest is None:
            return False
        seat = self._waiting[guest]
        self._stand_up(guest)
        seat.vacate()
        return True

    def _stand_up(self, guest: asyncssh.SSHServerConnection) -> None:
        seat = self._waiting.pop(guest, None)
        if seat is None:
            return
        self._queue.pop(guest, None)
        self._turns.discard(guest)
        self._crowds[seat.network] -= 1
        if not self._crowds[seat.network]:
            del self._crowds[seat.network]
        self._call()

    # --- turns --------------------------------------------------------------------------------------------------------

    def _call(self) -> None:
        """Serve who has waited longest, for as long as there is a turn to be had."""
        loop = asyncio.get_running_loop()
        while self._queue and len(self._turns) < _TURNS:
            guest = next(iter(self._queue))
            seat = self._queue.pop(guest)
            self._turns.add(guest)
            seat.begun = loop.time()
            loop.call_later(_TURN, self._look, guest, seat, seat.begun + _TURN)
            seat.begin()

    def _look(self, guest: asyncssh.SSHServerConnection, seat: _Seat, due: float) -> None:
        """End a guest's turn, unless it was we who kept the guest waiting."""
        if guest not in self._turns or seat.begun is None:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - due > _BUSY and now - seat.begun < _PATIENCE:
            loop.call_later(_TURN, self._look, guest, seat, now + _TURN)
            return
        self._turns.discard(guest)
        seat.idle = now
        self._call()
