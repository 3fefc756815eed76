"""`controller start`: opens the cluster, binds the doors, and runs one process for each role.

The supervisor holds the listening sockets, so a role that dies loses nobody: connections wait in the
backlog until it is up again. It touches no request itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from controller import broker_watch
from controller.accounts import Origin
from controller.addresses import BoundAddresses, public_web
from controller.broker.error import BrokerError
from controller.broker.mosquitto import find_mosquitto, find_owner
from controller.broker_watch import BrokerWatch
from controller.cluster import Cluster
from controller.config import Address, ControllerConfig
from controller.housekeeping import AuthorityWatch, Housekeeper
from controller.policy.supervision import Restarts, decide_restart
from controller.process import Process, Program, lifeline
from controller.tls_files import TlsPair, prepare_api, prepare_web, web_names, web_pins
from protocol import limits
from protocol.addresses import join_address

LOG = logging.getLogger("CONTROLLER")
_HOUSEKEEPING = timedelta(minutes=5)
# How often it is looked whether the TLS authority turns.
_AUTHORITY_LOOK = timedelta(seconds=1)
# How long a role may take to end once its drain time is over, before it is ended.
_PATIENCE = timedelta(seconds=5)
# -P: the directory that the controller is started in holds no code of ours.
_PYTHON = (sys.executable, "-P", "-m")
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class StartError(Exception):
    """The controller cannot start; the message is one line with what failed and what to do."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The listening sockets; `mqtt` only keeps its port for the broker, and is None where none is ours to run.

    `diag` is None where diagnostics are off.
    """

    web: socket.socket
    ssh: socket.socket
    tunnel: socket.socket
    api: socket.socket
    mqtt: socket.socket | None = None
    diag: socket.socket | None = None

    def addresses(self) -> BoundAddresses:
        """Return where they listen, with the ports the system chose."""
        mqtt, diag = (None if door is None else _name_of(door) for door in (self.mqtt, self.diag))
        people, devices = (_name_of(self.web), _name_of(self.ssh)), (_name_of(self.tunnel), _name_of(self.api))
        return BoundAddresses(*people, *devices, mqtt, diag)


def bind_doors(config: ControllerConfig) -> Doors:
    """Bind every door. Raises `StartError` for an address that cannot be had."""
    with ExitStack() as bound:
        doors = Doors(
            web=bound.enter_context(_bind(config.web_listen, "proxy_service.web_listen_addr")),
            ssh=bound.enter_context(_bind(config.ssh_listen, "proxy_service.listen_addr")),
            tunnel=bound.enter_context(_bind(config.tunnel_listen, "proxy_service.tunnel_listen_addr")),
            api=bound.enter_context(_bind(config.api_listen, "auth_service.listen_addr")),
            mqtt=bound.enter_context(_berth(config)) if config.broker == "mosquitto" else None,
            diag=bound.enter_context(_bind(config.diag_listen, "teleport.diag_addr")) if config.diag_listen else None,
        )
        bound.pop_all()  # all of them are there: nothing is closed
    return doors


def _berth(config: ControllerConfig) -> socket.socket:
    """Return a socket that keeps the broker's port; mosquitto cannot be handed one, and binds its own beside it.

    Both say SO_REUSEADDR, and no two such sockets can listen (socket(7)): where somebody else does, it is seen here.
    """
    try:
        find_mosquitto()
        find_owner()
    except BrokerError as err:
        raise StartError(str(err)) from None
    return _bind(config.mqtt_listen, "mqtt.listen_addr", is_listening=False)


def _bind(address: Address, key: str, *, is_listening: bool = True) -> socket.socket:
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with ExitStack() as opened:
            door = opened.enter_context(socket.socket(*found[:3]))
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(found[4])
            if is_listening:
                door.listen(1024)
            opened.pop_all()
    except (OSError, UnicodeError) as err:
        reason = getattr(err, "strerror", None) or err
        where = f"{key}: cannot listen on {join_address(*address)}: {reason}"
        raise StartError(f"{where}: end what listens there, or give another address") from None
    return door


def _name_of(door: socket.socket) -> Address:
    host, port = door.getsockname()[:2]
    return str(host), int(port)


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this controller alone. Raises `StartError` where another one holds it."""
    with (data_dir / "controller.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"{data_dir}: another controller runs on this data directory: end that one first"
            ) from None
        yield


