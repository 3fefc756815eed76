"""What Prometheus reads: https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.authority import x509
from controller.broker import settings
from controller.broker.broker import DIRECTORY
from controller.cluster import Cluster
from controller.overview import Overview, overlook
from controller.policy.rotation import PHASES
from protocol import limits

CONTENT_TYPE = CONTENT_TYPE_LATEST


def render(cluster: Cluster) -> bytes:
    """Return the metrics of the moment. Raises `StoreError`, `AuthorityError` and `TlsFileError`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(cluster, overlook(cluster)))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, cluster: Cluster, found: Overview) -> None:
        self._cluster = cluster
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        found = self._found
        yield InfoMetricFamily(
            "skerry_build", "The controller's version.", {"version": found.version, "cluster": found.cluster}
        )
        yield self._nodes()
        yield GaugeMetricFamily("skerry_tunnels", "Nodes that hold a tunnel.", found.tunnels)
        yield GaugeMetricFamily(
            "skerry_sessions", "People's sessions open on nodes, as heartbeats tell.", found.sessions
        )
        yield from self._uploads()
        yield GaugeMetricFamily(
            "skerry_broker_up", "Whether presence comes in from the broker.", int(found.broker.is_up)
        )
        yield self._rotations()
        yield self._certificates()
        yield GaugeMetricFamily(
            "skerry_nodes_certificates_expired",
            "Nodes whose certificates are over: they renew when they wake.",
            self._expired(),
        )

    def _nodes(self) -> Metric:
        family = GaugeMetricFamily("skerry_nodes", "Enrolled nodes by status.", labels=["status"])
        for status, number in self._found.nodes.items():
            family.add_metric([status.replace(" ", "_")], number)
        return family

    def _uploads(self) -> Iterator[Metric]:
        backlog = self._found.backlog
        yield GaugeMetricFamily("skerry_upload_backlog_files", "Recordings that wait on nodes.", backlog.files)
        yield GaugeMetricFamily("skerry_upload_backlog_bytes", "Their size.", backlog.bytes)
        yield GaugeMetricFamily("skerry_upload_backlog_nodes", "Nodes on which some wait.", backlog.nodes)

    def _rotations(self) -> Metric:
        family = GaugeMetricFamily(
            "skerry_ca_rotation_phase", "1 for the phase that an authority is in.", labels=["authority", "phase"]
        )
        for kind, view in self._found.authorities.items():
            for phase in PHASES:
                family.add_metric([kind, phase], int(view.rotation.phase == phase))
        return family

    def _certificates(self) -> Metric:
        family = GaugeMetricFamily(
            "skerry_certificate_expiry_timestamp_seconds", "When a certificate of ours ends.", labels=["certificate"]
        )
        for name, pem in self._pems():
            try:
                family.add_metric([name], x509.expiry(pem).timestamp())
            except ValueError:
                continue  # being replaced, or somebody's damaged file: the door says so
        return family

    def _pems(self) -> Iterator[tuple[str, str]]:
        config = self._cluster.config
        own = config.https_keypair
        yield "web", _text(own.cert_file if own else config.data_dir / "tls" / "web.crt")
        yield "api", _text(config.data_dir / "tls" / "api.crt")
        if config.broker == "mosquitto":
            yield "broker", _text(config.data_dir / DIRECTORY / settings.CERTIFICATE)
        yield "tls_ca", self._cluster.authority.tls_authorities()[0]

    def _expired(self) -> int:
        since = self._cluster.clock() - limits.HOST_CERTIFICATE_TTL
        nodes = self._cluster.enrolment.nodes.list()
        return sum((node.renewed or node.joined) < since for node in nodes if not node.pending)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
