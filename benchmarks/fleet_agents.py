"""Many agents in one process: the agent's own tunnel and presence, without what sessions and recordings take.

Run as ``python -m benchmarks.fleet_agents ORDERS``, by `benchmarks.fleet_crew`; a line of JSON on standard input asks
for something, one on standard output answers. Each agent has an address of its own in 127.0.0.0/8, as devices in the
field have: the doors bound what comes from one network. What it sends is counted at its sockets (TCP_INFO).
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.child import Children
from edge_agent.clock import Clock, time_told
from edge_agent.config import Settings
from edge_agent.control import Control
from edge_agent.house import House
from edge_agent.identity import DataDirectory, Identity
from edge_agent.join import JoinFailed, join
from edge_agent.node import SPOOL, broker_address, reach
from edge_agent.papers import Papers
from edge_agent.policy.link import Event
from edge_agent.presence import Presence
from edge_agent.spool import Spool
from edge_agent.ssh_server import NodeServer
from edge_agent.tunnel import Tunnel
from edge_agent.vitals import Vitals
from protocol import names
from protocol.addresses import split_address
from protocol.names import TokenText
from protocol.secret import Secret

_log = logging.getLogger("skerry.agent")
_HOME: contextvars.ContextVar[_Home] = contextvars.ContextVar("home")
# Requests to join that one process has under way.
_JOINS_AT_ONCE = 8
_JOIN_AGAIN = 1.0
# A device has a processor of its own. A thousand handshakes at once in one process would all take longer than anybody
# waits, which says nothing about the controller.
_DIALLING = asyncio.Semaphore(50)
# In `struct tcp_info` (linux/tcp.h): bytes_received, segs_out, segs_in, bytes_sent, by where they stand.
_TCP_INFO = struct.Struct("128x Q II 56x Q")
_HEADERS = 20 + 20 + 12  # IPv4, TCP and its timestamps


@dataclass(frozen=True, slots=True)
class Orders:
    """What one process is to do.

    Attributes:
        web, pin, token: how to join.
        folder: where the agents' data directories are; one that holds an identity need not join.
        first, count: which of the fleet these are.
    """

    web: str
    pin: str
    token: str
    folder: str
    first: int
    count: int

    def to_text(self) -> str:
        """Return them as a command-line argument."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_text(cls, text: str) -> Orders:
        """Read the argument."""
        return cls(**json.loads(text))


def data_directory(folder: Path, number: int) -> Path:
    """Return where an agent keeps its identity."""
    return folder / f"{number:05d}"


def name_of(number: int) -> str:
    """Return what an agent is called."""
    return f"edge-{number:05d}"


@dataclass(eq=False)
class _Home:
    """Where one agent dials from, and the sockets that it has open."""

    address: str
    sockets: list[asyncio.Transport] = field(default_factory=list)

    def open_sockets(self) -> Iterator[socket.socket]:
        self.sockets = [each for each in self.sockets if not each.is_closing()]
        return (each.get_extra_info("socket") for each in self.sockets)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop on which every agent dials from its own address, and which knows whose a connection is."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the library's, passed on
        home = _HOME.get()
        options["local_addr"] = (home.address, 0)
        transport, protocol = await super().create_connection(*args, **options)
        assert isinstance(transport, asyncio.Transport)
        home.sockets.append(transport)
        return transport, protocol


class _Road(Tunnel):
    """A tunnel among many in one process, which takes its turn to dial."""

    async def _dial(self) -> Event:
        async with _DIALLING:
            return await super()._dial()


class _Heart(Presence):
    """Presence among many in one process, which takes its turn to dial, and leaves the memory to whoever runs it."""

    async def _dial(self) -> Event:
        async with _DIALLING:
            return await super()._dial()

    def _tidy(self) -> None:
        pass


