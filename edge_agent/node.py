"""The node at work: tunnel, SSH server and reporter, until told to stop.

This module must be imported after `protocol.ssh.lean.load_asyncssh`: it brings in the SSH library.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime

from edge_agent.accounts import own_login
from edge_agent.child import Children
from edge_agent.config import Settings
from edge_agent.courier import Address, Courier
from edge_agent.event_queue import EventQueue
from edge_agent.identity import Identity
from edge_agent.party import House
from edge_agent.reporter import LAST_WORD, Reporter
from edge_agent.spool import Spool
from edge_agent.ssh_server import NodeServer
from edge_agent.studio import Studio
from edge_agent.terms import Terms
from edge_agent.tunnel import Tunnel
from edge_agent.upload import Uploader
from protocol.access import AccessTarget
from protocol.addresses import split_address
from protocol.messages import JoinReply

_log = logging.getLogger("skerry.agent")
_SESSIONS_END = 8.0
# Where recordings lie, in the data directory.
SPOOL = "spool"


def _clock() -> datetime:
    return datetime.now(UTC)


async def run_node(settings: Settings, identity: Identity) -> None:
    """Serve as the node that `identity` names, until SIGTERM or SIGINT."""
    stopped = _stop_asked()
    _hear_for_others()
    granted = identity.granted
    queue = EventQueue(identity.directory)
    children = Children(asyncio.get_running_loop())
    courier = Courier(api_address(settings, identity), children)
    reporter = Reporter(identity, queue, courier, _clock)
    spool = Spool(identity.directory / SPOOL, quota=settings.recording.spool_max, min_free=settings.recording.min_free)
    terms = Terms(identity.directory, granted.recording, courier)
    studio = Studio(identity, spool, terms, node=reporter.node, report=reporter.report)
    uploader = Uploader(
        spool,
        api_address(settings, identity),
        children,
        settings.recording,
        times=terms.times,
        report=lambda kind, fields: reporter.report(kind, {**reporter.node, **fields}),
    )
    house = House(
        target=AccessTarget(granted.node_id, granted.name, granted.labels),
        node=reporter.node,
        variables=_variables(settings, granted),
        children=children,
        report=reporter.report,
        clock=_clock,
        euid=os.geteuid(),
        studio=studio,
    )
    server = NodeServer(identity, house)
    tunnel = Tunnel(
        identity,
        server,
        address=lambda: reach(granted.tunnel_address, settings),
        clock=_clock,
        came_up=_each(terms.refresh, uploader.hurry),
    )
    _say_who_is_served(house.euid)
    studio.open()
    async with asyncio.TaskGroup() as group:
        group.create_task(tunnel.run(), name="tunnel")
        group.create_task(studio.run(), name="studio")
        asking = group.create_task(terms.run(), name="terms")
        reporting = group.create_task(reporter.run(), name="reporter")
        uploading = group.create_task(uploader.run(), name="uploader")
        await stopped.wait()
        _log.info("stopping: %d sessions", server.sessions)
        await server.drain("the agent on this device is stopping; this session ends", _SESSIONS_END)
        tunnel.stop()
        studio.stop()
        asking.cancel()
        uploader.stop()
        reporter.stop()
        await _hear_out(reporting, uploading)
    courier.close()
    children.close()
    queue.close()


def _stop_asked() -> asyncio.Event:
    """Return an event that the signals to stop set."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _each(*calls: Callable[[], None]) -> Callable[[], None]:
    """Return a function that makes all of `calls`."""

    def call() -> None:
        for one in calls:
            one()

    return call


async def _hear_out(*tasks: asyncio.Task[None]) -> None:
    """Give `tasks` a moment for what they still have to say, and end them."""
    await asyncio.wait(tasks, timeout=LAST_WORD)
    for task in tasks:
        task.cancel()


def _hear_for_others() -> None:
    """Keep what this process was told to ignore, as by `nohup`, from being ignored in people's sessions as well.

    A signal that is ignored stays so in every program that is started; one that is handled does not (exec(2)).
    """
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


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


def api_address(settings: Settings, identity: Identity) -> Address:
    """Return where the machine API is. It knows us by our TLS certificate, and we it by name and CA."""
    granted = identity.granted
    host, port = reach(granted.api_address, settings)
    certificate, key = identity.tls_files
    return Address(host, port, f"api.{granted.cluster_name}", granted.tls_authorities, (str(certificate), str(key)))
