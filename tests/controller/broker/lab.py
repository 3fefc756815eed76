"""A real mosquitto on the files that the controller writes for it, and clients that speak to it."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from controller.addresses import BoundAddresses
from controller.audit import AuditLog
from controller.authority import Authority, Vault
from controller.broker.broker import Broker, Change
from controller.broker.entrance import open_entrance
from controller.broker.mosquitto import find_mosquitto, find_owner
from controller.broker.settings import CONFIGURATION
from controller.cluster import utc_now
from controller.config import ControllerConfig, parse_config
from controller.locks import Locks
from controller.store.memory import MemoryStore
from protocol.names import ClusterName, NodeId
from protocol.secret import Secret
from tests.controller.harbour import HandClock

PATIENCE = 30.0
NAME = "mqtt.harbour"  # what the broker is taken for, wherever it is dialled
NODE = NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f")
OTHER = NodeId("0b7e2d31-55aa-4c1b-8f7d-9a8b7c6d5e4f")


class RefusedError(Exception):
    """The broker did not let a client in."""


class _Kept:
    """A context that keeps the socket it made: paho leaves it open where the handshake fails."""

    check_hostname = False  # paho is to leave that to the context

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.made: ssl.SSLSocket | None = None

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 - paho's
        self.made = self._context.wrap_socket(sock, **(options | {"server_hostname": NAME}))
        return self.made

    def close(self) -> None:
        if self.made is not None:
            self.made.close()


class Caller:
    """One MQTT client, on a thread of its own."""

    def __init__(
        self,
        context: ssl.SSLContext,
        client_id: str,
        *,
        clean: bool = True,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311,
    ) -> None:
        self.messages: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self._facts: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if protocol is MQTTProtocolVersion.MQTTv5 else clean,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        self._kept = _Kept(context)
        self.client.tls_set_context(cast("ssl.SSLContext", self._kept))
        self.client.on_connect = lambda _c, _u, _f, code, _p: self._facts.put(("connected", code))
        self.client.on_disconnect = lambda _c, _u, _f, code, _p: self._facts.put(("disconnected", code))
        self.client.on_subscribe = lambda _c, _u, mid, codes, _p: self._facts.put(("subscribed", (mid, codes)))
        self.client.on_publish = lambda _c, _u, mid, _r, _p: self._facts.put(("published", mid))
        self.client.on_message = self._take

    def _take(self, _client: Client, _user: object, message: MQTTMessage) -> None:
        self.messages.put((message.topic, bytes(message.payload), message.retain))

    def connect(self, port: int, keepalive: int = 60) -> Caller:
        """Raises `RefusedError`."""
        try:
            self.client.connect("127.0.0.1", port, keepalive)
        except (ssl.SSLError, ConnectionError) as err:
            self._kept.close()
            raise RefusedError(str(err)) from err
        self.client.loop_start()
        kind, code = self._facts.get(timeout=PATIENCE)
        if kind != "connected" or code.is_failure:
            self.client.loop_stop()
            raise RefusedError(f"{kind}: {code}")
        return self

    def subscribe(self, topic: str, qos: int = 1) -> None:
        self.client.subscribe(topic, qos)
        self.await_fact("subscribed")

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish; with QoS 1, wait until the broker has it."""
        self.client.publish(topic, payload, qos=qos, retain=retain)
        if qos:
            self.await_fact("published")

    def await_fact(self, kind: str) -> Any:  # noqa: ANN401 - what paho tells
        deadline = time.monotonic() + PATIENCE
        while True:
            found, value = self._facts.get(timeout=max(0.01, deadline - time.monotonic()))
            if found == kind:
                return value
            if found == "disconnected":
                raise RefusedError(f"disconnected: {value}")

    def next_message(self) -> tuple[str, bytes, bool]:
        return self.messages.get(timeout=PATIENCE)

    def cut(self) -> None:
        """End the connection without a word, as a device that loses its power does."""
        assert self._kept.made is not None
        self._kept.made.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self._kept.close()
        self.client._reset_sockets()


