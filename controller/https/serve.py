"""Serving a WSGI application over TLS with gunicorn, in this process, on a socket that is already bound.

The web door and the machine API share it; the machine API also names the authority that its peers' client
certificates must come from, and reads them with ``environ["gunicorn.socket"].getpeercert(binary_form=True)``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from gunicorn import glogging
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from controller.https.intake import HEAD_MAX, LINE_MAX
from controller.https.settings import ServerSettings, TlsFiles
from controller.https.worker import PatientWorker

_HEADERS_MAX = 64
_PREFIX = "skerry-"


class _Log(glogging.Logger):  # type: ignore[misc]  # gunicorn carries no types
    """gunicorn's log lines, into ours. Its news of itself is for debugging; requests are logged by the application."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn's signature
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log = logging.getLogger(cfg.proc_name.removeprefix(_PREFIX).upper())
        self.error_log.propagate = True
        self.access_log = self.error_log

    def info(self, msg: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's signature
        self.error_log.debug(msg, *args, **kwargs)


def _nothing() -> None:
    """Do nothing: nobody waits for this."""


def _true() -> bool:
    """Tell that all is well: there is nothing else that could be wrong."""
    return True


@dataclass(frozen=True, slots=True)
class Signs:
    """What a server tells those who run it.

    Attributes:
        ready: called once the server takes requests.
        begun: called in each worker before it does.
        turns: called by the main process's own loop, at least every few seconds.
        worker_turns: called by each worker's own loop, at least every few seconds; returns whether whatever else the
            worker runs turns too. A worker where that is not so, or whose loop does not turn, is replaced.
    """

    ready: Callable[[], None] = _nothing
    begun: Callable[[], None] = _nothing
    turns: Callable[[], None] = _nothing
    worker_turns: Callable[[], bool] = _true


@dataclass
class _Bound:
    app: Callable[..., Any]
    listener_fd: int
    tls: TlsFiles
    settings: ServerSettings
    signs: Signs


class _Arbiter(Arbiter):  # type: ignore[misc]  # gunicorn carries no types
    """gunicorn's main process, whose loop says that it turns."""

    def manage_workers(self) -> None:
        """Keep as many workers as there should be: the loop calls it in every turn, at least once a second."""
        self.app.signs.turns()
        super().manage_workers()


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn carries no types
    def __init__(self, bound: _Bound) -> None:
        self._bound = bound
        self.tls = bound.tls
        self.settings = bound.settings
        self.signs = bound.signs
        super().__init__()

    def load_config(self) -> None:
        for name, value in _options(self._bound).items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        return self._bound.app

    def run(self) -> None:
        _Arbiter(self).run()


def _options(bound: _Bound) -> dict[str, Any]:
    settings = bound.settings
    return {
        # gunicorn closes the descriptor it is given.
        "bind": f"fd://{os.dup(bound.listener_fd)}",
        "worker_class": PatientWorker,
        "logger_class": _Log,
        "proc_name": f"{_PREFIX}{settings.name}",
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_connections": settings.connections + 1,
        "keepalive": max(1, int(settings.keepalive.total_seconds())),
        "graceful_timeout": max(1, int(settings.stop_grace.total_seconds())),
        "timeout": int(settings.worker_silence.total_seconds()),
        # Named for `wsgi.url_scheme` alone: the worker makes its own TLS context from `TlsFiles`.
        "certfile": str(bound.tls.certificate),
        "keyfile": str(bound.tls.key),
        "http_parser": "python",
        "limit_request_line": LINE_MAX - 2,
        "limit_request_fields": _HEADERS_MAX,
        "limit_request_field_size": HEAD_MAX // 4,
        # There is no proxy in front: nobody's word on who the peer is counts.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "forwarder_headers": "",
        "header_map": "refuse",
        "control_socket_disable": True,
        "accesslog": None,
        "when_ready": lambda _arbiter: bound.signs.ready(),
        "post_worker_init": lambda _worker: bound.signs.begun(),
    }


def serve(
    app: Callable[..., Any],
    listener_fd: int,
    tls: TlsFiles,
    settings: ServerSettings,
    signs: Signs | None = None,
) -> NoReturn:
    """Serve the WSGI application `app` on the listening socket `listener_fd` until SIGTERM; ends by SystemExit.

    `app` is made before the workers are forked: it must hold no thread and no lock that is taken.

    Raises:
        SystemExit: always, at the end; 0 after SIGTERM.
        OSError, ssl.SSLError: the TLS files cannot be used.
    """
    tls.context()  # a bad file is reported here, once, and not by workers that die
    _Server(_Bound(app, listener_fd, tls, settings, signs or Signs())).run()
    raise SystemExit(0)
