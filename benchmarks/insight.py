"""What the controller knows and is asked for: 10,000 nodes' day of heartbeats, a million events of the audit log."""

from __future__ import annotations

import json
import time
import tracemalloc
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.pair import Goal, Row
from controller.audit import AuditLog
from controller.audit_reader import AuditReader, Wanted
from controller.policy.chain import GENESIS, line_hash
from controller.presence.history import STEPS, History
from protocol import limits
from protocol.names import ClusterName, NodeId
from protocol.presences import Beat

_NODES, _EVENTS, _DAYS = 10_000, 1_000_000, 30
_MEBIBYTE = 1024 * 1024
_BEAT = Beat(100, 12, 200_000, 2_000, 415, 231, 3, 0, 0, 10, tunnel=True, sessions=0, policy=1, generation=1)
# A page of the dashboard has 300 ms of the server's time, all in all.
_PAGE = Goal("ours", "at most", 300)


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows."""
    nodes, events = (_NODES // 10, _EVENTS // 10) if quick else (_NODES, _EVENTS)
    return [*_history(nodes, turns), *_audit(directory, events, turns)]


def _history(nodes: int, turns: int) -> list[Row]:
    """Measure a fleet that was heard all day."""
    names = [NodeId(str(uuid.UUID(int=number))) for number in range(nodes)]
    tracemalloc.start()
    history, now = History(), datetime.now(UTC)
    for _ in range(STEPS + 1):
        for node_id in names:
            history.hear(node_id, _BEAT, now)
        now += limits.HISTORY_STEP
        history.advance(now)
    size = tracemalloc.get_traced_memory()[0] / _MEBIBYTE
    tracemalloc.stop()
    closing, writing, asking = [], [], []
    for _ in range(turns):
        for node_id in names:
            history.hear(node_id, _BEAT, now)
        now += limits.HISTORY_STEP
        closing.append(_milliseconds(lambda: history.advance(now)))  # noqa: B023 - called at once
        writing.append(_milliseconds(lambda: history.encode((history.open or 1) - 1)))
        asking.append(_milliseconds(lambda: history.of(names[0], now)))  # noqa: B023 - called at once
    of = f"{nodes:,} nodes"
    return [
        Row(f"a day of heartbeats, {of}", "MiB", [size], goal=Goal("ours", "at most", 25 * nodes / _NODES)),
        Row(f"closing a step, {of}", "ms", closing),
        Row(f"encoding a step for the disk, {of}", "ms", writing),
        Row("one node's day", "ms", asking),
    ]


def _audit(directory: Path, events: int, turns: int) -> list[Row]:
    log = AuditLog(directory / "log", ClusterName("bench"), lambda: datetime.now(UTC))
    _fill(directory / "log", events)
    reader = AuditReader(log, lambda: datetime.now(UTC))
    first, filtered, sought = [], [], []
    for _ in range(turns):
        first.append(_milliseconds(lambda: reader.page(Wanted())))
        filtered.append(_milliseconds(lambda: reader.page(Wanted(user="nobody"))))
        sought.append(_milliseconds(lambda: reader.page(Wanted(text="nöbody"))))
    pieces = [_milliseconds(reader.verification)]
    while reader.verification().state == "checking":
        pieces.append(_milliseconds(reader.verification))
    again = [_milliseconds(reader.verification) for _ in range(turns)]
    of = f"of {events:,} events"
    return [
        Row(f"newest page {of}", "ms", first, goal=_PAGE),
        Row(f"one question that finds nothing, {limits.AUDIT_EXAMINED_MAX:,} {of}", "ms", filtered, goal=_PAGE),
        Row("the same for a text that is not ASCII", "ms", sought, goal=_PAGE),
        Row(f"checking the chain, a piece at a time, {of}", "ms", pieces, goal=_PAGE),
        Row("checking it again, nothing added", "ms", again, goal=_PAGE),
    ]


def _fill(folder: Path, events: int) -> None:
    """Write a log as the writer would, without its waiting for the disk."""
    folder.mkdir(mode=0o700)
    previous, begun = GENESIS, datetime.now(UTC) - timedelta(days=_DAYS)
    for day in range(_DAYS):
        date = f"{begun + timedelta(days=day):%Y-%m-%d}"
        with (folder / f"audit-{date}.log").open("wb") as file:
            for number in range(events // _DAYS):
                line = _line(f"{date}T10:00:00.000Z", number, previous)
                file.write(line + b"\n")
                previous = line_hash(line)


def _line(time_: str, number: int, previous: str) -> bytes:
    event = {
        "event": "session.start",
        "code": "T2000I",
        "time": time_,
        "uid": f"{number:036d}",
        "ei": 0,
        "cluster_name": "bench",
        "user": f"user{number % 50}",
        "login": "pi",
        "sid": f"{number:036d}",
        "server_id": f"{number % 10_000:036d}",
        "server_hostname": f"gw-{number % 10_000}",
        "addr.remote": "192.0.2.7:50112",
        "size": "80:24",
        "prev": previous,
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000
