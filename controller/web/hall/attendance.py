"""Whether those who sit in the hall are still signed in: asked every few seconds, for all of them together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from controller.accounts import Accounts
from controller.web.hall.guest import LOCKED, SIGNED_OUT, Ending, Guest
from protocol import limits
from protocol.locks import describe_lock

LOG = logging.getLogger("WEB")
_OVER = Ending(SIGNED_OUT, "your sign-in has ended")


class Attendance:
    """Ends the connections of sign-ins that are no longer in force.

    Args:
        accounts: know which are.
        guests: who is in the hall, as it is at each time.
    """

    def __init__(self, accounts: Accounts, guests: set[Guest]) -> None:
        self._accounts = accounts
        self._guests = guests

    async def watch(self) -> None:
        """Ask every `limits.TERMINAL_CHECK`, until cancelled."""
        while True:
            await asyncio.sleep(limits.TERMINAL_CHECK.total_seconds())
            if self._guests:
                await self.check()

    async def check(self) -> None:
        """Ask once, for all."""
        await self._check(tuple(self._guests))

    async def check_one(self, guest: Guest) -> None:
        """Ask at once whether one sign-in is in force."""
        await self._check((guest,))

    async def _check(self, guests: tuple[Guest, ...]) -> None:
        used = _used_tokens(guests)
        try:
            endings = await asyncio.to_thread(self._judge, used)
        except Exception as err:  # noqa: BLE001 - records that cannot be read now: asked again in a moment
            LOG.warning("whether terminals' sign-ins are in force cannot be read now: %s", err)
            return
        for guest in guests:
            if guest.token in endings:
                guest.end(endings[guest.token])

    def _judge(self, used: dict[str, bool]) -> dict[str, Ending]:
        """Return the sign-ins that are over. What was typed is a use of one; what a program prints is none."""
        return {token: self._why(token) for token, is_used in used.items() if not self._is_in_force(token, is_used)}

    def _is_in_force(self, token: str, is_used: bool) -> bool:
        return self._accounts.session(token, rests=not is_used) is not None

    def _why(self, token: str) -> Ending:
        lock = self._accounts.lock_on_session(token)
        return _OVER if lock is None else Ending(LOCKED, describe_lock(lock))


def _used_tokens(guests: Iterable[Guest]) -> dict[str, bool]:
    used: dict[str, bool] = {}
    for guest in guests:
        used[guest.token] = used.get(guest.token, False) or guest.is_used
        guest.is_used = False
    return used
