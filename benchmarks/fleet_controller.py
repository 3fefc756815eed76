"""The controller of a simulated fleet: started, killed, and looked at from outside: its view, its memory, its time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet_agents import data_directory, name_of
from benchmarks.memory import field
from benchmarks.program import BIN, BenchError, end, free_port, run, surroundings
from controller.addresses import BoundAddresses, ping
from controller.cluster import Cluster, open_cluster
from controller.config import load_config
from controller.enrolment.issue import Issuer
from controller.enrolment.keys import COLLECTION, KeyNote
from controller.enrolment.nodes import NodeRecord
from controller.enrolment.proof import fingerprint
from controller.store.interface import Value
from edge_agent.identity import DataDirectory, generate_keys
from edge_agent.join import tls_request
from protocol import names
from protocol.version import __version__

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 120.0
_POLL = 0.05
_ROLE = re.compile(rb"\0role\0(\w+)\0")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the controller's processes take, by role: MiB, and seconds of processor time since they began."""

    rss: Counter[str]
    pss: Counter[str]
    busy: Counter[str]


class Controller:
    """One controller, with ports that stay the same from start to start."""

    def __init__(self, directory: Path) -> None:
        """Write its configuration into `directory`."""
        directory.mkdir()
        self.directory = directory
        self.config_path = directory / "controller.yaml"
        self._log = directory / "controller.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._write_config()
        self._config = load_config(self.config_path)

    def _write_config(self) -> None:
        web, ssh, tunnel, api, mqtt = (f"127.0.0.1:{free_port()}" for _ in range(5))
        self.config_path.write_text(
            f"""\
teleport:
  data_dir: {self.directory / "controller"}
auth_service:
  cluster_name: bench
  listen_addr: "{api}"
proxy_service:
  listen_addr: "{ssh}"
  tunnel_listen_addr: "{tunnel}"
  web_listen_addr: "{web}"
  requests_per_minute: 1000000
mqtt:
  listen_addr: "{mqtt}"
""",
            encoding="utf-8",
        )

    @contextmanager
    def running(self) -> Iterator[Controller]:
        """Run it, and end it."""
        self.start()
        try:
            yield self
        finally:
            if self._process:
                end(self._process)

    def start(self) -> None:
        """Start it and wait until it says that it is ready. Raises `BenchError`."""
        seen = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(BIN / "controller"), "start", "-c", str(self.config_path)],
                env=surroundings(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: self._has_said(rb"cluster \S+ is ready", seen), "the start of the controller", _PATIENCE)

    def _has_said(self, pattern: bytes, after: int) -> bool:
        if self._process and self._process.poll() is not None:
            raise BenchError(f"the controller ended with status {self._process.returncode}; its log is {self._log}")
        return re.search(pattern, self._log.read_bytes()[after:]) is not None

    def kill(self) -> None:
        """End it without a word (SIGKILL); its other processes notice, and end."""
        assert self._process
        rest = list(self._processes())
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not any(map(_is_alive, rest)), "the end of the controller's processes", _PATIENCE)

    @property
    def tctl(self) -> list[str]:
        """The admin's command."""
        return [str(BIN / "tctl"), "-c", str(self.config_path)]

    def invite(self) -> tuple[str, str, str]:
        """Return what a device joins with: the web address, the CA pin, and a token for any number of devices."""
        made = json.loads(run([*self.tctl, "tokens", "add", "--type=node", "--uses=unlimited", "--format=json"]))
        return str(made["controller"]), str(made["ca_pin"]), str(made["token"])

    # --- looked at ----------------------------------------------------------------------------------------------------

    def open(self) -> Cluster:
        """Open its cluster, as another process of the controller does."""
        return open_cluster(self._config)

    def usage(self) -> Usage:
        """Return what its processes take."""
        rss, pss, busy = Counter[str](), Counter[str](), Counter[str]()
        for pid, role in self._processes().items():
            rss[role] += field(pid, "Rss")  # type: ignore[assignment]  # a counter of MiB
            pss[role] += field(pid, "Pss")  # type: ignore[assignment]  # the same
            busy[role] += processor_seconds(pid)  # type: ignore[assignment]  # of seconds
        return Usage(rss, pss, busy)

    def _processes(self) -> dict[int, str]:
        """Return its processes, each with its role."""
        assert self._process
        found = {self._process.pid: "supervisor"}
        todo = _children(self._process.pid)
        while todo:
            pid = todo.pop()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            named = _ROLE.search(command)
            found[pid] = named[1].decode() if named else "broker" if b"mosquitto" in command else "other"
            todo += _children(pid)
        return found

    # --- made ready ---------------------------------------------------------------------------------------------------

    def enrol(self, folder: Path, numbers: range) -> None:
        """Enrol devices without their asking, as a join would have it. The controller must not run."""
        cluster = self.open()
        door = ping(self._config, BoundAddresses.load(self._config))
        control, name = cluster.control, self._config.cluster_name
        issuer = Issuer(cluster.authority, cluster.terms, name, cluster.clock, control.policy, control.node_document)
        nodes: dict[str, Value] = {}
        notes: dict[str, Value] = {}
        for number in numbers:
            keys, directory = generate_keys(), data_directory(folder, number)
            node = NodeRecord(
                node_id=names.parse_node_id(str(uuid.uuid4())),
                name=names.parse_node_name(name_of(number)),
                labels={"site": f"harbour-{number % 20}", "env": "production"},
                ssh_public_key=keys.host_public,
                generation=1,
                joined=cluster.clock(),
                token="bench",  # noqa: S106 - how a token is shown, not one
                version=__version__,
            )
            issue = issuer.certify(node, tls_request(keys), door)
            nodes[node.node_id] = issue.node.to_value()
            notes[fingerprint(keys.host_public)] = KeyNote(node.node_id, "").to_value()
            directory.mkdir(mode=0o700, parents=True)
            DataDirectory(directory).save(keys, issue.reply, self._config.web_listen)
        cluster.store.collection("nodes").put_many(nodes, now=cluster.clock())
        cluster.store.collection(COLLECTION).put_many(notes, now=cluster.clock())


def wait_until(holds: Callable[[], bool], what: str, patience: float, poll: float = _POLL) -> float:
    """Wait until `holds`, and return the seconds that took. Raises `BenchError` where it never does."""
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > patience:
            raise BenchError(f"{what} did not happen within {patience:.0f} s")
        time.sleep(poll)
    return time.monotonic() - begin


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
