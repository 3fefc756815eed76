"""What drives a link that is to be kept up for as long as the agent lives: the tunnel, or the line to the broker.

What to do when is decided by `edge_agent.policy.link`. Each link says how it is dialled, and serves while it stands.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from edge_agent.interruption import unless
from edge_agent.policy.complaint import Complaints
from edge_agent.policy.link import (
    Dial,
    DialFailed,
    DialSucceeded,
    Event,
    HangUp,
    Link,
    LinkLost,
    Order,
    Serve,
    Started,
    StopAsked,
    Wait,
    WaitOver,
    step,
)
from protocol import limits

_log = logging.getLogger("skerry.agent")
# A wait of so many seconds is told, the first of them, though what is wrong has been told already.
_LONG = 10.0
# Two links that come and go must not hurry each other on without end.
_HURRY_AGAIN = limits.RECONNECT_STABLE.total_seconds()


class LinkDriver:
    """Does what is ordered, and reports what happened.

    Attributes:
        stopped: set when the link is to end.
        renewed: set when there is no use in waiting any longer: what was wrong may be right now.
        told: called when the link is up, and with what is wrong where it is not.
    """

    def __init__(self, name: str, dial: Callable[[], Awaitable[Event]], serve: Callable[[], Awaitable[Event]]) -> None:
        """Make it.

        Args:
            name: what is at the other end, for the log.
            dial: connects. It is cancelled where the link is to end.
            serve: keeps the link until it is lost, or `stopped` is set.
        """
        self.stopped, self.renewed = asyncio.Event(), asyncio.Event()
        self.told: Callable[[bool, str], None] = lambda _is_up, _reason: None
        self._name, self._dial, self._serve = name, dial, serve
        self._complaints = Complaints()
        self._has_said = self._has_told_long = False
        self._serves = self._is_asked = self._is_hurried = False
        self._hurried_at = float("-inf")

    def hurry(self) -> None:
        """Wait no longer, as the other end seems to be there; now and then, and not where it asked to stay away."""
        now = asyncio.get_running_loop().time()
        if not self._serves and not self._is_asked and now - self._hurried_at >= _HURRY_AGAIN:
            self._hurried_at, self._is_hurried = now, True
            self.renewed.set()

    async def run(self) -> None:
        """Keep the link up until `stopped` is set. What stands then is left to the caller."""
        link, order = self._step(Link(), Started())
        while not isinstance(order, HangUp):
            event = await self._carry_out(order)
            link, order = self._step(link, StopAsked() if self.stopped.is_set() else event)

    def complain(self, text: str, level: int = logging.WARNING) -> None:
        """Say what went wrong, but not the same thing every minute for months."""
        self.told(False, text)
        self._has_said = self._complaints.is_news(text, asyncio.get_running_loop().time())
        _log.log(level if self._has_said else logging.DEBUG, "%s", text)

    def _step(self, link: Link, event: Event) -> tuple[Link, Order]:
        now, chance = asyncio.get_running_loop().time(), random.random()  # noqa: S311 - spreads devices, hides nothing
        if isinstance(event, DialSucceeded):
            self._complaints.clear()
            self.told(True, "")
            self._has_told_long = False
        if self._is_hurried and isinstance(event, DialSucceeded | WaitOver):  # it has done what it was for
            self.renewed.clear()
            self._is_hurried = False
        self._is_asked = isinstance(event, DialFailed | LinkLost) and bool(event.retry_after)
        return step(link, event, now=now, chance=chance)

    async def _carry_out(self, order: Order) -> Event:
        if isinstance(order, Dial):
            return await unless(self.stopped, self._dialled(), None) or StopAsked()
        if isinstance(order, Wait):
            self._tell_wait(order.seconds)
            await unless(self.stopped, self.renewed.wait(), order.seconds)
            return WaitOver(anew=self.renewed.is_set())
        if isinstance(order, Serve):
            self._serves = True
            try:
                return await self._serve()
            finally:
                self._serves = False
        return StopAsked()

    def _tell_wait(self, seconds: float) -> None:
        """Say how long it waits: after what was wrong, and once more when waits have become long."""
        is_news = self._has_said or (seconds >= _LONG and not self._has_told_long)
        level = logging.INFO if is_news else logging.DEBUG
        _log.log(level, "%s: trying again in %.1f s", self._name, seconds)
        self._has_said = False
        self._has_told_long = self._has_told_long or seconds >= _LONG

    async def _dialled(self) -> Event:
        return await self._dial()
