"""The web door as a process: the application, given the cluster, behind gunicorn."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NoReturn

from controller.addresses import BoundAddresses, ping, public_web
from controller.audit_reader import AuditReader
from controller.cluster import Cluster
from controller.home import Homes
from controller.https.serve import Signs, serve
from controller.https.settings import ServerSettings, TlsFiles
from controller.policy.rate import Rate
from controller.presence.caller import ask_history
from controller.role import beat, follow_level, say_ready
from controller.tls_files import anchors, login_pins, web_pins, web_public_key
from controller.web.app import create_app
from controller.web.depot import Depot
from controller.web.hall.hall import Hall, Rooms
from controller.web.hall.stamps import Changes
from controller.web.services import Services
from protocol import events

WORKERS = 2


def services_of(cluster: Cluster) -> Services:
    """Return what the web application asks of `cluster`."""
    config = cluster.config
    bound = BoundAddresses.load(config)
    per_minute = max(1, config.requests_per_minute // WORKERS)  # each worker counts for itself
    pins = login_pins(cluster)  # of the admin's own pair once: a file that is replaced may not be whole for a moment
    own = web_pins(cluster)
    ledger = AuditReader(cluster.audit, cluster.clock, events.CLUSTER_CREATE)
    return Services(
        accounts=cluster.accounts,
        enrolment=cluster.enrolment,
        fleet=cluster.fleet,
        recordings=cluster.recordings,
        audit=cluster.audit,
        locks=cluster.locks,
        live=cluster.live,
        ledger=ledger,
        home=_home(cluster, ledger),
        history=partial(ask_history, config.data_dir),
        ping=lambda: ping(config, bound),
        anchors=lambda: anchors(cluster),
        host_authorities=lambda: cluster.authority.ssh_authorities("host"),
        hall=_hall(cluster, bound),
        cluster_name=config.cluster_name,
        public_address=public_web(config, bound),
        clock=cluster.clock,
        login_pins=(lambda: login_pins(cluster)) if config.https_keypair is None else lambda: pins,
        rate=Rate(per_minute, per_minute),
        depot=Depot(config.agent_archives),
        web_public_key=lambda: web_public_key(cluster),
        join_pins=(lambda: web_pins(cluster)) if config.https_keypair is None else lambda: own,
    )


def _hall(cluster: Cluster, bound: BoundAddresses) -> Hall:
    changes = Changes(
        cluster.config.data_dir,
        nodes=cluster.enrolment.nodes.list,
        tunnels=cluster.presence.read,
        told=cluster.mirror.view,
    )
    rooms = Rooms(
        accounts=cluster.accounts,
        audit=cluster.audit,
        store=cluster.store,
        cluster=cluster.config.cluster_name,
        door=lambda: bound.ssh,
        authorities=lambda: cluster.authority.ssh_authorities("host"),
        clock=cluster.clock,
        stamps=changes.stamps,
    )
    return Hall(rooms)


def _home(cluster: Cluster, ledger: AuditReader) -> Homes:
    return Homes(
        fleet=cluster.fleet,
        live=cluster.live,
        locks=cluster.locks,
        enrolment=cluster.enrolment,
        authority=cluster.authority,
        ledger=ledger,
        clock=cluster.clock,
        told=cluster.mirror.view,
    )


def serve_web(cluster: Cluster, listener_fd: int, certificate: Path, key: Path) -> NoReturn:
    """Serve the web door until SIGTERM; ends by SystemExit."""
    cluster.mirror.follow()
    settings = ServerSettings(name="web", workers=WORKERS, stop_grace=cluster.config.drain_timeout)
    services = services_of(cluster)
    signs = _signs(services.hall)
    serve(create_app(services), listener_fd, TlsFiles(certificate, key), settings, signs)


def _signs(hall: Hall | None) -> Signs:
    def turns() -> bool:
        follow_level()
        return hall is None or hall.is_turning()

    return Signs(ready=say_ready, begun=_nothing if hall is None else hall.begin, turns=beat, worker_turns=turns)


def _nothing() -> None:
    """Begin nothing: there is no hall."""
