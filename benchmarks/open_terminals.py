"""Fifty terminals in browsers, open through the proxy on real devices, and pages beside them on the same controller.

Everything is whole: controller, five agents, recording, SSH inside SSH, WebSockets as a page speaks them. Each turn
asks for the pages three times: before anything is open; with fifty terminals in which somebody types now and then; and
with the same fifty following a busy log. Pages are asked for by a process of their own, so that a page's time, from its
connection to its last byte, is not that of the fifty clients beside it.
"""

from __future__ import annotations

import asyncio
import getpass
import http.client
import json
import math
import multiprocessing
import re
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin as WebOrigin

from benchmarks.fleet_controller import Controller, processor_seconds
from benchmarks.pair import Goal, Row
from benchmarks.program import BIN, BenchError, start, wait_for
from controller.accounts import Origin, SignedIn
from controller.cluster import Cluster
from protocol import access, limits, names
from protocol.decision import Granted
from tests.harness.running_program import children_of
from tests.harness.web_terminal import SESSION_COOKIE, WebPerson
from tests.harness.web_visitor import Form, Visitor

# Terminals in each of so many browsers, each on a device of its own.
_WHOLE, _PART = (10, 5), (2, 2)
PAGES = ("/web/home", "/web/nodes", "/web/sessions", "/web/audit")
_ASKED, _ASKED_QUICKLY = 40, 5
_WARM_UP = 10
_PAUSE = 0.05
_ORIGIN = Origin(via="tctl")
_PATIENCE = 120.0
# 20 kB/s to each terminal, as a busy log has; a key's echo is known by its sign, which no line holds.
_LINE, _EVERY, _KEY = b"x" * 998 + b"\n", 0.05, b"~"
_KEY_PAUSE = 1.0
_GOAL = Goal("ours", "at most", 300)


@dataclass
class Phase:
    """What was found in one phase of a turn: times in ms, memory in MiB, shares in % of a core."""

    pages: list[float]
    echoes: list[float]
    heard: float
    memory: float
    busy: Mapping[str, float]

    @property
    def median(self) -> float:
        """The median page."""
        return statistics.median(self.pages)

    @property
    def p95(self) -> float:
        """The page at the 95th percentile."""
        return p95(self.pages)


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows: the pages beside fifty terminals and beside none, a key's echo, and what the terminals take."""
    asked, (each, people) = (_ASKED_QUICKLY, _PART) if quick else (_ASKED, _WHOLE)
    with Quayside.running(directory / "quayside", people) as quay:
        found = [asyncio.run(_turn(quay, asked, each)) for _ in range(turns)]
    return _rows(found, each * people)


def _rows(found: Sequence[Mapping[str, Phase]], terminals: int) -> list[Row]:
    alone = [turn["alone"] for turn in found]
    rows = []
    for name, what in (("typing", "typed in"), ("printing", "printing")):
        busy = [turn[name] for turn in found]
        rows += [
            Row(f"page, {terminals} {what}: p50", "ms", [a.median for a in busy], [a.median for a in alone], "none"),
            Row(f"page, {terminals} {what}: p95", "ms", [a.p95 for a in busy], [a.p95 for a in alone], "none", _GOAL),
            Row(f"key, {terminals} {what}: p50", "ms", [statistics.median(each.echoes) for each in busy]),
            Row(f"key, {terminals} {what}: p95", "ms", [p95(each.echoes) for each in busy]),
            Row(f"printed in all, {terminals} {what}", "kB/s", [each.heard for each in busy]),
        ]
        rows += [
            Row(f"{role}, {terminals} {what}", "% of a core", [each.busy[role] for each in busy])
            for role in ("web", "proxy", "api", "devices", "clients")
        ]
    memory = [turn["printing"].memory - turn["alone"].memory for turn in found]
    return [*rows, Row(f"web door's memory for {terminals}, PSS", "MiB", memory)]


async def _turn(quay: Quayside, asked: int, each: int) -> dict[str, Phase]:
    found = {"alone": await _phase(quay, [], asked)}
    async with _crowd(quay, each) as seats:
        found["typing"] = await _phase(quay, seats, asked)
        async with asyncio.TaskGroup() as group:
            growing = group.create_task(_grow(quay.log))
            found["printing"] = await _phase(quay, seats, asked)
            growing.cancel()
    await quay.settled()
    return found


