"""`controller start`: opens the cluster, binds the doors, and runs one process for each role.

The supervisor holds the listening sockets, so a role that dies loses nobody: connections wait in the
backlog until it is up again. It touches no request itself. It watches over every role, and whoever started it, such as
systemd, watches over it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from controller import broker_watch, role
from controller.addresses import public_web
from controller.audit import AuditError
from controller.broker_watch import BrokerWatch
from controller.cluster import Cluster
from controller.config import ConfigError, load_config
from controller.crew import Crew, Watch
from controller.debug_door import serve_orders
from controller.doors import Doors, claimed
from controller.housekeeping import AuthorityWatch, Housekeeper
from controller.log import LevelBoard, set_level
from controller.policy.debug_order import Order, SetLevel
from controller.policy.supervision import Limits
from controller.process import Program, lifeline
from controller.programs import programs_of
from controller.service_manager import ServiceManager
from controller.tls_files import prepare_api, prepare_web
from protocol import events, service_manager
from protocol.addresses import join_address
from protocol.events import Json

LOG = logging.getLogger("CONTROLLER")
_HOUSEKEEPING = timedelta(minutes=5)
# How often it is looked whether the TLS authority turns.
_AUTHORITY_LOOK = timedelta(seconds=1)
# How long a role may take to end once its drain time is over, before it is ended.
_PATIENCE = timedelta(seconds=5)
# What the end of everything may take beside that.
_SPARE = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a supervisor is started.

    Attributes:
        config_path: controller.yaml, absolute.
        text: what stands in it: what the roles run by, whatever becomes of the file.
        manager: who started it.
        severity: what to log by, whatever controller.yaml says; None for what that says.
        limits: for how long a role may be silent.
    """

    config_path: Path
    text: str
    manager: ServiceManager = field(default_factory=ServiceManager)
    severity: str | None = None
    limits: Limits = field(default_factory=Limits)


