"""The warden's look at the locks, each by itself: what it does not do is as much of interest as what it does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from controller.audit import AuditLog
from controller.locks import Locks
from controller.proxy.tunnels import Tunnels
from controller.proxy.warden import _FAREWELL, Warden
from controller.store.tiny import TinyStore
from protocol import limits
from protocol.locks import Lock
from protocol.names import NodeId, UserName
from tests.controller.harbour import ADMIN, CLUSTER, HandClock

NODE, OTHER = NodeId("11111111-1111-4111-8111-111111111111"), NodeId("22222222-2222-4222-8222-222222222222")


@dataclass(eq=False)
class Visitor:
    """A person who is in, and what the warden has done to them."""

    user: UserName
    nodes: list[NodeId] = field(default_factory=list)
    seen: list[tuple[str, Lock]] = field(default_factory=list)

    def lock_out(self, lock: Lock) -> None:
        self.seen.append(("out", lock))

    def part_from(self, node: NodeId, lock: Lock) -> None:
        self.seen.append((node, lock))


@dataclass
class Watch:
    folder: Path
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        store = TinyStore(self.folder / "store")
        self.locks = Locks(store, AuditLog(self.folder / "log", CLUSTER, self.clock), self.clock)
        self.warden = Warden(self.locks, Tunnels({}, self.clock))
        self.alice = Visitor(UserName("alice"), [NODE, NODE, OTHER])
        self.bob = Visitor(UserName("bob"))
        for guest in (self.alice, self.bob):
            self.warden.enter(guest)

    def look(self) -> bool:
        """Look once, and act where there is news."""
        is_news = self.warden._is_there_news()
        if is_news:
            self.warden._act()
        return is_news


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def test_from_a_lock_to_the_end_it_is_one_look_and_a_moment_for_farewells_less_than_a_second() -> None:
    # That one look is enough, the next test says.
    longest = limits.CONTROL_LOOK + _FAREWELL
    assert longest < timedelta(seconds=1)


def test_it_acts_on_each_change_once(watch: Watch) -> None:
    watch.look()
    assert not watch.look()
    made = watch.locks.add("user", "alice", "", None, ADMIN)
    assert watch.look()
    assert not watch.look()
    assert (watch.alice.seen, watch.bob.seen) == ([("out", made)], [])


def test_a_node_s_lock_parts_each_person_from_it_once_and_leaves_the_rest(watch: Watch) -> None:
    made = watch.locks.add("node", NODE, "", None, ADMIN)
    watch.look()
    assert (watch.alice.seen, watch.bob.seen) == ([(NODE, made)], [])


def test_who_has_left_is_not_looked_at(watch: Watch) -> None:
    watch.warden.leave(watch.alice)
    watch.warden.leave(watch.alice)
    watch.locks.add("user", "alice", "", None, ADMIN)
    watch.look()
    assert watch.alice.seen == []


def test_of_two_locks_on_one_thing_the_older_is_told(watch: Watch) -> None:
    first = watch.locks.add("user", "alice", "first", None, ADMIN)
    watch.clock.move(seconds=1)
    watch.locks.add("user", "alice", "second", None, ADMIN)
    watch.look()
    assert watch.alice.seen == [("out", first)]


def test_locks_that_cannot_be_read_are_said_once_and_carried_out_when_they_can(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    made = watch.locks.add("user", "alice", "", None, ADMIN)
    file = watch.folder / "store" / "locks.json"
    good = file.read_bytes()
    file.write_bytes(b"{torn")
    for _ in range(5):
        watch.look()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert watch.alice.seen == []
    file.write_bytes(good)
    watch.look()
    assert watch.alice.seen == [("out", made)]
    file.write_bytes(b"torn again")
    watch.look()
    assert len(caplog.records) == 2


def test_a_node_that_comes_again_and_again_is_news_once_for_each_lock(watch: Watch) -> None:
    first = watch.locks.add("node", NODE, "", None, ADMIN)
    second = watch.locks.add("node", NODE, "", None, ADMIN)
    told = [watch.warden.is_news(node, lock) for node in (NODE, OTHER) for lock in (first, second, first)]
    assert told == [True, True, False] * 2


async def test_it_ends_when_it_is_told_to(watch: Watch) -> None:
    over = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch.warden.run(over))
        over.set()
