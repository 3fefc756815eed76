"""A real mosquitto for agents under test, set up as the controller sets up its own, and the controller's end of it.

The controller's client is paho, in a thread of its own: what nodes say is noted as it comes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion

from controller.broker.mosquitto import find_mosquitto
from protocol import topics
from protocol.live_sessions import LiveSessions
from protocol.names import NodeId
from protocol.presences import Beat, NodeState
from tests.harness.simulated_controller import TlsAuthority

_CONFIGURATION = """\
listener {port} {host}
cafile authorities.crt
certfile server.crt
keyfile server.key
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file acl
persistence true
persistence_location ./
autosave_on_changes true
autosave_interval 1
log_dest stderr
"""
_ACCESS = """\
user controller
topic readwrite #
pattern write n/%u/s
pattern write n/%u/b
pattern write n/%u/l
pattern read c/policy
pattern read c/pulse
pattern read c/n/%u
"""
_WAIT = 60.0
R = TypeVar("R")


@dataclass
class Heard:
    """What nodes said, in the order of arrival."""

    states: list[tuple[NodeId, NodeState]] = field(default_factory=list)
    beats: list[tuple[NodeId, Beat, int]] = field(default_factory=list)
    live: list[tuple[NodeId, LiveSessions]] = field(default_factory=list)


class SimulatedBroker:
    """The broker, and the controller listening to it.

    Args:
        directory: where its files lie.
        authority: who signs everybody's certificates.
        cluster: the cluster's name, which the broker's certificate bears.
        prefix: what stands in front of its command, such as ``ip netns exec NAME``.
        host: where it listens.
    """

    def __init__(
        self,
        directory: Path,
        authority: TlsAuthority,
        cluster: str,
        *,
        prefix: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.heard = Heard()
        self._directory = directory
        self._authority = authority
        self._prefix = prefix
        self._host = host
        self._condition = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._client: mqtt.Client | None = None
        directory.mkdir(mode=0o755)
        # Held, bound but not listening, for as long as the broker is: nobody else is given it, also between two starts.
        self._hold = socket.socket()
        self._hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as mosquitto does: then both may have it
        self._hold.bind(("127.0.0.1", 0))
        self.port = int(self._hold.getsockname()[1])
        self.certify(f"mqtt.{cluster}")
        self._keypair("controller", topics.CONTROLLER, [])
        (directory / "authorities.crt").write_text(authority.pem)
        (directory / "acl").write_text(_ACCESS)
        (directory / "mosquitto.conf").write_text(_CONFIGURATION.format(port=self.port, host=host))
        if os.geteuid() == 0:
            owner = pwd.getpwnam("mosquitto")
            for path in (directory, *directory.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def certify(self, name: str) -> None:
        """Give the broker a certificate for `name`; it shows it after its next start."""
        self._keypair("server", name, [x509.DNSName(name)])

    def _keypair(self, stem: str, common_name: str, names: list[x509.GeneralName]) -> None:
        key = generate_private_key(SECP256R1())
        certificate, private = self._directory / f"{stem}.crt", self._directory / f"{stem}.key"
        certificate.write_text(self._authority.issue(common_name, key.public_key(), names))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        if os.geteuid() == 0:
            shutil.chown(private, "mosquitto")

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> SimulatedBroker:
        """Start mosquitto, and listen."""
        log = (self._directory / "log").open("ab")
        command = [*self._prefix, str(find_mosquitto()), "-c", "mosquitto.conf"]
        self._process = subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log)
        log.close()
        self._client = self._listen()
        return self

    def kill(self) -> None:
        """End mosquitto without a warning."""
        self._hang_up()
        if self._process:
            self._process.kill()
            self._process.wait(_WAIT)
            self._process = None

    def stop(self) -> None:
        """End it."""
        self._hang_up()
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_WAIT)
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._hold.close()

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    def _hang_up(self) -> None:
        if self._client:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _listen(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=topics.CONTROLLER, protocol=mqtt.MQTTv311)
        context = ssl.create_default_context(cadata=self._authority.pem)
        context.check_hostname = False
        context.load_cert_chain(self._directory / "controller.crt", self._directory / "controller.key")
        client.tls_set_context(context)
        client.tls_insecure_set(True)
        client.on_message = lambda _client, _data, message: self._take(message)
        subscribed = threading.Event()
        client.on_connect = lambda client, *_: client.subscribe(
            [(topics.ALL_STATES, 1), (topics.ALL_BEATS, 0), (topics.ALL_LIVE, 1)]
        )
        client.on_subscribe = lambda *_: subscribed.set()
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                client.connect(self._host, self.port, keepalive=600)
                break
            except OSError:
                assert time.monotonic() < deadline, f"the broker did not start: {self.log}"
                time.sleep(0.02)
        client.loop_start()
        assert subscribed.wait(_WAIT)
        return client

    # --- what is said -------------------------------------------------------------------------------------------------

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish as the controller, and see that the broker has it."""
        assert self._client
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(_WAIT)

    def _take(self, message: mqtt.MQTTMessage) -> None:
        found = topics.parse_node_topic(message.topic)
        with self._condition:
            if found.word == "state":
                self.heard.states.append((found.node_id, NodeState.decode(bytes(message.payload))))
            elif found.word == "live":
                self.heard.live.append((found.node_id, LiveSessions.decode(bytes(message.payload))))
            else:
                self.heard.beats.append((found.node_id, Beat.decode(bytes(message.payload)), len(message.payload)))
            self._condition.notify_all()

    def wait_for(self, ready: Callable[[], R | None], what: str, timeout: float = _WAIT) -> R:
        """Return what `ready` returns once it is true; it is asked again whenever a node says something."""
        with self._condition:
            found = self._condition.wait_for(ready, timeout)
            assert found, f"waited {timeout} s in vain for {what}: {self.heard}"
            return found

    def wait_for_state(
        self, node_id: str, farewell: str | None, *, since: int = 0, timeout: float = _WAIT
    ) -> NodeState:
        """Return the first state with this farewell that this node told after the first `since` states."""

        def look() -> NodeState | None:
            states = (state for told, state in self.heard.states[since:] if told == node_id)
            return next((state for state in states if state.farewell == farewell), None)

        return self.wait_for(look, f"{node_id} to say {farewell}", timeout)

    def wait_for_live(self, node_id: str, good: Callable[[LiveSessions], bool], *, since: int = 0) -> LiveSessions:
        """Return the first good message about live sessions of this node after the first `since` of them."""

        def look() -> LiveSessions | None:
            told = (live for node, live in self.heard.live[since:] if node == node_id)
            return next((live for live in told if good(live)), None)

        return self.wait_for(look, f"the live sessions of {node_id}")

    def wait_for_beat(
        self, node_id: str, good: Callable[[Beat], bool] = lambda _: True, *, since: int = 0, timeout: float = _WAIT
    ) -> Beat:
        """Return the first good heartbeat of this node after the first `since` heartbeats."""

        def look() -> Beat | None:
            beats = (beat for told, beat, _ in self.heard.beats[since:] if told == node_id)
            return next((beat for beat in beats if good(beat)), None)

        return self.wait_for(look, f"a heartbeat of {node_id}", timeout)
