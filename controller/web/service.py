"""The web door as a process: the application, given the cluster, behind gunicorn."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from controller.addresses import BoundAddresses, ping, public_web
from controller.cluster import Cluster
from controller.https.serve import ServerSettings, TlsFiles, serve
from controller.policy.rate import Rate
from controller.role import say_ready
from controller.tls_files import anchors, login_pins
from controller.web.app import create_app
from controller.web.services import Services

WORKERS = 2


def services_of(cluster: Cluster) -> Services:
    """Return what the web application asks of `cluster`."""
    config = cluster.config
    bound = BoundAddresses.load(config)
    per_minute = max(1, config.requests_per_minute // WORKERS)  # each worker counts for itself
    pins = login_pins(cluster)  # of the admin's own pair once: a file that is replaced may not be whole for a moment
    return Services(
        accounts=cluster.accounts,
        enrolment=cluster.enrolment,
        fleet=cluster.fleet,
        recordings=cluster.recordings,
        audit=cluster.audit,
        ping=lambda: ping(config, bound),
        anchors=lambda: anchors(cluster),
        host_authorities=lambda: cluster.authority.ssh_authorities("host"),
        cluster_name=config.cluster_name,
        public_address=public_web(config, bound),
        clock=cluster.clock,
        login_pins=(lambda: login_pins(cluster)) if config.https_keypair is None else lambda: pins,
        rate=Rate(per_minute, per_minute),
    )


def serve_web(cluster: Cluster, listener_fd: int, certificate: Path, key: Path) -> NoReturn:
    """Serve the web door until SIGTERM; ends by SystemExit."""
    cluster.mirror.follow()
    settings = ServerSettings(name="web", workers=WORKERS, stop_grace=cluster.config.drain_timeout)
    serve(create_app(services_of(cluster)), listener_fd, TlsFiles(certificate, key), settings, say_ready)