async def _phase(quay: Quayside, seats: Sequence[Seat], asked: int) -> Phase:
    """Ask for the pages, while whoever sits there types."""
    loop = asyncio.get_running_loop()
    for seat in seats:
        seat.echoes.clear()
        seat.heard = 0
    before, began = quay.busy(), time.monotonic()
    pages = await loop.run_in_executor(quay.asker, ask_pages, quay.base, quay.anchors, quay.chief.cookie, asked)
    lasted, after = time.monotonic() - began, quay.busy()
    if not all(seat.echoes for seat in seats):
        raise BenchError(f"{sum(1 for seat in seats if not seat.echoes)} terminals did not echo a key")
    return Phase(
        pages=pages,
        echoes=[echo for seat in seats for echo in seat.echoes] or [math.nan],
        heard=sum(seat.heard for seat in seats) / lasted / 1000,
        memory=float(quay.controller.usage().pss["web"]),
        busy={role: 100 * (after[role] - before[role]) / lasted for role in after},
    )


def ask_pages(base: str, anchors: str, cookie: str, asked: int) -> list[float]:
    """Ask for each of `PAGES` so often, each time by a new connection; return the times in ms. Raises `BenchError`."""
    trust = ssl.create_default_context(cadata=anchors)
    took = []
    for _ in range(asked):
        for path in PAGES:
            time.sleep(_PAUSE)
            took.append(_ask(base, trust, cookie, path))
    return took


def _ask(base: str, trust: ssl.SSLContext, cookie: str, path: str) -> float:
    began = time.perf_counter()
    connection = http.client.HTTPSConnection(urlsplit(base).netloc, context=trust, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise BenchError(f"{path} was answered with {answer.status}")
    return 1000 * (time.perf_counter() - began)


def p95(values: Sequence[float]) -> float:
    """Return the value below which 95 of 100 lie."""
    return sorted(values)[int(0.95 * (len(values) - 1) + 0.5)]


# --- the terminals' clients -------------------------------------------------------------------------------------------


@dataclass
class Seat:
    """One browser's terminal: how many bytes it was shown, and how long its keys took, ms."""

    socket: ClientConnection
    heard: int = 0
    echoes: list[float] = field(default_factory=list)
    echoed: asyncio.Event = field(default_factory=asyncio.Event)

    async def show(self) -> None:
        """Take what the door sends, and say that it is shown, as the page's script does."""
        async for said in self.socket:
            if isinstance(said, bytes):
                self.heard += len(said)
                await self.socket.send(json.dumps({"type": "took", "bytes": len(said)}))
                if _KEY in said:
                    self.echoed.set()
            elif json.loads(said)["type"] in {"exit", "end"}:
                raise BenchError(f"a terminal ended: {said}")

    async def type_on(self, after: float) -> None:
        """Press a key now and then, and wait for its echo."""
        await asyncio.sleep(after)
        while True:
            self.echoed.clear()
            began = time.perf_counter()
            await self.socket.send(_KEY)
            async with asyncio.timeout(_PATIENCE):
                await self.echoed.wait()
            self.echoes.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(_KEY_PAUSE)


@asynccontextmanager
async def _crowd(quay: Quayside, each: int) -> AsyncIterator[list[Seat]]:
    """Open all the terminals, and have somebody type in each; close them in the end."""
    opened = await asyncio.gather(*(_sit_down(quay, person, each) for person in range(len(quay.people))))
    seats = [seat for row in opened for seat in row]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(seat.show()) for seat in seats]
        tasks += [group.create_task(seat.type_on(n * _KEY_PAUSE / len(seats))) for n, seat in enumerate(seats)]
        try:
            async with asyncio.timeout(_PATIENCE):
                while not all(seat.echoes for seat in seats):  # noqa: ASYNC110 - fifty clients' doing
                    await asyncio.sleep(_PAUSE)
            yield seats
        finally:
            for task in tasks:
                task.cancel()
    await asyncio.gather(*(seat.socket.close() for seat in seats))


async def _sit_down(quay: Quayside, number: int, count: int) -> list[Seat]:
    """Open one person's terminals, one after the other, on a device of theirs, and follow its log in each."""
    person, node = quay.people[number], quay.nodes[number]
    trust = ssl.create_default_context(cadata=quay.anchors)
    seats = []
    for _ in range(count):
        ticket = await asyncio.to_thread(person.ticket, node, getpass.getuser())
        socket = await connect(
            f"wss://{person.host}/web/socket?ticket={ticket}",
            ssl=trust,
            origin=WebOrigin(person.base),
            additional_headers={"Cookie": person.cookie},
            compression=None,
            open_timeout=_PATIENCE,
            max_size=None,
            proxy=None,
        )
        await socket.send(json.dumps({"type": "size", "columns": 80, "rows": 24}))
        while not isinstance(said := await socket.recv(), str) or json.loads(said)["type"] != "open":
            pass
        await socket.send(f"exec tail -n 0 -F '{quay.log}'\n".encode())
        seats.append(Seat(socket))
    return seats


