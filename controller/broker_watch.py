"""The broker as the supervisor has it: its program, and the watch that has it take up what changes."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.addresses import BoundAddresses, near, unwary
from controller.authority import AuthorityError
from controller.broker.broker import Broker, Change
from controller.broker.error import BrokerError
from controller.broker.log import BrokerLog
from controller.broker.mosquitto import find_mosquitto, find_owner
from controller.broker.settings import CONFIGURATION
from controller.cluster import Cluster
from controller.policy.supervision import ASK_PATIENCE
from controller.process import Process, Program
from controller.store.interface import StoreError
from controller.tls_files import prepare_probe
from protocol.names import NodeId

LOG = logging.getLogger("CONTROLLER")
NAME = "broker"
# How often the store is looked at for who is to be kept out.
LOOK = timedelta(seconds=1)
_PATIENCE = timedelta(seconds=5)
# What its process may take: files beside its connections, and memory, of which a connection takes some 50 KB.
_FILES_SPARE = 100
_MEMORY = 512 * 1024 * 1024
_MEMORY_EACH = 128 * 1024
# By what we ask whether it answers is made anew after so long.
_PROBE_TTL = timedelta(days=1)
# So long we wait for our own disk and threads before we ask. What they keep from us is no silence of the broker's.
_PROBE_PATIENCE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Probe:
    """What we knock with at the broker's door: signed by which key, and when."""

    signer: str
    made: datetime
    context: ssl.SSLContext


class BrokerWatch:
    """Keeps the broker's files, and tells its process.

    Args:
        cluster: whose broker it is.
        bound: where the doors listen; `mqtt` is None for a broker that is not ours to run: it is given files alone.
    """

    def __init__(self, cluster: Cluster, bound: BoundAddresses) -> None:
        self._cluster = cluster
        self._door = bound.mqtt
        self._probe: _Probe | None = None
        self._probing: asyncio.Future[ssl.SSLContext] | None = None
        self._owner = find_owner() if bound.mqtt is not None else None
        self._nodes = cluster.enrolment.nodes
        self._is_foreign = bound.mqtt is None
        self._clock = cluster.clock
        self._complaint = ""
        self._took_down = False
        self._pending = Change.NONE
        self._known: Process | None = None
        self.broker = Broker(
            config=cluster.config,
            bound=bound,
            store=cluster.store,
            authority=cluster.authority,
            locks=cluster.locks.list,
            serials=self._serials,
            fleet=lambda: len(self._nodes.list()),
            clock=cluster.clock,
            owner=self._owner,
        )

    def _serials(self, node_id: NodeId) -> tuple[str, ...]:
        node = self._nodes.get(node_id)
        return () if node is None else tuple(held.serial for held in node.tls_serials)

    def program(self) -> Program:
        """Return what to run once the files are there. Raises `BrokerError` where mosquitto is not."""
        return Program(
            NAME,
            (str(find_mosquitto()), "-c", CONFIGURATION),
            is_role=False,
            # Files are named from here: the data directory that this one lies in lets nobody through but us.
            directory=self.broker.directory,
            user=None if self._owner is None else (self._owner.uid, self._owner.gid),
            limits=self._limits,
            log=BrokerLog(self._clock).write,
            # Asked to end, it would publish the last will of every node that is there. What it holds is on the disk.
            last_signal=signal.SIGKILL,
            ask=self.ask,
        )

    def _limits(self) -> dict[int, int]:
        connections = self.broker.connections
        return {
            resource.RLIMIT_NOFILE: connections + _FILES_SPARE,
            resource.RLIMIT_AS: _MEMORY + connections * _MEMORY_EACH,
        }

    async def ask(self) -> bool:
        """Tell whether the broker answers: its one loop does all that it does, and so shakes hands only while it turns.

        One that turns us away answers, too: it may be full, or think nothing of our certificate. So does one that we
        cannot ask.
        """
        if self._door is None:
            return False
        context = await self._await_probe()
        if context is None:
            return True
        patience = ASK_PATIENCE.total_seconds()
        try:
            async with asyncio.timeout(patience):
                # By itself the handshake ends earlier, and not with a TimeoutError.
                opened = asyncio.open_connection(*near(self._door), ssl=context, ssl_handshake_timeout=2 * patience)
                _, writer = await opened
        except (TimeoutError, ConnectionRefusedError):  # refused: it runs, and does not listen
            return False
        except OSError:
            return True  # or it is we who cannot ask, which is no fault of the broker's
        writer.close()
        with suppress(OSError):
            async with asyncio.timeout(patience):
                await writer.wait_closed()
        return True

    async def _await_probe(self) -> ssl.SSLContext | None:
        """Return what to knock with; None where our own disk or threads are late. One thread at most waits for them."""
        if self._probing is None:
            self._probing = asyncio.get_running_loop().run_in_executor(None, self._ready_probe)
        probing = self._probing
        await asyncio.wait((probing,), timeout=_PROBE_PATIENCE.total_seconds())
        if not probing.done():
            return None
        self._probing = None
        return probing.result()

    def _ready_probe(self) -> ssl.SSLContext:
        """Return what to knock with: a certificate that the broker trusts, or its log would have a line each time."""
        try:
            signer, now = self._cluster.authority.server_key_id("tls"), self._clock()
            probe = self._probe
            if probe is None or probe.signer != signer or not timedelta(0) <= now - probe.made < _PROBE_TTL:
                self._probe = probe = _Probe(signer, now, prepare_probe(self._cluster))
        except (AuthorityError, StoreError, OSError):
            return unwary()
        return probe.context

    def look(self) -> Change:
        """Write what has changed, and return what the process needs. What is wrong is logged once, and not raised."""
        try:
            change = self.broker.refresh()
        except (BrokerError, StoreError, AuthorityError) as err:
            if str(err) != self._complaint:
                LOG.warning("who may come to the broker cannot be seen to: %s", err)
            self._complaint = str(err)
            return Change.NONE
        self._complaint = ""
        return change

    async def apply(self, change: Change, process: Process | None) -> None:
        """Have the broker's process take up `change`, and what it has not taken up of earlier ones.

        A process that was not there at the last call may be reading its files at this moment, or not know of signals
        yet: it is told at the next call. Nothing is lost by telling it of what it has read already.
        """
        if self._is_foreign:
            self._announce(change)
            return
        self._pending = max(self._pending, change)
        if process is not self._known:
            self._known = process
            return
        change = self._pending
        if process is None or change is Change.NONE:
            return
        self._pending = Change.NONE
        if change is Change.RELOAD:
            process.reload()
            return
        LOG.info("what the broker reads at its start alone has changed: it is started again")
        self._took_down = True
        await process.end(_PATIENCE)

    def _announce(self, change: Change) -> None:
        if change is not Change.NONE:
            verb = "reload" if change is Change.RELOAD else "restart"
            LOG.info("%s has changed: bring it to the broker, and %s that", self.broker.directory, verb)

    def took_down(self) -> bool:
        """Tell, once, whether it was this watch that ended the process: then it did not fall."""
        answer, self._took_down = self._took_down, False
        return answer
