"""The machine API as a process: the application, given the cluster, behind gunicorn."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from controller.api.app import BODY_MAX, ApiServices, create_app
from controller.cluster import Cluster
from controller.https.serve import Signs, serve
from controller.https.settings import ServerSettings, TlsFiles
from controller.role import beat, follow_level, say_ready


def serve_api(cluster: Cluster, listener_fd: int, certificate: Path, key: Path, client_authority: Path) -> NoReturn:
    """Serve the machine API until SIGTERM; ends by SystemExit."""
    settings = ServerSettings(name="api", body_max=BODY_MAX, stop_grace=cluster.config.drain_timeout)
    tls = TlsFiles(certificate, key, client_authority)
    services = ApiServices(
        enrolment=cluster.enrolment,
        locks=cluster.locks,
        terms=cluster.terms,
        control=cluster.control,
        recordings=cluster.recordings,
        clock=cluster.clock,
    )
    signs = Signs(ready=say_ready, turns=beat, worker_turns=_turns)
    serve(create_app(services), listener_fd, tls, settings, signs)


def _turns() -> bool:
    follow_level()
    return True