class Supervisor:
    """Keeps the roles running until it is told to stop."""

    def __init__(self, cluster: Cluster, setting: Setting, doors: Doors) -> None:
        self._cluster = cluster
        self._config = cluster.config
        self._setting = setting
        self._doors = doors
        self._bound = doors.addresses()
        self._level = LevelBoard.make(setting.severity or self._config.severity)
        self._shared = {role.LEVEL: self._level.fd, role.SETTINGS: role.keep_settings(setting.text)}
        self._stop = asyncio.Event()
        self._hangup = asyncio.Event()
        self._crew: Crew
        self._is_announced = False
        self._broker = None if cluster.config.broker == "none" else BrokerWatch(cluster, self._bound)
        self._watch = AuthorityWatch(cluster, self._renew)
        self._renewing = threading.Lock()

    async def run(self) -> None:
        """Run every role; on SIGTERM or SIGINT let them drain, and return. SIGHUP has the settings read again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        # Somebody's terminal that is closed ends what was started there; a service has none.
        loop.add_signal_handler(signal.SIGHUP, self._stop.set if _has_terminal() else self._hangup.set)
        with claimed(self._config.data_dir), lifeline() as life:
            self._bound.save(self._config.data_dir)
            self._cluster.orders.give()
            programs = programs_of(self._cluster, self._setting.config_path, self._doors, self._bound, self._broker)
            drain = self._config.drain_timeout + _PATIENCE
            watch = Watch(life, self._shared, self._setting.limits, drain, self._cluster.clock, self._note_hung)
            self._crew = Crew(programs, watch, self._stop, self._note_change)
            async with asyncio.TaskGroup() as tasks:
                beside = [
                    tasks.create_task(self._pulse(), name="pulse"),
                    tasks.create_task(self._reload(), name="settings"),
                    tasks.create_task(self._serve_orders(), name="debug socket"),
                    tasks.create_task(self._tell_stop(), name="stop"),
                ]
                await self._keep_all(programs)
                for task in beside:
                    task.cancel()
        LOG.info("stopped")

    async def _keep_all(self, programs: list[Program]) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_house(), name="housekeeping")
            tasks.create_task(self._keep_broker(), name="broker's files")
            tasks.create_task(self._keep_certificates(), name="certificates")
            for program in programs:
                is_broker = program.name == broker_watch.NAME and self._broker is not None
                took_down = self._broker.took_down if is_broker and self._broker else _never
                tasks.create_task(self._crew.keep(program, took_down), name=program.name)

    # --- what others are told -------------------------------------------------------------------------------

    def _status(self) -> str:
        return f"cluster {self._config.cluster_name}: {self._crew.summary()}"

    def _note_change(self) -> None:
        if self._stop.is_set():
            return
        if self._crew.is_ready and not self._is_announced:
            self._is_announced = True
            self._announce()
            self._setting.manager.tell(service_manager.ready(self._status()))
        else:
            self._setting.manager.tell(service_manager.status(self._status()))

    def _note_hung(self, name: str, silence: timedelta) -> None:
        """Have it written down, on a thread: what hangs may be in the midst of writing the audit log itself."""

        def write() -> None:
            fields: dict[str, Json] = {"process": name, "seconds": int(silence.total_seconds())}
            try:
                self._cluster.audit.write(events.CONTROLLER_HUNG, fields)
            except AuditError as err:
                LOG.error("%s", err)  # noqa: TRY400 - one line

        asyncio.get_running_loop().run_in_executor(None, write)

    def _announce(self) -> None:
        config, bound = self._config, self._bound
        doors = {"web": bound.web, "ssh": bound.ssh, "tunnel": bound.tunnel, "machine API": bound.api}
        LOG.info("doors: %s", ", ".join(f"{name} {join_address(*address)}" for name, address in doors.items()))
        if bound.diag is not None:
            LOG.info("diagnostics: http://%s/healthz, /readyz and /metrics", join_address(*bound.diag))
        LOG.info("cluster %s is ready: https://%s/web", config.cluster_name, public_web(config, bound))

    async def _pulse(self) -> None:
        """Tell the service manager that this loop turns."""
        while self._setting.manager.pulse is not None:
            self._setting.manager.tell(service_manager.PULSE)
            await asyncio.sleep(self._setting.manager.pulse)

    async def _tell_stop(self) -> None:
        await self._stop.wait()
        manager, drain = self._setting.manager, self._config.drain_timeout
        manager.tell(service_manager.stopping(f"stopping: sessions may end within {drain.total_seconds():.0f} s"))
        manager.tell(service_manager.extending((drain + _PATIENCE + _SPARE).total_seconds()))

    # --- what it is told ------------------------------------------------------------------------------------

    async def _reload(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            if self._is_serving:
                self._setting.manager.tell(service_manager.reloading(time.monotonic_ns() // 1000))
            await self._read_settings()
            if self._is_serving:
                self._setting.manager.tell(service_manager.ready(self._status()))

    @property
    def _is_serving(self) -> bool:
        """Whether it is ready, and not about to end: before and after, a reload must not say that it is."""
        return self._is_announced and not self._stop.is_set()

    async def _read_settings(self) -> None:
        """Take up the log level that controller.yaml says by now; the rest of it counts from the next start."""
        try:
            config = await asyncio.to_thread(load_config, self._setting.config_path)
        except ConfigError as err:
            LOG.error("the settings are not read again, and everything goes on as it was: %s", err)  # noqa: TRY400 - one line
            return
        self._set_level(self._setting.severity or config.severity)
        LOG.info("the settings are read again: the log level is %s", self._level.read())
        if replace(config, severity=self._config.severity) != self._config:
            LOG.warning("%s says more that is new: that counts from the next start", self._setting.config_path)

    def _set_level(self, severity: str) -> None:
        self._level.write(severity)
        set_level(severity)

    async def _serve_orders(self) -> None:
        try:
            await serve_orders(self._config.data_dir, self._obey)
        except OSError as err:
            LOG.warning("`controller debug` will not reach this controller: %s", err.strerror or err)

    def _obey(self, order: Order) -> Mapping[str, Any]:
        before = self._level.read()
        if isinstance(order, SetLevel):
            self._set_level(order.severity)
            LOG.info("the log level is %s, as was ordered by `controller debug`; it was %s", order.severity, before)
            return {"level": order.severity, "before": before}
        return {"level": before, "pid": os.getpid(), "ready": self._is_serving, "processes": self._crew.describe()}

    # --- what it sees to ------------------------------------------------------------------------------------

    async def _keep_broker(self) -> None:
        while self._broker is not None and not self._stop.is_set():
            await self._sleep(broker_watch.LOOK)
            change = await asyncio.to_thread(self._broker.look)
            await self._broker.apply(change, self._crew.of(broker_watch.NAME))

    async def _keep_house(self) -> None:
        housekeeper = Housekeeper(self._cluster, self._renew)
        while not self._stop.is_set():
            await self._sleep(_HOUSEKEEPING)
            await asyncio.to_thread(housekeeper.round)

    async def _keep_certificates(self) -> None:
        while not self._stop.is_set():
            await self._sleep(_AUTHORITY_LOOK)
            await asyncio.to_thread(self._watch.look)

    def _renew(self) -> None:
        """Issue the doors' own TLS certificates anew; their workers take changed files up by themselves."""
        with self._renewing:  # housekeeping and a rotation may want it at once: a key goes with its certificate
            prepare_web(self._cluster, self._bound)
            prepare_api(self._cluster, self._bound)
        LOG.info("TLS certificates renewed")

    async def _sleep(self, span: timedelta) -> None:
        """Wait for `span`, or until it is time to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(span.total_seconds()):
                await self._stop.wait()


def _never() -> bool:
    return False


def _has_terminal() -> bool:
    """Tell whether this process was started at a terminal, whose end is then told by SIGHUP (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
