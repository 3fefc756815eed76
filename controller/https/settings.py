"""How a door of HTTPS is run: its TLS files, and its numbers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from controller.policy.supervision import WORKER_SILENCE
from protocol import limits


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the door's identity lies, PEM.

    Attributes:
        certificate: the certificate and what it needs above it.
        client_authority: set where every peer must show a certificate: the one that must have signed it.
    """

    certificate: Path
    key: Path
    client_authority: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings: 1.2 or later, HTTP/1.1. Raises `OSError` or `ssl.SSLError` where a file is bad."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.certificate, self.key)
        if self.client_authority is not None:
            context.load_verify_locations(self.client_authority)
            context.verify_mode = ssl.CERT_REQUIRED
            context.num_tickets = 0  # a resumed connection would not show its certificate again
        return context

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Return what changes when a file is replaced; a file that is away for a moment counts as changed."""
        paths = (self.certificate, self.key, self.client_authority)
        return tuple(_stamp(path) for path in paths if path is not None)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_ino, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a door is run.

    Attributes:
        name: what the process and its log lines are called, such as ``web``.
        connections, per_address: the most that are open at once, for each worker.
        request_grace: TLS handshake and first request, or any later request, must have arrived by then.
        answer_grace: the answer must have been made and taken by then, or so much more of it as `answer_step`.
        answer_step: bytes that a peer must take of an answer for each `answer_grace`: a slow line gets it whole in the
            end, and who takes less is gone. Who has taken more at once may rest for some graces.
        keepalive: how long a connection may rest between requests.
        body_max: a request's body is read ahead up to this size; the application refuses larger ones.
        buffers: bytes that requests may hold together before they are answered, and answers before they are written,
            for each worker.
        stop_grace: how long requests may go on after SIGTERM.
        tls_check: how often the TLS files are looked at, for a new certificate.
        worker_silence: a worker whose loop has not turned for so long, whole seconds, is replaced.
    """

    name: str
    workers: int = 1
    threads: int = 16
    connections: int = 1024
    per_address: int = 384
    request_grace: timedelta = limits.HTTP_REQUEST_GRACE
    answer_grace: timedelta = timedelta(seconds=60)
    answer_step: int = 256 << 10
    keepalive: timedelta = timedelta(seconds=15)
    body_max: int = limits.HTTP_BODY_MAX
    buffers: int = 64 << 20
    stop_grace: timedelta = timedelta(seconds=10)
    tls_check: timedelta = timedelta(seconds=1)
    worker_silence: timedelta = WORKER_SILENCE
