"""The diagnostics address as a process: a plain HTTP server for a few askers, with bounds on each of them."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

from controller.authority import AuthorityError
from controller.cluster import Cluster
from controller.diagnostics.metrics import CONTENT_TYPE, render
from controller.diagnostics.readiness import Readiness
from controller.role import beat, say_ready
from controller.store.interface import StoreError
from controller.tls_files import TlsFileError
from protocol.version import __version__

LOG = logging.getLogger("DIAG")
_ASKERS_MAX = 16
_ASKER_SECONDS = 15.0
_JSON = "application/json"


class DiagnosticsServer(ThreadingHTTPServer):
    """Answers at a socket that is bound and listens already; so many at a time, each for so long.

    Args:
        cluster: opened for this process.
        listener: the socket.
        ticks: seconds by a clock that nobody sets.
        asker_seconds: how long an asker may take; may be changed while it runs.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        cluster: Cluster,
        listener: socket.socket,
        ticks: Callable[[], float] = time.monotonic,
        asker_seconds: float = _ASKER_SECONDS,
    ) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.cluster = cluster
        self.readiness = Readiness(cluster, ticks)
        self.asker_seconds = asker_seconds
        self._lock = threading.Lock()
        self._askers: dict[socket.socket, float] = {}

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401, ARG002 - socketserver's
        """Take in an asker where there is room."""
        with self._lock:
            if len(self._askers) >= _ASKERS_MAX:
                return False
            self._askers[request] = time.monotonic()
            return True

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - socketserver's
        """Let an asker go."""
        with self._lock:
            self._askers.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Say that the loop turns, and cut off who takes too long, however busy; called twice a second."""
        beat()
        late = time.monotonic() - self.asker_seconds
        with self._lock:
            slow = [request for request, since in self._askers.items() if since < late]
        for request in slow:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's
        """Say what went wrong, in one line."""
        LOG.warning("a request for diagnostics failed", exc_info=LOG.isEnabledFor(logging.DEBUG))


class _Handler(BaseHTTPRequestHandler):
    server: DiagnosticsServer
    server_version = f"Skerry/{__version__}"
    sys_version = ""

    def setup(self) -> None:
        """Bound the wait for each part of a request."""
        super().setup()
        self.connection.settimeout(self.server.asker_seconds / 3)

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._answer(HTTPStatus.OK, _JSON, json.dumps({"status": "ok"}).encode())
        elif path == "/readyz":
            self._tell_readiness()
        elif path == "/metrics":
            self._tell_metrics()
        else:
            self._answer(HTTPStatus.NOT_FOUND, _JSON, b'{"error": "there are /healthz, /readyz and /metrics"}')

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def _tell_readiness(self) -> None:
        seen = self.server.readiness.look()
        is_ready = not any(seen.values())
        body = {"status": "ready" if is_ready else "not ready", "checks": {key: seen[key] or "ok" for key in seen}}
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, _JSON, json.dumps(body, indent=2).encode())

    def _tell_metrics(self) -> None:
        try:
            self._answer(HTTPStatus.OK, CONTENT_TYPE, render(self.server.cluster))
        except (StoreError, AuthorityError, TlsFileError) as err:
            LOG.warning("no metrics: %s", err)
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _JSON, json.dumps({"error": str(err)}).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Tell of a request only where everything is logged."""
        LOG.debug("%s: %s", self.client_address[0], (format % args).encode("unicode_escape").decode())


def serve_diagnostics(cluster: Cluster, listener: socket.socket) -> NoReturn:
    """Answer until SIGTERM; ends by SystemExit."""
    server = DiagnosticsServer(cluster, listener)

    def stop(_number: int, _frame: object) -> None:
        threading.Thread(target=server.shutdown, name="stop").start()  # it waits for the loop below

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    say_ready()
    server.serve_forever()
    raise SystemExit(0)
