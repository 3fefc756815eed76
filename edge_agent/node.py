"""The node at work: tunnel, presence, SSH server and all that goes with them, until told to stop.

This module must be imported after `protocol.ssh.lean.load_asyncssh`: it brings in the SSH library.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator

from edge_agent.accounts import own_login
from edge_agent.child import Children
from edge_agent.clock import Clock, time_told
from edge_agent.config import Settings
from edge_agent.control import Control
from edge_agent.courier import Address, Courier
from edge_agent.event_queue import EventQueue
from edge_agent.house import House
from edge_agent.identity import Identity
from edge_agent.live import Live
from edge_agent.node_door import NodeDoor
from edge_agent.papers import Papers
from edge_agent.presence import Presence
from edge_agent.renewal import Renewal
from edge_agent.reporter import LAST_WORD, Reporter
from edge_agent.service_manager import will_start_again
from edge_agent.spool import Spool
from edge_agent.ssh_server import NodeServer
from edge_agent.station import Station
from edge_agent.status import FILE, StatusBoard, first_status
from edge_agent.studio import Studio
from edge_agent.terms import Terms
from edge_agent.tunnel import Tunnel
from edge_agent.upkeep import Upkeep
from edge_agent.upload import Uploader
from edge_agent.vitals import Vitals
from protocol.addresses import split_address
from protocol.messages import JoinReply

_log = logging.getLogger("skerry.agent")
_SESSIONS_END = 8.0
# Where recordings lie, in the data directory.
SPOOL = "spool"


async def run_node(settings: Settings, identity: Identity, station: Station) -> None:
    """Serve as the node that `identity` names, until SIGTERM or SIGINT."""
    stopped = _stop_asked()
    node = Node(settings, identity, station, stopped.set)
    _hear_for_others()
    _say_who_is_served(node.house.euid)
    await node.run(stopped)


class Node:
    """The parts of the node, and what each knows of the others. It is made on the loop that it runs on."""

    def __init__(self, settings: Settings, identity: Identity, station: Station, stop: Callable[[], None]) -> None:
        self._settings, self._station = settings, station
        self._children = Children(asyncio.get_running_loop(), station.threshold)
        clock = self._clock = Clock(identity.directory)
        clock.remember(time_told(identity.granted))
        papers = self._papers = Papers(identity)
        control = self._control = Control(papers, clock, identity.directory)
        self._queue = EventQueue(identity.directory)
        self._courier = Courier(lambda: api_address(settings, papers), self._children, span=clock.span)
        self._reporter = Reporter(identity, self._queue, self._courier, clock)
        recording = settings.recording
        spool = Spool(identity.directory / SPOOL, quota=recording.spool_max, min_free=recording.min_free)
        self._terms = Terms(identity.directory, identity.granted.recording, self._courier, clock, control)
        clock.doubted, control.behind = self._terms.ask_time, self._terms.ask_policy
        node, report = self._reporter.node, self._reporter.report
        self._studio = Studio(identity, spool, self._terms, node=node, report=report)
        self._uploader = Uploader(
            spool,
            lambda: api_address(settings, papers),
            self._children,
            recording,
            times=clock.times,
            span=clock.span,
            report=lambda kind, fields: report(kind, {**node, **fields}),
        )
        self.house = self._make_house()
        self._server = NodeServer(self.house, control=control)
        self._renewal = Renewal(papers, clock, settings.controller, self._children, control.take_granted)
        self._courier.distrusted = self._renewal.hasten
        self._tunnel = self._make_tunnel()
        control.heard = self._tunnel.hurry
        self._presence = self._make_presence(spool)
        self._board = self._make_board()
        self._upkeep = Upkeep(settings, self._board, station.manager, station.runtime, stop)

    def _make_house(self) -> House:
        return House(
            papers=self._papers,
            node=self._reporter.node,
            variables=_variables(self._settings, self._papers.identity.granted),
            children=self._children,
            report=self._reporter.report,
            clock=self._clock.now,
            euid=os.geteuid(),
            studio=self._studio,
            key_place=self._station.key_place,
        )

    def _make_board(self) -> StatusBoard:
        """Return what says to the outside how we are doing."""
        settings, papers = self._settings, self._papers
        status = first_status(settings.web_address, settings.severity, papers.identity.granted, self._clock.now())
        board = StatusBoard(self._station.runtime / FILE, status, self._station.manager, self._clock.now)
        self._tunnel.tell(board.tunnel)
        self._presence.tell(board.broker)
        self.house.register.on_change(lambda: board.sessions(self.house.register.people()))
        papers.on_change(lambda: None if broker_address(settings, papers) else board.no_broker())
        return board

    def _make_tunnel(self) -> Tunnel:
        papers, settings = self._papers, self._settings
        return Tunnel(
            papers,
            self._server,
            address=lambda: reach(papers.identity.granted.tunnel_address, settings),
            clock=self._clock,
            came_up=self._tunnel_came_up,
            refused=self._renewal.hasten,
        )

    def _tunnel_came_up(self) -> None:
        self._terms.refresh()
        self._uploader.hurry()
        self._presence.hurry()
        self._presence.beat_soon()

    def _presence_came_up(self) -> None:
        self._tunnel.relax()
        self._tunnel.hurry()

    def _make_presence(self, spool: Spool) -> Presence:
        clock, tunnel, server, papers = self._clock, self._tunnel, self._server, self._papers
        vitals = Vitals(
            papers,
            spool,
            offset=lambda: clock.offset_ms,
            has_tunnel=lambda: tunnel.is_up,
            sessions=lambda: server.sessions,
        )
        presence = Presence(
            papers,
            vitals,
            self._control.take,
            address=lambda: broker_address(self._settings, papers),
            span=clock.span,
            interval=self._settings.heartbeat,
        )
        # While the heart beats, a dead link is noticed there; when it stops, the tunnel is asked at once.
        presence.came_up, presence.went_down = self._presence_came_up, tunnel.probe
        tunnel.went_down = presence.beat_soon
        presence.refused = self._renewal.hasten
        live = Live(self.house.register)
        live.tell, presence.live = presence.tell_live, live.payload
        return presence

    # --- at work ------------------------------------------------------------------------------------------------------

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until `stopped` is set; then end everything in good order."""
        self._studio.open()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tunnel.run(), name="tunnel")
            group.create_task(self._presence.run(), name="presence")
            group.create_task(self._studio.run(), name="studio")
            background = [group.create_task(each, name="background") for each in self._background()]
            reporting = group.create_task(self._reporter.run(), name="reporter")
            uploading = group.create_task(self._uploader.run(), name="uploader")
            await stopped.wait()
            await self._stop(background)
            await _hear_out(reporting, uploading)
        self._courier.close()
        self._children.close()
        self._queue.close()
        self._board.close()

    def _background(self) -> Iterator[Coroutine[object, object, None]]:
        """Yield what runs until it is cancelled."""
        yield self._upkeep.run()
        yield self._clock.run()
        yield self._control.run()
        yield self._terms.run()
        yield self._renewal.run()
        if self._settings.listen:
            yield NodeDoor(self._settings.listen, self._server).run()

    async def _stop(self, background: Iterable[asyncio.Task[None]]) -> None:
        _log.info("stopping: %d sessions", self._server.sessions)
        self._station.manager.stopping(f"stopping, {self._board.line}")
        await self._server.drain(await self._farewell(), _SESSIONS_END)
        self._tunnel.stop()
        self._presence.stop()
        self._studio.stop()
        for task in background:
            task.cancel()
        self._uploader.stop()
        self._reporter.stop()

    async def _farewell(self) -> str:
        """Return what people in sessions are told."""
        name = self._papers.identity.granted.name
        if self._server.sessions and self._station.manager.is_there and await will_start_again():
            return f"the agent on {name} is restarting; connect again in a moment"
        return f"the agent on {name} is stopping; this session ends"


