"""The pages' news as server-sent events (HTML standard, section 9.2): that something has changed, not what.

One look a second for all of a worker's streams together, and none while nobody listens. A page that is told asks for
what it shows, as the person it is of: so nothing is told here that somebody may not see.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from controller.https.tls_wire import TlsWire
from controller.web.hall.guest import Guest

LOG = logging.getLogger("WEB")
TOPICS = ("nodes", "sessions", "recordings", "audit")
# What of each topic stays equal for as long as nothing changes; it may block, and may fail.
Stamps = Callable[[], Mapping[str, object]]

_LOOK = timedelta(seconds=1)
_HEARTBEAT = timedelta(seconds=15)
_BEHIND_MAX = 64 * 1024
# A page that is told that its sign-in has ended asks for nothing more.
_ENDED = b"event: ended\ndata: {}\n\n"


class News:
    """Looks for changes, and tells the streams."""

    def __init__(self, stamps: Stamps) -> None:
        self._stamps = stamps
        self._listeners: set[_Listener] = set()
        self._known: Mapping[str, object] = {}
        self._begun = asyncio.Event()

    async def watch(self) -> None:
        """Look once a second while somebody listens; until cancelled."""
        while True:
            await self._begun.wait()
            await self._look()
            await asyncio.sleep(_LOOK.total_seconds())
            if not self._listeners:
                self._begun.clear()

    async def serve(self, guest: Guest, wire: TlsWire) -> None:
        """Tell one page until it is gone, its sign-in ends or the hall does."""
        listener = _Listener()
        if not self._known:
            await self._look()  # or what changes before the first look would never be told
        self._listeners.add(listener)
        listener.hear(set(TOPICS))  # what changed between the page's own answer and now, nobody has told it
        self._begun.set()
        wire.write(b": Skerry\n\n")
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(_tell(listener, wire), name="telling")
                leaving = group.create_task(_until_gone(wire), name="leaving")
                waited: set[asyncio.Future[Any]] = {telling, leaving, guest.ending}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                telling.cancel()
                leaving.cancel()
        finally:
            self._listeners.discard(listener)
        if guest.ending.done():
            wire.write(_ENDED if guest.ending.result().code >= 4000 else b"")

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(self._stamps)
        except Exception as err:  # noqa: BLE001 - records that cannot be read now; the pages say so themselves
            LOG.debug("the pages' news: %s", err)
            return
        changed = {topic for topic, stamp in found.items() if self._known and self._known.get(topic) != stamp}
        self._known = found
        for listener in self._listeners if changed else ():
            listener.hear(changed)


class _Listener:
    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._woken = asyncio.Event()

    def hear(self, changed: set[str]) -> None:
        self._changed |= changed
        self._woken.set()

    async def next(self) -> bytes:
        """Return what there is to say: events, or a sign of life after a while without any."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEARTBEAT.total_seconds()):
                await self._woken.wait()
        self._woken.clear()
        changed, self._changed = sorted(self._changed), set()
        return b"".join(b"event: %s\ndata: {}\n\n" % topic.encode() for topic in changed) or b": here\n\n"


async def _tell(listener: _Listener, wire: TlsWire) -> None:
    while not wire.is_lost and wire.waiting < _BEHIND_MAX:
        wire.write(await listener.next())


async def _until_gone(wire: TlsWire) -> None:
    while await wire.read():
        pass  # a page has nothing to say on this connection
