"""A large fleet for the dashboard: enrolled, with its past on the controller's disk, and its hearts beating.

The controller is the real one, whole. Devices are one MQTT client that says what each of them would say; the broker is
one of the benchmark's own, for the controller's lets nobody speak for others. Tunnels are written to the store, as the
proxy does.
"""

from __future__ import annotations

import getpass
import os
import random
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks import fleet_controller
from benchmarks.fleet_controller import wait_until
from benchmarks.program import BenchError, free_port, start
from controller.accounts import Origin, SignedIn
from controller.accounts.records import SessionKind
from controller.broker.mosquitto import find_mosquitto
from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from controller.policy import chain
from controller.presence import Tunnel
from protocol import access, events, limits, names, topics
from protocol.decision import Granted
from protocol.events import EventKind, Json
from protocol.instants import format_instant, from_milliseconds, to_milliseconds
from protocol.live_sessions import LiveParty, LiveSession, LiveSessions
from protocol.names import NodeId
from protocol.presences import Beat, NodeState
from protocol.recording.cast import Event
from protocol.recording.signer import signer_line
from protocol.session_ids import RANDOM_BYTES, mint_session_id
from protocol.version import __version__
from tests.controller.kept_tape import upload
from tests.harness.tape import Tape

DAYS = 60
_BEAT_SECONDS = 30.0
_SLICES = 300
_SECONDS_RECORDED = 10
_SECONDS_OF_LONGEST = 900
_PATIENCE = 300.0
_PEOPLE = tuple(f"person-{number:03d}" for number in range(200))
_ORIGIN = Origin(via="tctl")
_FROM = "192.0.2.7:50112"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything there is."""

    nodes: int
    recordings: int
    sessions: int
    lines: int


class Controller(fleet_controller.Controller):
    """A controller with a broker that the benchmark runs."""

    def _write_config(self) -> None:
        super()._write_config()
        self.speaking = free_port()
        text, _, listen = self.config_path.read_text(encoding="utf-8").partition("mqtt:\n")
        self.broker = int(listen.rpartition(":")[2].strip().strip('"'))
        text += f'mqtt:\n  broker: external\n  url: "mqtts://localhost:{self.broker}"\n'
        self.config_path.write_text(text, encoding="utf-8")

    @contextmanager
    def broker_running(self) -> Iterator[None]:
        """Run the broker: a door with TLS for the controller, and one without for who speaks for the devices."""
        kept = self.directory / "controller" / "broker"
        settings = self.directory / "mosquitto.conf"
        settings.write_text(
            f"""\