def _stop_asked() -> asyncio.Event:
    """Return an event that the signals to stop set."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


async def _hear_out(*tasks: asyncio.Task[None]) -> None:
    """Give `tasks` a moment for what they still have to say, and end them."""
    await asyncio.wait(tasks, timeout=LAST_WORD)
    for task in tasks:
        task.cancel()


def _hear_for_others() -> None:
    """Keep what this process was told to ignore, as by `nohup`, from being ignored in people's sessions as well.

    A signal that is ignored stays so in every program that is started; one that is handled does not (exec(2)). SIGHUP
    is handled anyway.
    """
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, lambda _number, _frame: None)


def _say_who_is_served(euid: int) -> None:
    if euid == 0:
        _log.info("running as root: serving every login that a person's certificate permits")
    else:
        _log.info('not running as root: serving the login "%s" alone', own_login(euid))


def _variables(settings: Settings, granted: JoinReply) -> dict[str, str]:
    return {
        "SSH_SKERRY_CLUSTER_NAME": granted.cluster_name,
        "SSH_SKERRY_HOST_UUID": granted.node_id,
        "SSH_SKERRY_NODE_NAME": granted.name,
        "SSH_SESSION_WEBPROXY_ADDR": settings.web_address,
    }


def reach(address: str, settings: Settings) -> tuple[str, int]:
    """Return host and port of one of the controller's doors: an empty host is the one we know it by."""
    host, port = split_address(address)
    return host or settings.controller[0], port


def broker_address(settings: Settings, papers: Papers) -> tuple[str, int] | None:
    """Return where the broker is; None where there is none."""
    found = papers.identity.granted.mqtt_address
    return reach(found, settings) if found else None


def api_address(settings: Settings, papers: Papers) -> Address:
    """Return where the machine API is. It knows us by our TLS certificate, and we it by name and CA."""
    granted = papers.identity.granted
    host, port = reach(granted.api_address, settings)
    certificate, key = papers.identity.tls_files
    return Address(host, port, f"api.{granted.cluster_name}", papers.tls_authorities, (str(certificate), str(key)))
