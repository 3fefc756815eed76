"""What an admin should look at now, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from controller.policy.liveness import BrokerHealth
from protocol import limits
from protocol.events import Json
from protocol.names import NodeName
from protocol.presences import Beat, NodeState

Subject = Literal["broker", "clones", "refused", "gaps", "pending", "disk", "clocks", "rotation"]
Severity = Literal["danger", "warning", "notice"]

NAMED_MAX = 10
# A disk is nearly full where less than a twentieth is free, or where the agent has next to nothing for its recordings.
_DISK_SHARE = 20
_DISK_FREE_MIN = 256
_LEEWAY = limits.CLOCK_LEEWAY // limits.MILLISECOND


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to look at.

    Attributes:
        text: what is wrong.
        advice: what to do next.
        command: a line that shows more or mends it; empty where there is none.
        count: how many nodes, locks or events it is about.
        nodes: names of such nodes, at most `NAMED_MAX`.
    """

    subject: Subject
    severity: Severity
    text: str
    advice: str
    command: str = ""
    count: int = 1
    nodes: tuple[NodeName, ...] = ()

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "subject": self.subject,
            "severity": self.severity,
            "text": self.text,
            "advice": self.advice,
            "command": self.command,
            "count": self.count,
            "nodes": list(self.nodes),
        }


@dataclass(frozen=True, slots=True)
class Troubles:
    """What there is to judge; what a person may not know of is left empty.

    Attributes:
        broker: None where there is none to be up.
        clones: nodes that are locked because there are two of them.
        refused: recordings' uploads that were refused in the last day, and which nodes'.
        gaps: what was done and is not on record, in the last day, and on which nodes.
        pending: who waits for approval.
        full: whose disk is nearly full.
        off: whose clock is far off.
        rotating: authorities in the middle of a rotation, each with its phase and since when.
    """

    broker: BrokerHealth | None = None
    clones: Sequence[NodeName] = ()
    refused: int = 0
    refused_nodes: Sequence[NodeName] = ()
    gaps: int = 0
    gap_nodes: Sequence[NodeName] = ()
    pending: Sequence[NodeName] = ()
    full: Sequence[NodeName] = ()
    off: Sequence[NodeName] = ()
    rotating: Sequence[tuple[str, str, datetime | None]] = ()


def decide_alerts(troubles: Troubles) -> tuple[Alert, ...]:
    """Return what to look at, the worst first."""
    return (
        *_broker(troubles.broker),
        *_clones(troubles.clones),
        *_gaps(troubles),
        *_refused(troubles),
        *_full(troubles.full),
        *_off(troubles.off),
        *_pending(troubles.pending),
        *_rotating(troubles.rotating),
    )


def is_disk_full(state: NodeState | None, beat: Beat) -> bool:
    """Tell whether the disk that a node keeps its recordings on is nearly full. Sizes are MiB."""
    total = state.disk if state is not None else 0
    if not total:
        return 0 < beat.disk < _DISK_FREE_MIN
    return beat.disk < max(total // _DISK_SHARE, min(_DISK_FREE_MIN, total // 2))


def is_clock_off(beat: Beat) -> bool:
    """Tell whether a node's clock is further from the controller's than certificates allow for."""
    return beat.clock_offset is not None and abs(beat.clock_offset) > _LEEWAY


def _broker(health: BrokerHealth | None) -> Iterator[Alert]:
    if health is not None and not health.is_up:
        yield Alert(
            "broker",
            "danger",
            f"Nobody can say which nodes are online: {health.reason or 'the broker is away'}",
            "Sessions go on. See what the controller's log says of PRESENCE and of the broker, and whether its port is "
            "free; it connects again by itself.",
            "tctl status",
        )


def _clones(nodes: Sequence[NodeName]) -> Iterator[Alert]:
    if nodes:
        is_one = len(nodes) == 1
        yield Alert(
            "clones",
            "danger",
            f"{_number(nodes, 'node is', 'nodes are')} locked: {'it has' if is_one else 'they have'} been copied, and "
            "two devices show the same identity",
            "Find the copy; remove the node, have the right device join again with a new token, and take the lock off.",
            "tctl locks ls",
            len(nodes),
            _some(nodes),
        )


def _gaps(troubles: Troubles) -> Iterator[Alert]:
    if troubles.gaps:
        yield Alert(
            "gaps",
            "danger",
            f"{_count(troubles.gaps, 'session or part of one is', 'sessions or parts of some are')} not on record, of "
            "the last day",
            "See the reason in the audit log: most often the disk was full, or too slow. Make room on the device.",
            "tctl audit ls --type=recording.gap,recording.set_aside --since=24h",
            troubles.gaps,
            _some(troubles.gap_nodes),
        )


def _refused(troubles: Troubles) -> Iterator[Alert]:
    if troubles.refused:
        yield Alert(
            "refused",
            "danger",
            f"{_count(troubles.refused, 'upload of a recording was', 'uploads of recordings were')} refused in the "
            "last day: what came is not what a node of ours writes",
            "See the check and the reason in the audit log, and look at that device.",
            "tctl audit ls --type=recording.refused --since=24h",
            troubles.refused,
            _some(troubles.refused_nodes),
        )


def _full(nodes: Sequence[NodeName]) -> Iterator[Alert]:
    if nodes:
        yield Alert(
            "disk",
            "warning",
            f"The disk of {_number(nodes, 'node', 'nodes')} is nearly full",
            "Make room there: recordings that cannot be kept end sessions, or are gaps.",
            f"tctl nodes show {nodes[0]}",
            len(nodes),
            _some(nodes),
        )


def _off(nodes: Sequence[NodeName]) -> Iterator[Alert]:
    if nodes:
        yield Alert(
            "clocks",
            "warning",
            f"The clock of {_number(nodes, 'node', 'nodes')} is more than a minute off",
            "Skerry goes by the controller's time and works all the same; other programs there do not. Set the clock, "
            "or have it kept by NTP.",
            f"tctl nodes show {nodes[0]}",
            len(nodes),
            _some(nodes),
        )


def _pending(nodes: Sequence[NodeName]) -> Iterator[Alert]:
    if nodes:
        yield Alert(
            "pending",
            "notice",
            f"{_number(nodes, 'device waits', 'devices wait')} for approval",
            "Compare the fingerprint of its host key with what the device shows, and approve or reject it.",
            f"tctl nodes approve {nodes[0]}",
            len(nodes),
            _some(nodes),
        )


def _rotating(rotating: Sequence[tuple[str, str, datetime | None]]) -> Iterator[Alert]:
    for kind, phase, since in rotating:
        begun = f", begun {since:%Y-%m-%d}" if since else ""
        yield Alert(
            "rotation",
            "notice",
            f"The {kind} authority is in the middle of a rotation (phase {phase}{begun})",
            "See which nodes have not renewed yet, and enter the next phase.",
            "tctl status",
        )


def _number(nodes: Sequence[NodeName], one: str, many: str) -> str:
    return _count(len(nodes), one, many)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _some(nodes: Sequence[NodeName]) -> tuple[NodeName, ...]:
    return tuple(nodes[:NAMED_MAX])