class Supervisor:
    """Keeps the roles running until it is told to stop."""

    def __init__(self, cluster: Cluster, config_path: Path, doors: Doors) -> None:
        self._cluster = cluster
        self._config_path = config_path
        self._doors = doors
        self._bound = doors.addresses()
        self._stop = asyncio.Event()
        self._not_ready: set[str] = set()
        self._running: dict[str, Process] = {}
        self._broker = None if cluster.config.broker == "none" else BrokerWatch(cluster, self._bound)
        self._watch = AuthorityWatch(cluster, self._renew)
        self._renewing = threading.Lock()

    async def run(self) -> None:
        """Run every role; on SIGTERM or SIGINT let them drain, and return."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with claimed(self._cluster.config.data_dir), lifeline() as life:
            self._bound.save(self._cluster.config.data_dir)
            self._cluster.orders.give()
            programs = self._programs()
            self._not_ready = {program.name for program in programs if program.is_role}
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_house(), name="housekeeping")
                tasks.create_task(self._keep_broker(), name="broker's files")
                tasks.create_task(self._keep_certificates(), name="certificates")
                for program in programs:
                    tasks.create_task(self._keep(program, life), name=program.name)
        LOG.info("stopped")

    def _programs(self) -> list[Program]:
        doors = self._doors
        web, api = prepare_web(self._cluster, self._bound), prepare_api(self._cluster, self._bound)
        programs = [
            self._role("proxy", (doors.ssh, doors.tunnel)),
            self._role("web", (doors.web,), web),
            self._role("api", (doors.api,), api),
        ]
        if self._broker is not None:
            self._broker.broker.prepare()
        if self._broker is not None and doors.mqtt is not None:
            programs.insert(0, self._broker.program())
        if self._broker is not None:
            programs.append(self._role("presence", ()))
        if doors.diag is not None:
            programs.append(self._role("diag", (doors.diag,)))
        return [*programs, self._node()] if self._cluster.config.ssh_service else programs

    def _role(self, name: str, sockets: tuple[socket.socket, ...], tls: TlsPair | None = None) -> Program:
        numbers = tuple(door.fileno() for door in sockets)
        command = [*_PYTHON, "controller.cli", "role", name, "-c", str(self._config_path)]
        for number in numbers:
            command += ["--fd", str(number)]
        if tls is not None:
            command += ["--cert", str(tls.cert_file), "--key", str(tls.key_file)]
        if tls is not None and tls.client_authorities is not None:
            command += ["--client-ca", str(tls.client_authorities)]
        return Program(name, tuple(command), numbers)

    def _node(self) -> Program:
        """Return the agent for this host: it joins like any other, with a token made for it alone."""
        config = self._cluster.config
        data_dir = config.data_dir / "node"
        command = [*_PYTHON, "edge_agent", "start", "-c", os.devnull, "--data-dir", str(data_dir), *self._own_door()]
        if config.nodename:
            command += ["--nodename", config.nodename]
        if config.ssh_labels:
            command += ["--labels", ",".join(f"{key}={value}" for key, value in config.ssh_labels.items())]

        def variables() -> dict[str, str]:
            return {} if (data_dir / "identity.json").exists() else {"SKERRY_TOKEN": self._own_token()}

        return Program("node", tuple(command), variables=variables, is_role=False)

    def _own_door(self) -> list[str]:
        """Return the options by which this host's own agent finds and trusts the web door."""
        host, port = self._bound.web
        names = web_names(self._cluster)
        here = "127.0.0.1" if host in _ANY else host
        if here not in names:
            here = next((name for name in ("localhost", *names) if name in names), here)
        trust = ["--ca-pin", web_pins(self._cluster)[0]] if here in names else ["--insecure"]
        if here not in names:
            LOG.warning("the web door's certificate bears no name: this host's own agent does not check it")
        return ["--controller", join_address(here, port), *trust]

    def _own_token(self) -> str:
        origin = Origin(via="start", actor="controller")
        token, _ = self._cluster.enrolment.tokens.add(
            ttl=limits.JOIN_TOKEN_TTL, uses=1, labels={}, claimable=None, origin=origin
        )
        return token.reveal()

    async def _keep(self, program: Program, life: int) -> None:
        """Run `program`, again and again, until it is time to stop."""
        restarts = Restarts(self._cluster.clock())
        while not self._stop.is_set():
            ending = await self._run_once(program, life)
            if self._stop.is_set():
                return
            if program.name == broker_watch.NAME and self._broker is not None and self._broker.took_down():
                continue
            delay, falls = decide_restart(restarts, self._cluster.clock())
            LOG.error("%s ended (%s): starting it again in %d s", program.name, ending, delay.total_seconds())
            await self._sleep(delay)
            restarts = Restarts(self._cluster.clock(), falls)

    async def _run_once(self, program: Program, life: int) -> str:
        try:
            process = await Process.start(program, life)
        except OSError as err:
            return f"it cannot be started: {err.strerror or err}"
        self._running[program.name] = process
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(process.relay_log())
            ready = tasks.create_task(self._note_ready(program, process))
            stopped = tasks.create_task(self._stop.wait())
            ended = tasks.create_task(process.wait())
            await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await process.end(self._cluster.config.drain_timeout + _PATIENCE)
            stopped.cancel()
            ready.cancel()
        del self._running[program.name]
        return ended.result()

    async def _note_ready(self, program: Program, process: Process) -> None:
        if not await process.wait_ready() or program.name not in self._not_ready:
            return
        self._not_ready.discard(program.name)
        if not self._not_ready:
            self._announce()

    def _announce(self) -> None:
        config, bound = self._cluster.config, self._bound
        doors = {"web": bound.web, "ssh": bound.ssh, "tunnel": bound.tunnel, "machine API": bound.api}
        LOG.info("doors: %s", ", ".join(f"{name} {join_address(*address)}" for name, address in doors.items()))
        if bound.diag is not None:
            LOG.info("diagnostics: http://%s/healthz, /readyz and /metrics", join_address(*bound.diag))
        LOG.info("cluster %s is ready: https://%s/web", config.cluster_name, public_web(config, bound))

    async def _keep_broker(self) -> None:
        while self._broker is not None and not self._stop.is_set():
            await self._sleep(broker_watch.LOOK)
            change = await asyncio.to_thread(self._broker.look)
            await self._broker.apply(change, self._running.get(broker_watch.NAME))

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
