"""The machine API as it is run, with a cluster behind it and TLS before it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from controller.addresses import BoundAddresses
from controller.audit import Intact
from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.tls_files import anchors, prepare_api
from protocol.decision import Granted
from protocol.messages import JoinReply
from tests.controller.harbour import PING, STATIC, WEB, Device

ROOT = Path(__file__).parents[3]
HERE = ("127.0.0.1", 0)
API_HOST = "api.harbour"
PATIENCE = 20.0


@dataclass(frozen=True)
class Door:
    """The running machine API.

    Attributes:
        logged: so many bytes of its log are of the time before the test.
        reported: so many of the audit log's entries are.
    """

    cluster: Cluster
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    log_path: Path
    logged: int = 0
    reported: int = 0

    def from_now(self) -> Door:
        """Return the same to a test that is to see nothing of those before."""
        return replace(self, logged=self.log_path.stat().st_size, reported=sum(1 for _ in self.cluster.audit.entries()))

    def log(self) -> str:
        return self.log_path.read_bytes()[self.logged :].decode("utf-8", "replace")

    def entries(self, code: str) -> list[dict[str, Any]]:
        """Return what the audit log was told under `code`."""
        return [entry for entry in islice(self.cluster.audit.entries(), self.reported, None) if entry["code"] == code]

    def await_log(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in self.log():
            assert time.monotonic() < end, f"no {text!r} in the log:\n{self.log()}"
            time.sleep(0.02)  # a file has no event to wait for

    def trust(self, chain: str = "", key: str = "") -> ssl.SSLContext:
        """Return a client's TLS settings, with a certificate of its own where one is given."""
        if not chain:
            return self.trust_with(None)
        path = self.folder / f"client-{uuid.uuid4()}.pem"
        path.write_text(chain + key)
        return self.trust_with(path)

    def trust_with(self, identity: Path | None) -> ssl.SSLContext:
        """Return a client's TLS settings; `identity` is the file of its certificate and key."""
        context = ssl.create_default_context(cadata=anchors(self.cluster))
        if identity is not None:
            context.load_cert_chain(identity)
        return context

    def enrol(self) -> tuple[JoinReply, ssl.SSLContext]:
        """Let a device of its own name join; return what it was given, and its TLS settings."""
        node, identity = self.enrol_device(Device(f"gw-{uuid.uuid4().hex[:8]}"))
        return node, self.trust_with(identity)

    def enrol_device(self, device: Device) -> tuple[JoinReply, Path]:
        """Let a device join; return what it was given, and the file of its client certificate and key."""
        joined = self.cluster.enrolment.join(device.request(STATIC), PING, WEB)
        assert isinstance(joined, Granted)
        path = self.folder / f"client-{uuid.uuid4()}.pem"
        path.write_text(joined.value.tls_certificate + device.tls_pem)
        return joined.value, path

    def connect(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        return context.wrap_socket(raw, server_hostname=API_HOST)

    def post(self, context: ssl.SSLContext, body: bytes, path: str = "/v1/events") -> tuple[int, Any]:
        return self.ask(context, "POST", path, body)

    def ask(self, context: ssl.SSLContext, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Make one request on a connection of its own; return its answer's status and JSON."""
        with self.connect(context) as sock:
            head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall(head.encode() + body)
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            return answer.status, json.loads(answer.read())


@contextmanager
def running_api(folder: Path, *settings: str) -> Iterator[Door]:
    """Run the machine API of a new cluster in `folder`; `settings` are more keys of auth_service, in YAML."""
    static = f"tokens: ['node:{STATIC}']"
    config_path = folder / "controller.yaml"
    config_path.write_text(
        f"teleport: {{data_dir: '{folder / 'data'}'}}\n"
        f"auth_service: {{{', '.join(['cluster_name: harbour', static, *settings])}}}\n"
    )
    cluster = open_cluster(parse_config(config_path.read_text(), "controller.yaml"))
    tls = prepare_api(cluster, BoundAddresses(HERE, HERE, HERE, HERE))
    log_path = folder / "api.log"
    ready, says_ready = os.pipe()
    with socket.create_server(HERE, backlog=128) as listener, log_path.open("wb") as log:
        command = [sys.executable, "-m", "controller.cli", "role", "api", "-c", str(config_path)]
        command += ["--fd", str(listener.fileno()), "--cert", str(tls.cert_file), "--key", str(tls.key_file)]
        command += ["--client-ca", str(tls.client_authorities)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "SKERRY_READY_FD": str(says_ready)},
            pass_fds=(listener.fileno(), says_ready),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        port = listener.getsockname()[1]
    os.close(says_ready)
    try:
        with os.fdopen(ready, "rb") as pipe:
            assert pipe.read(6) == b"ready\n", log_path.read_text()
        yield Door(cluster, folder, port, process, log_path)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert isinstance(cluster.audit.verify(), Intact)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
