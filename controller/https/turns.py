"""Whose request gets a thread next: no address has more than its share of them, and the rest take turns."""

from __future__ import annotations

from collections import Counter, deque

from controller.https.caller import Caller


class Turns:
    """Who waits for a thread, and who has one. For the poller's thread alone.

    Args:
        threads: how many there are.
        share: how many of them one address may have at a time.
    """

    def __init__(self, threads: int, share: int) -> None:
        self._free = threads
        self._share = share
        self._inside: Counter[str] = Counter()
        self._waiting: dict[str, deque[Caller]] = {}  # in the order in which the addresses have their turn

    def ask(self, caller: Caller) -> None:
        """Have somebody wait for a thread."""
        self._waiting.setdefault(caller.address, deque()).append(caller)

    def take(self) -> Caller | None:
        """Return who gets a thread now; None where none is free, or nobody who waits may have one."""
        if not self._free:
            return None
        address = next((each for each in self._waiting if self._inside[each] < self._share), None)
        if address is None:
            return None
        queue = self._waiting.pop(address)
        caller = queue.popleft()
        if queue:
            self._waiting[address] = queue  # behind the others
        self._free -= 1
        self._inside[address] += 1
        return caller

    def give_back(self, caller: Caller) -> None:
        """Take back the thread that somebody had."""
        self._free += 1
        self._inside[caller.address] -= 1
        if not self._inside[caller.address]:
            del self._inside[caller.address]