class Device:
    """One simulated agent."""

    def __init__(self, orders: Orders, number: int, children: Children) -> None:
        host, port = split_address(orders.web)
        directory = data_directory(Path(orders.folder), number)
        name = names.parse_node_name(name_of(number))
        self._settings = Settings((host, port), name, directory, ca_pins=(orders.pin,))
        self._token = Secret(TokenText(orders.token))
        self._children = children
        self._tunnel: Tunnel | None = None
        self._presence: Presence | None = None
        self.home = _Home(f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}")

    @property
    def has_joined(self) -> bool:
        """Whether it is a node."""
        return self._tunnel is not None

    @property
    def has_tunnel(self) -> bool:
        """Whether its tunnel is up."""
        return self._tunnel is not None and self._tunnel.is_up

    @property
    def is_connected(self) -> bool:
        """Whether the broker hears it."""
        return self._presence is not None and self._presence.is_connected

    async def run(self, turn: asyncio.Semaphore) -> None:
        """Join where that is not done, and be a node until `stop`."""
        _HOME.set(self.home)
        identity = DataDirectory(self._settings.data_dir).load()
        if identity is None:
            async with turn:
                identity = await self._join()
        self._settle(identity)
        async with asyncio.TaskGroup() as group:
            for part in (self._tunnel, self._presence):
                if part:
                    group.create_task(part.run())

    def stop(self) -> None:
        """Have `run` end."""
        for part in (self._tunnel, self._presence):
            if part:
                part.stop()

    async def _join(self) -> Identity:
        self._settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            answer = await join(self._settings, self._token, DataDirectory(self._settings.data_dir))
            if isinstance(answer, Identity):
                return answer
            self._complain(answer)
            await asyncio.sleep(answer.retry_after or _JOIN_AGAIN)

    def _complain(self, failed: JoinFailed) -> None:
        if failed.is_final:
            raise RuntimeError(f"{self._settings.nodename} cannot join: {failed.reason}")
        _log.warning("%s has not joined yet: %s", self._settings.nodename, failed.reason)

    def _settle(self, identity: Identity) -> None:
        """Put together what `edge_agent.node.Node` does, as far as it goes here."""
        settings, papers = self._settings, Papers(identity)
        clock = Clock(identity.directory)
        clock.remember(time_told(identity.granted))
        control = Control(papers, clock, identity.directory)
        server = NodeServer(self._house(papers, clock), control=control)
        tunnel = _Road(
            papers,
            server,
            address=lambda: reach(papers.identity.granted.tunnel_address, settings),
            clock=clock,
            came_up=self._tunnel_came_up,
        )
        vitals = Vitals(
            papers,
            Spool(identity.directory / SPOOL, quota=0, min_free=0),
            offset=lambda: clock.offset_ms,
            has_tunnel=lambda: tunnel.is_up,
            sessions=lambda: server.sessions,
        )
        presence = _Heart(
            papers,
            vitals,
            control.take,
            address=lambda: broker_address(settings, papers),
            span=clock.span,
            interval=settings.heartbeat,
        )
        presence.came_up, presence.went_down = tunnel.relax, tunnel.probe
        tunnel.went_down = presence.beat_soon
        self._tunnel, self._presence = tunnel, presence

    def _tunnel_came_up(self) -> None:
        if self._presence:
            self._presence.beat_soon()

    def _house(self, papers: Papers, clock: Clock) -> House:
        return House(
            papers=papers,
            node={},
            variables={},
            children=self._children,
            report=lambda _kind, _fields: None,
            clock=clock.now,
            euid=os.geteuid(),
        )


class _Crew:
    """All agents of one process, and what is answered about them."""

    def __init__(self, orders: Orders) -> None:
        children = Children(asyncio.get_running_loop())
        self._devices = [Device(orders, orders.first + number, children) for number in range(orders.count)]
        self._metered: dict[socket.socket, int] = {}

    async def run(self) -> None:
        """Run them, and answer questions, until standard input ends."""
        questions = await _open_input()
        turn = asyncio.Semaphore(_JOINS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(device.run(turn)) for device in self._devices]
            while line := await questions.readline():
                print(json.dumps(self._answer(line.decode().strip())), flush=True)
            for device in self._devices:
                device.stop()
            await asyncio.wait(running, timeout=10)
            for task in running:
                task.cancel()

    def _answer(self, question: str) -> dict[str, int]:
        answers: dict[str, Callable[[], dict[str, int]]] = {"count": self._count, "meter": self._meter, "tidy": _tidy}
        return answers[question]()

    def _count(self) -> dict[str, int]:
        return {
            "joined": sum(device.has_joined for device in self._devices),
            "tunnels": sum(device.has_tunnel for device in self._devices),
            "connected": sum(device.is_connected for device in self._devices),
        }

    def _meter(self) -> dict[str, int]:
        """Return what went over the sockets since the last question, IP headers included; of those open both times."""
        before, self._metered = self._metered, {}
        for device in self._devices:
            self._metered.update((each, read_meter(each)) for each in device.home.open_sockets())
        both = [each for each in self._metered if each in before]
        return {"sockets": len(both), "bytes": sum(self._metered[each] - before[each] for each in both)}


def read_meter(sock: Any) -> int:  # noqa: ANN401 - asyncio's, which stands for a socket
    """Return how many bytes a TCP connection has taken and given so far, headers of TCP and IPv4 included."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    received, segments_out, segments_in, sent = _TCP_INFO.unpack(info)
    return int(received + sent + (segments_out + segments_in) * _HEADERS)


def _tidy() -> dict[str, int]:
    """Take what is there for lasting: the collector would go through a thousand agents again and again."""
    gc.collect()
    gc.freeze()
    return {}


async def _open_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _main(orders: Orders) -> None:
    await _Crew(orders).run()


def main() -> None:
    """Run as many agents as the orders say."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(50_000, 20, 50)
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(_main(Orders.from_text(sys.argv[1])))


if __name__ == "__main__":
    main()
