"""The hall: one thread with an event loop, in which this worker's connections go on that outlive a request."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.accounts import Accounts, Origin, SignedIn, UserRecord
from controller.audit import AuditLog
from controller.config import Address
from controller.https.kept import Kept
from controller.https.tls_wire import TlsWire
from controller.policy.supervision import HALL_SILENCE, PULSE
from controller.store.interface import Store
from controller.web.hall.attendance import Attendance
from controller.web.hall.end_session import end_session
from controller.web.hall.guest import GOING_AWAY, RESTARTING, Ending, Guest
from controller.web.hall.news import News, Stamps
from controller.web.hall.places import Place, Places
from controller.web.hall.road import Road, RoadError, Traveller
from controller.web.hall.session_ends import SessionEnds
from controller.web.hall.tickets import Tickets
from protocol.decision import Granted, Refused
from protocol.fleet_sessions import SessionEntry
from protocol.names import ClusterName

LOG = logging.getLogger("WEB")
# What is done with a connection in the hall; it ends when this does.
Errand = Callable[[Guest, TlsWire], Awaitable[None]]

_END_SESSION = timedelta(seconds=30)
_STOPPING = Ending(RESTARTING, "the controller is being restarted; connect again in a moment")


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the hall asks of the rest of the controller.

    Attributes:
        door: where the proxy's client door listens.
        authorities: the host CA's public keys, one line each.
        stamps: what of each topic of the pages' news stays equal while nothing changes.
    """

    accounts: Accounts
    audit: AuditLog
    store: Store
    cluster: ClusterName
    door: Callable[[], Address]
    authorities: Callable[[], tuple[str, ...]]
    clock: Callable[[], datetime]
    stamps: Stamps = dict


class Hall:
    """The hall of one process. It may be made before a fork: its thread begins with the first connection."""

    def __init__(self, rooms: Rooms) -> None:
        self.audit = rooms.audit
        self.tickets = Tickets(rooms.store, rooms.clock)
        self.road = Road(rooms.accounts, rooms.door, rooms.cluster, rooms.authorities, rooms.clock)
        self._rooms = rooms
        self.places = Places()
        self._guests: set[Guest] = set()
        self._ends = SessionEnds()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup
        self.news: News
        self._attendance: Attendance
        self._is_stopping = False
        self._beaten = 0.0  # when its loop last said that it turns, by the monotonic clock

    # --- for the worker and the views, in any thread --------------------------------------------------------

    def begin(self) -> None:
        """Begin its thread, in the process that serves: a request need not wait for that, then. Again is no harm."""
        try:
            self._begun()
        except (TimeoutError, RuntimeError) as err:  # the first connection tries again
            LOG.warning("the hall has not begun: %s", type(err).__name__)

    def take(self, kept: Kept, place: Place, token: str, errand: Errand) -> None:
        """Take a connection over, and have `errand` done with it. `token` is the sign-in's."""
        place.is_taken = True
        try:
            self._begun().call_soon_threadsafe(self._enter, kept, place, token, errand)
        except BaseException:
            self.places.release(place)
            raise

    def stop(self, within: float) -> None:
        """End all connections, for the worker stops. Returns at once."""
        with self._lock:
            loop = self._loop
            self._is_stopping = True
        LOG.debug("the hall ends %d connections within %.0f s", len(self._guests), within)
        if loop is not None:
            loop.call_soon_threadsafe(self._dismiss)

    def is_turning(self, silence: timedelta = HALL_SILENCE) -> bool:
        """Tell whether its event loop has turned within `silence`; one that has not begun does not stand either."""
        return self._loop is None or time.monotonic() - self._beaten < silence.total_seconds()

    def end_session(self, entry: SessionEntry, person: UserRecord, origin: Origin) -> Granted[None] | Refused:
        """End a live session for all its parties, as a moderator who joins it would. Blocks, for a bounded time.

        Returns:
            Refused: the person may not join it, the node is not reached, or the session did not end; WS8, at once,
                where so much is being ended already that a request's thread should not wait for it.
        """
        if not entry.may_join:
            return Refused("the session cannot be joined by this person", "A1")
        traveller = Traveller(SignedIn(person.name, person.valid_from), origin)
        with self._ends.one(entry.live.session, person.name) as turn:
            return turn if isinstance(turn, Refused) else self._end_session(entry, traveller)

    def _end_session(self, entry: SessionEntry, traveller: Traveller) -> Granted[None] | Refused:
        loop = self._begun()
        done: Future[Granted[None] | Refused] = asyncio.run_coroutine_threadsafe(
            end_session(self.road, traveller, entry), loop
        )
        try:
            return done.result(_END_SESSION.total_seconds())
        except TimeoutError:
            done.cancel()
            return Refused("the device did not answer in time", "WS7")
        except RoadError as err:
            return Refused(str(err), "WS7")

    async def check_attendance(self, guest: Guest) -> None:
        """Look at once whether somebody in the hall is still signed in."""
        await self._attendance.check_one(guest)

    async def tell_news(self, guest: Guest, wire: TlsWire) -> None:
        """Tell a page what changes: an errand."""
        await self.news.serve(guest, wire)

    # --- in the hall's own thread ---------------------------------------------------------------------------

    def _begun(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                ready: Future[asyncio.AbstractEventLoop] = Future()
                threading.Thread(target=self._run, args=(ready,), name="hall", daemon=True).start()
                self._loop = ready.result(timeout=10)
            return self._loop

    def _run(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        asyncio.run(self._live(ready))

    async def _live(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        self.news = News(self._rooms.stamps)
        self._attendance = Attendance(self._rooms.accounts, self._guests)
        self._beaten = time.monotonic()
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._beat(), name="pulse")
            self._group.create_task(self.news.watch(), name="news")
            self._group.create_task(self._attendance.watch(), name="attendance")
            ready.set_result(asyncio.get_running_loop())

    async def _beat(self) -> None:
        while True:
            self._beaten = time.monotonic()
            await asyncio.sleep(PULSE.total_seconds())

    def _enter(self, kept: Kept, place: Place, token: str, errand: Errand) -> None:
        wire = TlsWire(kept.sock, kept.early, kept.gone)
        guest = Guest(place.kind, place.user, token)
        if self._is_stopping:
            guest.end(_STOPPING)
        self._guests.add(guest)
        self._group.create_task(self._serve(guest, wire, place, errand), name=f"{guest.kind} of {guest.user}")

    async def _serve(self, guest: Guest, wire: TlsWire, place: Place, errand: Errand) -> None:
        try:
            await errand(guest, wire)
        except Exception:
            LOG.exception("a %s of user %s failed", guest.kind, guest.user)
        finally:
            self._guests.discard(guest)
            try:
                await wire.close()
            finally:
                self.places.release(place)

    def _dismiss(self) -> None:
        for guest in self._guests:
            guest.end(_STOPPING if guest.kind == "terminal" else Ending(GOING_AWAY, _STOPPING.text))