def chain_of(authority: Authority, clock: HandClock, node_id: str = NODE) -> str:
    """Return key and client certificate of a node, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, SHA256())
    certificate = authority.sign_node_tls(request.public_bytes(Encoding.PEM).decode(), NodeId(node_id), clock())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() + certificate


def serial_of(pem: str) -> str:
    certificate = x509.load_pem_x509_certificate(pem[pem.index("-----BEGIN CERTIFICATE") :].encode())
    return f"{certificate.serial_number:x}"


@dataclass
class Lab:
    """One broker in one folder."""

    folder: Path
    # It may be moved ahead by so much: mosquitto goes by the system's clock, and takes nothing from the future.
    clock: HandClock = field(
        default_factory=lambda: HandClock(utc_now().replace(microsecond=0) - timedelta(minutes=10))
    )
    configured: ControllerConfig | None = None  # otherwise than usual

    def __post_init__(self) -> None:
        self.store = MemoryStore()
        self.authority = Authority(
            self.store, Vault(Secret(b"insecure master key of 32 bytes!")), ClusterName("harbour")
        )
        self.authority.create_missing(self.clock())
        self.audit = AuditLog(self.folder / "log", ClusterName("harbour"), self.clock)
        self.locks = Locks(self.store, self.audit, self.clock)
        self.fleet = 1
        self.serials: dict[NodeId, tuple[str, ...]] = {}  # of the certificates that enrolled nodes hold
        data_dir = self.folder / "data"
        data_dir.mkdir(mode=0o700, parents=True)
        text = f"teleport: {{data_dir: '{data_dir}'}}\nauth_service: {{cluster_name: harbour}}\n"
        self.config = self.configured or parse_config(text, "controller.yaml")
        self._berth = socket.socket()
        self._berth.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._berth.bind(("127.0.0.1", 0))
        here = ("127.0.0.1", 0)
        self.port: int = self._berth.getsockname()[1]
        self.bound = BoundAddresses(here, here, here, here, ("127.0.0.1", self.port))
        self.owner = find_owner()
        self.broker = Broker(
            config=self.config,
            bound=self.bound,
            store=self.store,
            authority=self.authority,
            locks=self.locks.list,
            serials=lambda node_id: self.serials.get(node_id, ()),
            fleet=lambda: self.fleet,
            clock=self.clock,
            owner=self.owner,
        )
        self.callers: list[Caller] = []
        self.process: subprocess.Popen[bytes]

    # --- the broker ---------------------------------------------------------------------------------------------

    def start(self) -> Lab:
        """Start mosquitto on fresh files, and wait until it listens."""
        self.broker.prepare()
        self.run()
        return self

    def run(self) -> None:
        self.log = self.folder / "mosquitto.log"
        as_whom: dict[str, Any] = {}
        if self.owner is not None:
            as_whom = {"user": self.owner.uid, "group": self.owner.gid, "extra_groups": ()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [find_mosquitto(), "-c", CONFIGURATION], cwd=self.broker.directory, stderr=log, **as_whom
            )
        self.await_door()

    def await_door(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE):
                return
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    @property
    def memory(self) -> Path:
        return self.broker.directory / "mosquitto.db"

    def await_memory(self, text: bytes) -> None:
        """Wait until the broker has written `text` to its disk: it does so at the end of each of its rounds."""
        deadline = time.monotonic() + PATIENCE
        while not (self.memory.exists() and text in self.memory.read_bytes()):
            assert time.monotonic() < deadline, "the broker does not write down what it should keep"
            time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def refresh(self) -> Change:
        """Look at the store, and have the process take up what changed, as the supervisor does."""
        change = self.broker.refresh()
        if change is Change.RELOAD:
            self.process.send_signal(1)
        if change is Change.RESTART:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.run()
        return change

    def release(self) -> None:
        """Give the port back: no broker will run here."""
        self._berth.close()

    def close(self) -> None:
        for caller in self.callers:
            caller.close()
        self.release()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)

    # --- those who come -----------------------------------------------------------------------------------------

    def context(self, chain: str | None, authority: Authority | None = None) -> ssl.SSLContext:
        """Return what a client brings: `chain` is a key and a certificate, None for neither."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata="".join((authority or self.authority).tls_authorities()))
        if chain is not None:
            path = self.folder / f"client-{os.urandom(4).hex()}.pem"
            path.write_text(chain)
            context.load_cert_chain(path)
        return context

    def node(
        self, node_id: str = NODE, *, chain: str | None = None, client_id: str | None = None, clean: bool = True
    ) -> Caller:
        """Return a node that is connected. Raises `RefusedError`."""
        chain = chain or chain_of(self.authority, self.clock, node_id)
        return self.caller(self.context(chain), node_id if client_id is None else client_id, clean=clean)

    def controller(self, *, clean: bool = True) -> Caller:
        """Return the controller's own client, connected."""
        entrance = open_entrance(self.config, self.bound, self.authority, self.clock())
        assert entrance is not None
        return self.caller(entrance.context, "controller", clean=clean)

    def caller(self, context: ssl.SSLContext, client_id: str, *, clean: bool = True) -> Caller:
        return self.stranger(context, client_id, clean=clean).connect(self.port)

    def can_come(self, chain: str) -> bool:
        """Tell whether the node of this certificate is let in."""
        caller = Caller(self.context(chain), NODE)
        try:
            caller.connect(self.port)
        except RefusedError:
            return False
        finally:
            caller.close()
        return True

    def await_answer(self, chain: str, *, is_let_in: bool) -> None:
        """Wait until the broker says so to this certificate: it takes a signal when it does."""
        deadline = time.monotonic() + PATIENCE
        while self.can_come(chain) is not is_let_in:
            assert time.monotonic() < deadline, "the broker did not take up what changed"
            time.sleep(0.02)

    def stranger(
        self,
        context: ssl.SSLContext,
        client_id: str,
        *,
        clean: bool = True,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311,
    ) -> Caller:
        """Return a client that is not connected yet."""
        caller = Caller(context, client_id, clean=clean, protocol=protocol)
        self.callers.append(caller)
        return caller


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Lab]:
    lab = Lab(folder)
    try:
        yield lab.start()
    finally:
        lab.close()