async def _grow(log: Path) -> None:
    """Have the log that all follow grow, for as long as it is not ended."""
    with log.open("ab", buffering=0) as file:
        while True:
            file.write(_LINE)
            await asyncio.sleep(_EVERY)


# --- the cluster ------------------------------------------------------------------------------------------------------


@dataclass
class Quayside:
    """A controller, devices, as many people who are signed in with a browser, and one who asks for pages."""

    controller: Controller
    base: str
    anchors: str
    log: Path
    nodes: list[str]
    devices: list[int]
    people: list[WebPerson]
    chief: WebPerson
    asker: ProcessPoolExecutor

    @classmethod
    @contextmanager
    def running(cls, directory: Path, people: int) -> Iterator[Quayside]:
        """Start everything, and ask for the pages a few times; end it all. Raises `BenchError`."""
        controller = Controller(directory)
        cluster = controller.open()
        everybody = (*(f"person-{number}" for number in range(people)), _CHIEF)
        for name in everybody:
            roles = (access.ACCESS, access.AUDITOR, access.ADMIN) if name == _CHIEF else (access.ACCESS,)
            login = names.parse_login(getpass.getuser())
            cluster.accounts.users.add(names.parse_user_name(name), (login,), limits.INVITE_TTL, _ORIGIN, roles)
        with ExitStack() as stack:
            stack.enter_context(controller.running())
            nodes, devices = _start_devices(stack, controller, people)
            base = "https://" + controller.invite()[0]
            anchors = (directory / "controller" / "tls" / "web.crt").read_text(encoding="ascii")
            *workers, chief = [_sign_in(cluster, base, anchors, name) for name in everybody]
            asker = stack.enter_context(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")))
            log = directory / "busy.log"
            log.touch()
            quay = cls(controller, base, anchors, log, nodes, devices, workers, chief, asker)
            asker.submit(ask_pages, base, anchors, quay.chief.cookie, _WARM_UP).result()
            yield quay

    def busy(self) -> dict[str, float]:
        """Return the seconds of processor time so far: of each role, of all devices with what runs there, and ours."""
        devices = sum(map(_busy_below, self.devices))
        return {**self.controller.usage().busy, "devices": devices, "clients": time.process_time()}

    async def settled(self) -> None:
        """Wait until the terminals' recordings are in, and controller and devices have no more to do than at rest."""
        async with asyncio.timeout(_PATIENCE):
            while await self._share_of_a_core() > _AT_REST:
                pass

    async def _share_of_a_core(self) -> float:
        before = sum(self.busy().values())
        await asyncio.sleep(1)
        return sum(self.busy().values()) - before


_CHIEF = "chief"
_AT_REST = 0.1


def _busy_below(pid: int) -> float:
    """Return the processor time of a process and of all below it that still run."""
    try:
        return processor_seconds(pid) + sum(map(_busy_below, children_of(pid)))
    except OSError:  # it has ended
        return 0.0


def _start_devices(stack: ExitStack, controller: Controller, count: int) -> tuple[list[str], list[int]]:
    """Start the devices, and wait until each has its tunnel; return their ids, and those of their processes."""
    where, pin, token = controller.invite()
    nodes, pids = [], []
    for number in range(count):
        folder = controller.directory / f"edge-{number}"
        log = folder.with_suffix(".log")
        command = [str(BIN / "edge-agent"), "start", f"--controller={where}", f"--ca-pin={pin}", f"--token={token}"]
        pids.append(start(stack, [*command, f"--nodename={folder.name}", f"--data-dir={folder}"], log).pid)
        joined = re.search(r"\(([0-9a-f-]{36})\)", wait_for(log, r"joined cluster .*", "a device's join"))
        wait_for(log, "the tunnel to .* is up", "a device's tunnel")
        if joined is None:
            raise BenchError("a device that joined names no id")
        nodes.append(joined[1])
    return nodes, pids


def _sign_in(cluster: Cluster, base: str, anchors: str, name: str) -> WebPerson:
    """Sign somebody in with a browser. Raises `BenchError`."""
    user = cluster.accounts.users.get(names.parse_user_name(name))
    if user is None:
        raise BenchError(f"{name} is no user")
    until = cluster.clock() + timedelta(hours=12)
    opened = cluster.accounts.open_session(SignedIn(user.name, user.valid_from), "web", until, Origin(via="web"))
    if not isinstance(opened, Granted):
        raise BenchError(f"{name} is refused: {opened.reason}")
    visitor = Visitor(anchors, {SESSION_COOKIE: opened.value.reveal()})
    return WebPerson(base, visitor, Form(visitor.get(f"{base}/web/nodes").text).fields["csrf"])
