"""The cluster at a glance: for `tctl status`, `controller status` and the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from controller.authority import ROTATABLE_KINDS, RotatableKind, Rotation
from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from controller.policy.liveness import BrokerHealth, Standing
from controller.policy.rotation import following
from controller.tls_files import web_pins
from protocol.events import Json
from protocol.instants import format_instant
from protocol.messages import NodeStatus
from protocol.names import NodeId
from protocol.version import __version__

STATUSES: tuple[NodeStatus, ...] = get_args(NodeStatus)


@dataclass(frozen=True, slots=True)
class AuthorityView:
    """One authority: how far its rotation has come, and its keys' fingerprints, the signing one first.

    Attributes:
        awaited: names of the nodes that hold what another key has signed, in a phase in which they are to renew; None
            in any other.
    """

    rotation: Rotation
    fingerprints: tuple[str, ...]
    awaited: tuple[str, ...] | None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            **rotation_json(self.rotation),
            "keys": [{"fingerprint": each, "signs": not index} for index, each in enumerate(self.fingerprints)],
            "nodes_to_renew": None if self.awaited is None else len(self.awaited),
            "awaited": None if self.awaited is None else list(self.awaited),
        }


@dataclass(frozen=True, slots=True)
class Backlog:
    """Recordings that wait on nodes to be uploaded, as their last heartbeats told."""

    nodes: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is to say of a cluster, at one moment.

    Attributes:
        nodes: how many there are in each state; states without any are there with 0.
        tunnels: how many nodes hold one.
        sessions: people's sessions that are open on nodes, as their last heartbeats told.
    """

    cluster: str
    version: str
    authorities: Mapping[RotatableKind, AuthorityView]
    pins: tuple[str, ...]
    nodes: Mapping[NodeStatus, int]
    tunnels: int
    sessions: int
    backlog: Backlog
    broker: BrokerHealth

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        since = self.broker.since
        return {
            "cluster": self.cluster,
            "version": self.version,
            "authorities": {kind: view.to_dict() for kind, view in self.authorities.items()},
            "ca_pins": list(self.pins),
            "nodes": {
                "total": sum(self.nodes.values()),
                **{str(status): number for status, number in self.nodes.items()},
            },
            "tunnels": self.tunnels,
            "sessions": self.sessions,
            "uploads": {"nodes": self.backlog.nodes, "files": self.backlog.files, "bytes": self.backlog.bytes},
            "broker": {
                "up": self.broker.is_up,
                "since": format_instant(since) if since else None,
                "reason": self.broker.reason,
            },
        }


def rotation_json(rotation: Rotation) -> dict[str, Json]:
    """Return how far a rotation has come, for programs."""
    return {
        "phase": rotation.phase,
        "started": _text(rotation.started),
        "changed": _text(rotation.changed),
        "rotated": _text(rotation.finished),
        "next": list(following(rotation.phase)),
    }


def _text(instant: datetime | None) -> str | None:
    return format_instant(instant) if instant else None


def overlook(cluster: Cluster) -> Overview:
    """Look at the whole cluster. Raises `StoreError`, `AuthorityError` and `TlsFileError`."""
    view = cluster.mirror.view()
    nodes = cluster.fleet.all()
    standings = {node.node_id: view.of(node.node_id) for node in nodes}  # of those that are enrolled, no others
    counted = Counter(node.status for node in nodes)
    return Overview(
        cluster=cluster.config.cluster_name,
        version=__version__,
        authorities={kind: _authority(cluster, kind) for kind in ROTATABLE_KINDS},
        pins=web_pins(cluster),
        nodes={status: counted[status] for status in STATUSES},
        tunnels=sum(node.tunnel == "up" for node in nodes),
        sessions=sum(_sessions(standing) for standing in standings.values()),
        backlog=_backlog(standings),
        broker=view.health,
    )


def _sessions(standing: Standing) -> int:
    return standing.beat.sessions if standing.presence == "online" and standing.beat else 0


def _backlog(standings: Mapping[NodeId, Standing]) -> Backlog:
    beats = [standing.beat for standing in standings.values() if standing.beat and standing.beat.spool_files]
    return Backlog(len(beats), sum(beat.spool_files for beat in beats), sum(beat.spool_bytes for beat in beats))


def _authority(cluster: Cluster, kind: RotatableKind) -> AuthorityView:
    rotation = cluster.authority.rotation(kind)
    found = awaited(cluster, kind)
    names = None if found is None else tuple(sorted(node.name for node in found))
    return AuthorityView(rotation, cluster.authority.fingerprints(kind), names)


def awaited(cluster: Cluster, kind: RotatableKind) -> Sequence[NodeRecord] | None:
    """Return the nodes that hold certificates of another key than today's, in a phase in which they are to renew.

    None in any other phase. Raises `StoreError` and `AuthorityError`.
    """
    rotation = cluster.authority.rotation(kind)
    changed = rotation.changed
    if kind == "user" or changed is None or rotation.phase not in {"update_servers", "rollback"}:
        return None
    signer = cluster.authority.server_signer(kind)
    nodes = [node for node in cluster.enrolment.nodes.list() if not node.pending]
    return [node for node in nodes if is_of_another(node, kind, signer, changed)]


def is_of_another(node: NodeRecord, kind: Literal["host", "tls"], signer: str, changed: datetime) -> bool:
    """Tell whether a node's certificate is of another key than the one with the mark `signer`.

    Where that was not noted yet when it was certified, it is if that was before `changed`.
    """
    held = node.host_signer if kind == "host" else (node.tls_serials[-1].signer if node.tls_serials else "")
    return held != signer if held else (node.renewed or node.joined) < changed
