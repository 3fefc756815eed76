from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Identity:
    cert: Path
    key: Path


def make_identity(folder: Path, name: str) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Identity(folder / f"{name}.crt", folder / f"{name}.key")
    made.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@dataclass
class RunningDoor:
    process: subprocess.Popen[bytes]
    port: int
    log_path: Path
    client: Callable[[], ssl.SSLContext]
    stopped: bool = field(default=False)

    def raw(self, timeout: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def connect(self, timeout: float = 10, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        return (context or self.client()).wrap_socket(self.raw(timeout), server_hostname="localhost")

    def ask(self, request: bytes, timeout: float = 10) -> bytes:
        with self.connect(timeout) as sock:
            sock.sendall(request)
            return read_all(sock)

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, text: str, within: float = 15) -> str:
        end = time.monotonic() + within
        while text not in self.log():
            assert self.process.poll() is None, f"the door has ended:\n{self.log()}"
            assert time.monotonic() < end, f"no {text!r} in the log:\n{self.log()}"
            time.sleep(0.02)  # a file has no event to wait for
        return self.log()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if not self.stopped:
            self.stopped = True
            self.process.send_signal(number)
        return self.process.wait(timeout=20)


def read_all(sock: socket.socket) -> bytes:
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except (ssl.SSLError, ConnectionError):
        if not parts:
            raise
    return b"".join(parts)
