"""What the presence process knows, as the controller's other processes see it: asked once, or followed.

Where it does not answer, or has lost the broker, nothing that was known counts as the present: every node is stale.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from controller.policy.liveness import UNSEEN, BrokerHealth, Standing
from controller.presence.caller import Lines, connect
from controller.presence.wire import HEALTH, ONCE, News, WireError
from protocol.names import NodeId

_PATIENCE = timedelta(seconds=2)
# A process that follows hears something at least so often, or takes the presence process for dead.
FOLLOW_PATIENCE = timedelta(seconds=10)
_RETRY = timedelta(seconds=1)
# What was asked once is good for so long: a page and its parts ask within one moment.
_FRESH = timedelta(seconds=1)
_AWAY = "the presence process does not answer"
_NO_BROKER = "this controller has no broker"


@dataclass(frozen=True, slots=True)
class View:
    """What is known at one moment. The same object for as long as nothing changes.

    Attributes:
        standings: of every node that was ever heard of.
        otherwise: the standing of any other node.
    """

    standings: Mapping[NodeId, Standing]
    health: BrokerHealth
    otherwise: Standing = UNSEEN

    def of(self, node_id: NodeId) -> Standing:
        """Return the standing of a node."""
        return self.standings.get(node_id, self.otherwise)


NO_VIEW = View({}, BrokerHealth(is_up=False, reason=_NO_BROKER))


def view_of(standings: Mapping[NodeId, Standing], health: BrokerHealth) -> View:
    """Return the view: as it was told where the broker is up, and else everybody stale."""
    if health.is_up:
        return View(standings, health)
    stale = {key: replace(each, presence="stale", reason=health.reason) for key, each in standings.items()}
    return View(stale, health, Standing("stale", health.since, None, health.reason))


class Mirror:
    """The presence process's view, in another process. Its methods block, and may be called by any thread.

    Args:
        data_dir: the controller's.
        clock: the time, UTC.
        has_broker: whether this controller has one at all; where not, nothing is known of any node, and nothing asked.
    """

    def __init__(self, data_dir: Path, clock: Callable[[], datetime], *, has_broker: bool = True) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._has_broker = has_broker
        self._lock = threading.Lock()
        self._view: View | None = None
        self._asked: float | None = None
        self._is_to_follow = False
        self._following: int | None = None  # the process that the follower belongs to

    def standings(self) -> Mapping[NodeId, Standing]:
        """Return the standing of every node that was ever heard of."""
        return self.view().standings

    @property
    def health(self) -> BrokerHealth:
        """Whether what is known is up to date."""
        return self.view().health

    def view(self) -> View:
        """Return what is known, asking the presence process where it is not followed. Raises nothing."""
        if not self._has_broker:
            return NO_VIEW
        if self._following == os.getpid() and (followed := self._view) is not None:
            return followed
        with self._lock:
            view = self._view
            if self._is_to_follow:
                return self._begin(view)
            is_fresh = self._asked is not None and time.monotonic() - self._asked < _FRESH.total_seconds()
            if view is not None and is_fresh:
                return view
            self._view = view = self._ask(view)
            self._asked = time.monotonic()
        return view

    def ask_health(self) -> BrokerHealth:
        """Return whether what is known is up to date, as the presence process says now: without all that is known."""
        if not self._has_broker:
            return NO_VIEW.health
        try:
            return self._question(HEALTH).broker
        except (OSError, WireError) as err:
            return BrokerHealth(is_up=False, reason=f"{_AWAY} ({_words(err)})")

    def follow(self) -> None:
        """Keep a live copy from the next question on, in a thread: for a process that goes on.

        A process that is forked from this one follows for itself as soon as it asks.
        """
        self._is_to_follow = self._has_broker

    def _begin(self, before: View | None) -> View:
        if self._following == os.getpid() and self._view is not None:
            return self._view  # another thread was quicker
        self._view = view = self._ask(before)
        threading.Thread(target=self._follow, name="presence", daemon=True).start()
        self._following = os.getpid()
        return view

    # --- asking once --------------------------------------------------------------------------------------------

    def _ask(self, before: View | None) -> View:
        try:
            news = self._question(ONCE)
        except (OSError, WireError) as err:
            return self._away(before, err)
        return view_of(_known(news.standings), news.broker)

    def _question(self, words: bytes) -> News:
        with connect(self._data_dir, _PATIENCE) as sock:
            sock.sendall(words)
            return News.decode(Lines(sock, _PATIENCE).next())

    def _away(self, before: View | None, err: Exception) -> View:
        # Who asks for the first time does not know since when there is no answer.
        since = None if before is None else before.health.since if not before.health.is_up else self._clock()
        reason = f"{_AWAY} ({_words(err)})"
        return view_of(
            {} if before is None else before.standings, BrokerHealth(is_up=False, since=since, reason=reason)
        )

    # --- following ----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        while True:
            try:
                with connect(self._data_dir, _PATIENCE) as sock:
                    sock.sendall(b"{}\n")
                    self._listen(Lines(sock, FOLLOW_PATIENCE))
            except (OSError, WireError) as err:
                self._set(self._away(self._view, err))
            time.sleep(_RETRY.total_seconds())

    def _listen(self, lines: Lines) -> None:
        known: dict[NodeId, Standing] = {}
        while True:
            news = News.decode(lines.next())
            if news.word == "snapshot":
                known = _known(news.standings)
            elif news.standings:
                known = _known({**known, **news.standings})
            elif self._view is not None and news.broker == self._view.health:
                continue  # a sign of life
            self._set(view_of(known, news.broker))

    def _set(self, view: View) -> None:
        self._view = view  # one reference: readers see the old view or the new one


def _known(standings: Mapping[NodeId, Standing | None]) -> dict[NodeId, Standing]:
    return {key: value for key, value in standings.items() if value is not None}


def _words(err: Exception) -> str:
    return (err.strerror or type(err).__name__).lower() if isinstance(err, OSError) else str(err)