allow_anonymous true
max_queued_messages 100000
max_inflight_messages 1000
listener {self.broker} 127.0.0.1
certfile {kept}/server.crt
keyfile {kept}/server.key
listener {self.speaking} 127.0.0.1
user {getpass.getuser()}
""",
            encoding="utf-8",
        )
        with ExitStack() as stack:
            start(stack, [str(find_mosquitto()), "-c", str(settings)], self.directory / "mosquitto.log")
            wait_until(lambda: _listens(self.speaking), "the start of the broker", _PATIENCE)
            yield


@dataclass
class Harbour:
    """A controller, and what lies on its disk.

    Attributes:
        signers: of the nodes that have recordings, the key that signs them.
        recorded: the recordings, the oldest first; the last is the longest.
    """

    controller: Controller
    size: Size
    chance: random.Random = field(default_factory=lambda: random.Random(5))  # noqa: S311 - the same fleet each time
    nodes: list[NodeRecord] = field(default_factory=list)
    signers: dict[NodeId, Ed25519PrivateKey] = field(default_factory=dict)
    recorded: list[Tape] = field(default_factory=list)

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster, opened beside the controller's processes."""
        return self.controller.open()

    def stock(self) -> None:
        """Write everything that is there before the controller starts."""
        self._enrol()
        self._add_people()
        self._record()
        write_log(self.controller.directory / "controller" / "log", self._past())

    # --- before -------------------------------------------------------------------------------------------------------

    def _enrol(self) -> None:
        now = self.cluster.clock()
        for number in range(self.size.nodes):
            node_id = NodeId(str(uuid.UUID(int=self.chance.getrandbits(128), version=4)))
            key = self.chance.randbytes(32)
            if number % max(1, self.size.nodes // 100) == 0:
                self.signers[node_id] = Ed25519PrivateKey.generate()
                key = self.signers[node_id].public_key().public_bytes_raw()
            self.nodes.append(
                NodeRecord(
                    node_id=node_id,
                    name=names.parse_node_name(f"gw-{number:05d}"),
                    labels={
                        "site": f"harbour-{number % 40}",
                        "env": "staging" if number % 10 == 0 else "production",
                        "model": f"rev-{number % 5}",
                    },
                    ssh_public_key=signer_line(key),
                    generation=1,
                    joined=now - timedelta(days=DAYS + 1),
                    token="…1234",  # noqa: S106 - how a token is shown, not one
                    version=__version__,
                )
            )
        self.cluster.store.collection("nodes").put_many({node.node_id: node.to_value() for node in self.nodes}, now=now)

    def _add_people(self) -> None:
        cluster, logins = self.cluster, (names.parse_login("pi"), names.parse_login("root"))
        chief = (access.ACCESS, access.AUDITOR, access.ADMIN)
        cluster.accounts.users.add(names.parse_user_name("chief"), logins, limits.INVITE_TTL, _ORIGIN, chief)
        for name in _PEOPLE[: max(10, self.size.nodes // 50)]:
            cluster.accounts.users.add(names.parse_user_name(name), logins, limits.INVITE_TTL, _ORIGIN)
        for number in range(30):
            tokens = cluster.enrolment.tokens
            tokens.add(ttl=timedelta(days=1), uses=number + 1, labels={}, claimable=None, origin=_ORIGIN)
        for name in _PEOPLE[:10]:
            cluster.locks.add("user", name, "on leave", timedelta(days=1), _ORIGIN)

    def _record(self) -> None:
        """Have recordings uploaded by their nodes, over the days."""
        now, devices = (
            to_milliseconds(self.cluster.clock()),
            [node for node in self.nodes if node.node_id in self.signers],
        )
        step = DAYS * 86_400_000 // self.size.recordings
        for number in range(self.size.recordings):
            is_longest = number == self.size.recordings - 1
            node, length = devices[number % len(devices)], _SECONDS_OF_LONGEST if is_longest else _SECONDS_RECORDED
            tape = Tape(
                node=node.node_id,
                node_name=node.name,
                cluster=names.parse_cluster_name("bench"),
                started=now - (self.size.recordings - number) * step,
                user="chief" if is_longest else _PEOPLE[number % len(_PEOPLE)],
                signing=self.signers[node.node_id],
                recipient=self.cluster.authority.recording_key(),
            ).head()
            for second in range(length):
                tape.output(
                    1000 * second, f"pi@{node.name}:~$ uptime\r\n up {second} min, load average: 0.{second}\r\n"
                )
                if second % 10 == 9:
                    tape.seal("running", 1000 * second + 1)
            tape.events(Event(1000 * length, "x", "0")).seal("final", 1000 * length)
            upload(self.cluster.recordings, node, tape)
            tape.records.clear()
            self.recorded.append(tape)

    def _past(self) -> Iterator[tuple[datetime, EventKind, dict[str, Json]]]:
        """Yield what the log is to tell, the oldest first."""
        begun = self.cluster.clock() - timedelta(days=DAYS)
        yield begun, events.CLUSTER_CREATE, {"cluster_name": "bench", "ca_pin": self.cluster.authority.ca_pins()[0]}
        told = [item for tape in self.recorded for item in _story(tape)]
        rest = self.size.lines - len(told) - 1
        told += [self._small_talk(begun + timedelta(days=DAYS) * (number / rest), number) for number in range(rest)]
        yield from sorted(told, key=lambda item: item[0])

    def _small_talk(self, at: datetime, number: int) -> tuple[datetime, EventKind, dict[str, Json]]:
        node, user = self.chance.choice(self.nodes), self.chance.choice(_PEOPLE)
        where: dict[str, Json] = {"server_id": node.node_id, "server_hostname": node.name}
        if number % 10 == 0:
            fields: dict[str, Json] = {"user": user, "method": "password", "success": True, "addr.remote": _FROM}
            return at, events.USER_LOGIN, fields
        if number % 10 < 3:
            return at, events.SESSION_CONNECT, {"user": user, **where, "addr.remote": _FROM, "target": node.name}
        if number % 2:
            return at, events.NODE_OFFLINE, {**where, "reason": "its link was lost"}
        return at, events.NODE_ONLINE, {**where, "version": __version__}

    # --- while it runs ------------------------------------------------------------------------------------------------

    @contextmanager
    def at_sea(self) -> Iterator[None]:
        """Have the devices there, their hearts beating, until the end."""
        ended = threading.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, "fleet", protocol=mqtt.MQTTv311)
        client.max_inflight_messages_set(1000)
        client.connect("127.0.0.1", self.controller.speaking)
        client.loop_start()
        hearts = threading.Thread(target=self._beat, args=(client, ended), name="hearts")
        try:
            self._come(client)
            hearts.start()
            yield
        finally:
            ended.set()
            if hearts.ident:
                hearts.join()
            client.disconnect()
            client.loop_stop()

    def _come(self, client: mqtt.Client) -> None:
        """Say that all are there but a few: of a hundred, three are lost and one never came; one has no tunnel."""
        now, shown = self.cluster.clock(), self._live()
        tunnels = {}
        for number, node in enumerate(self.nodes):
            if number % 100 == 99:
                continue
            tunnels[node.node_id] = Tunnel("down" if number % 100 >= 95 else "up", now)
            instance = f"{number:016x}"
            is_lost = number % 100 >= 96
            state = (
                NodeState(instance, "lost")
                if is_lost
                else NodeState(instance, None, __version__, 30, 1_000_000, 16_000, "Linux aarch64")
            )
            client.publish(topics.state(node.node_id), state.encode(), 1, retain=True)
            if node.node_id in shown and not is_lost:
                client.publish(topics.live(node.node_id), shown[node.node_id].encode(), 1, retain=True)
        self.cluster.presence.write(tunnels)

    def _live(self) -> dict[NodeId, LiveSessions]:
        now = to_milliseconds(self.cluster.clock())
        count = max(1, self.size.sessions * 2 // 3)
        nodes = [node for number, node in enumerate(self.nodes) if number % 100 < 95][:count]
        found: dict[NodeId, list[LiveSession]] = {}
        for number in range(self.size.sessions):
            node_id = nodes[number % count].node_id
            people = [names.parse_user_name(_PEOPLE[(number + more) % len(_PEOPLE)]) for more in range(1 + number % 3)]
            found.setdefault(node_id, []).append(
                LiveSession(
                    session=mint_session_id(node_id, os.urandom(RANDOM_BYTES)),
                    login=names.parse_login("pi"),
                    command="",
                    started=now - 60_000 * number,
                    size=(80, 24),
                    recorded=True,
                    parties=tuple(LiveParty(user, "peer", now - 60_000 * number, _FROM) for user in people),
                )
            )
        return {node_id: LiveSessions(tuple(sessions)) for node_id, sessions in found.items()}

    def _beat(self, client: mqtt.Client, ended: threading.Event) -> None:
        """Let each heart beat once in half a minute, spread evenly."""
        alive = [node.node_id for number, node in enumerate(self.nodes) if number % 100 < 96]
        turn = 0
        while not ended.wait(_BEAT_SECONDS / _SLICES):
            for node_id in alive[turn % _SLICES :: _SLICES]:
                client.publish(topics.beat(node_id), self._heartbeat(turn).encode(), 0)
            turn += 1

    def _heartbeat(self, turn: int) -> Beat:
        waiting = 3 if turn % 50 == 0 else 0
        return Beat(
            uptime=86_400 + turn,
            load=self.chance.randrange(200),
            memory=500_000,
            disk=12_000,
            temperature=451,
            round_trip=self.chance.randrange(200, 2000),
            reconnects=2,
            spool_files=waiting,
            spool_bytes=100_000 * waiting,
            clock_offset=12,
            tunnel=True,
            sessions=0,
            policy=1,
            generation=1,
        )

    def wait_until_seen(self) -> None:
        """Wait until the controller sees who there is, and has heard each heart. Raises `BenchError`."""
        self.cluster.mirror.follow()
        wanted = sum(number % 100 < 95 for number in range(self.size.nodes))

        def seen() -> bool:
            views = self.cluster.fleet.all()
            return sum(view.status == "online" and view.standing.beat is not None for view in views) == wanted

        wait_until(seen, f"being online of {wanted} nodes", _PATIENCE, 0.5)

    def sign_in(self, kind: SessionKind) -> str:
        """Return the token of a sign-in of somebody who may see everything. Raises `BenchError`."""
        user = self.cluster.accounts.users.get(names.parse_user_name("chief"))
        if user is None:
            raise BenchError("the user of the benchmark is not there")
        expires = self.cluster.clock() + timedelta(hours=12)
        opened = self.cluster.accounts.open_session(
            SignedIn(user.name, user.valid_from), kind, expires, Origin(via="web")
        )
        if not isinstance(opened, Granted):
            raise BenchError(f"the user of the benchmark is refused: {opened.reason}")
        return opened.value.reveal()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def _story(tape: Tape) -> Sequence[tuple[datetime, EventKind, dict[str, Json]]]:
    """Return what the log tells of a recorded session."""
    began, where = from_milliseconds(tape.started), {"server_id": tape.node, "server_hostname": tape.node_name}
    ended = began + timedelta(seconds=_SECONDS_RECORDED)
    session: dict[str, Json] = {"user": tape.user, "login": "pi", "sid": tape.session, **where, "addr.remote": _FROM}
    people: list[Json] = [tape.user]
    first, last = format_instant(began), format_instant(ended)
    connect: dict[str, Json] = {"user": tape.user, **where, "addr.remote": _FROM, "target": tape.node_name}
    end: dict[str, Json] = {
        **session,
        "interactive": True,
        "participants": people,
        "session_start": first,
        "session_stop": last,
        "exitCode": 0,
    }
    stored: dict[str, Json] = {
        "sid": tape.session,
        **where,
        "session_start": first,
        "size": 4000,
        "state": "complete",
        "user": tape.user,
    }
    return (
        (began - timedelta(seconds=1), events.SESSION_CONNECT, connect),
        (began, events.SESSION_START, {**session, "size": "80:24", "interactive": True}),
        (ended, events.SESSION_END, end),
        (ended + timedelta(seconds=2), events.SESSION_UPLOAD, stored),
    )


def write_log(folder: Path, told: Iterator[tuple[datetime, EventKind, dict[str, Json]]]) -> None:
    """Put a log in the place of the one that is there, as the writer would have it, without waiting for the disk."""
    for old in folder.glob("audit-*.log"):
        old.unlink()
    previous, days = chain.GENESIS, dict[str, list[bytes]]()
    for number, (at, kind, fields) in enumerate(told):
        event = chain.compose(
            kind, fields, cluster=names.parse_cluster_name("bench"), time=at, uid=str(uuid.UUID(int=number))
        )
        _, line = chain.encode(event, previous)
        previous = chain.line_hash(line)
        days.setdefault(f"{at.astimezone(UTC):%Y-%m-%d}", []).append(line + b"\n")
    for day, lines in days.items():
        path = folder / f"audit-{day}.log"
        path.write_bytes(b"".join(lines))
        path.chmod(0o600)
