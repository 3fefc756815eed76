"""What a person sees first: how the fleet is, what to look at, what changed in the last day, and how to begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from controller.audit_reader import AuditReader, Newest, Wanted
from controller.authority import ROTATABLE_KINDS, Authority
from controller.enrolment import Enrolment
from controller.enrolment.clones import MESSAGE as CLONED
from controller.fleet import Fleet, NodeView
from controller.live import Live
from controller.locks import Locks
from controller.policy.alert import Alert, Troubles, decide_alerts, is_clock_off, is_disk_full
from controller.presence.mirror import NO_VIEW, View
from protocol import events
from protocol.access import Person, administers, sees_audit
from protocol.events import EventKind, Json
from protocol.messages import NodeStatus
from protocol.names import NodeName

_DAY = timedelta(days=1)
_NEWEST = 3
_COUNTED_MAX = 10_000

Subject = Literal["joined", "removed", "locked", "unlocked", "refused sign-ins", "rotated", "policy"]
# Each subject of the last day's changes, and the kinds of events that it is made of.
CHANGES: Mapping[Subject, tuple[EventKind, ...]] = {
    "joined": (events.INSTANCE_JOIN,),
    "removed": (events.NODE_DELETE,),
    "locked": (events.LOCK_CREATED, events.USER_LOCKED),
    "unlocked": (events.LOCK_DELETED,),
    "refused sign-ins": (events.USER_LOGIN_FAILED,),
    "rotated": (events.CA_ROTATE, events.RECORDING_KEY_ROTATE),
    "policy": (events.POLICY_UPDATE,),
}
_GAPS = (events.RECORDING_GAP, events.RECORDING_SET_ASIDE)
_REFUSED = (events.RECORDING_REFUSED,)
_LOOKED_FOR = tuple(kind.code for kinds in (*CHANGES.values(), _GAPS, _REFUSED) for kind in kinds)
_STATUSES: tuple[NodeStatus, ...] = get_args(NodeStatus)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Recordings that wait on nodes to be uploaded, as their last heartbeats told."""

    nodes: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What happened in the last day, of one subject: how often, and the newest events of it."""

    subject: Subject
    count: int
    newest: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed in the last day; of each subject that something happened to.

    Attributes:
        is_cut: whether there was more than one question looks at: counts are at least that.
    """

    of: tuple[Change, ...] = ()
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Beginning:
    """How far somebody has come who begins with an empty cluster.

    Attributes:
        token: whether a join token was made.
        device: whether a device has joined, if only to wait for approval.
        session: whether anybody ever had a session on one.
    """

    token: bool
    device: bool
    session: bool

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left of it to do."""
        return self.token and self.device and self.session


@dataclass(frozen=True, slots=True)
class Home:
    """What one person sees, of what they may see.

    Attributes:
        nodes: how many there are in each status; those without any are there with 0.
        sessions: how many are going on.
        alerts: the worst first.
        changes: None for who may not read the audit log.
        beginning: None for who does not administer the cluster.
    """

    nodes: Mapping[NodeStatus, int]
    sessions: int
    backlog: Backlog
    alerts: tuple[Alert, ...]
    changes: Changes | None
    beginning: Beginning | None

    @property
    def total(self) -> int:
        """How many nodes there are."""
        return sum(self.nodes.values())

    @property
    def is_beginning(self) -> bool:
        """Whether to show how to begin."""
        return self.beginning is not None and not self.beginning.is_over

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        changes, beginning = self.changes, self.beginning
        return {
            "nodes": {"total": self.total, **{str(status): number for status, number in self.nodes.items()}},
            "sessions": self.sessions,
            "uploads": {"nodes": self.backlog.nodes, "files": self.backlog.files, "bytes": self.backlog.bytes},
            "alerts": [alert.to_dict() for alert in self.alerts],
            "changes": None
            if changes is None
            else {
                "cut": changes.is_cut,
                "of": [
                    {"subject": each.subject, "count": each.count, "newest": [dict(event) for event in each.newest]}
                    for each in changes.of
                ],
            },
            "beginning": None
            if beginning is None
            else {"token": beginning.token, "device": beginning.device, "session": beginning.session},
        }


@dataclass(frozen=True, slots=True)
class _Day:
    """What the audit log told of the last day, and what is made of it."""

    told: Newest
    changes: Changes

    @property
    def events(self) -> tuple[Mapping[str, Any], ...]:
        """What was looked for, the newest first."""
        return self.told.events


class Homes:
    """Makes what each person sees first. Any thread may ask.

    Args:
        told: what is known over MQTT.
    """

    def __init__(  # noqa: PLR0913 - all that there is something to say of
        self,
        *,
        fleet: Fleet,
        live: Live,
        locks: Locks,
        enrolment: Enrolment,
        authority: Authority,
        ledger: AuditReader,
        clock: Callable[[], datetime],
        told: Callable[[], View] = lambda: NO_VIEW,
    ) -> None:
        self._fleet = fleet
        self._live = live
        self._locks = locks
        self._enrolment = enrolment
        self._authority = authority
        self._ledger = ledger
        self._clock = clock
        self._told = told
        self._day: _Day | None = None
        self._had_session = False

    def of(self, person: Person) -> Home:
        """Return what `person` sees. Raises `StoreError`, `AuthorityError` and `AuditError`."""
        may_audit, may_all = sees_audit(person.roles), administers(person.roles)
        nodes = self._fleet.seen_by(person)
        day = self._last_day() if may_audit else None
        counted = Counter(node.status for node in nodes)
        sessions = len(self._live.sessions_for(person))
        return Home(
            nodes={status: counted[status] for status in _STATUSES},
            sessions=sessions,
            backlog=_backlog(nodes),
            alerts=decide_alerts(self._troubles(nodes, day, knows_all=may_audit or may_all)),
            changes=None if day is None else day.changes,
            beginning=self._beginning(nodes, sessions) if may_all else None,
        )

    def _troubles(self, nodes: Sequence[NodeView], day: _Day | None, *, knows_all: bool) -> Troubles:
        view = self._told()
        told = () if day is None else day.events
        refused, gaps = _of_kinds(told, _REFUSED), _of_kinds(told, _GAPS)
        return Troubles(
            broker=None if view is NO_VIEW else view.health,
            clones=self._clones(nodes) if knows_all else (),
            refused=sum(_times(event) for event in refused),
            refused_nodes=_names(refused),
            gaps=len(gaps),
            gap_nodes=_names(gaps),
            pending=[node.name for node in nodes if node.status == "pending"] if knows_all else (),
            full=[node.name for node in nodes if _is_full(node)],
            off=[node.name for node in nodes if _is_off(node)],
            rotating=self._rotating() if knows_all else (),
        )

    def _clones(self, nodes: Sequence[NodeView]) -> list[NodeName]:
        locked = {lock.value for lock in self._locks.list() if lock.kind == "node" and lock.message == CLONED}
        return [node.name for node in nodes if node.node_id in locked] if locked else []

    def _rotating(self) -> list[tuple[str, str, datetime | None]]:
        found = [(kind, self._authority.rotation(kind)) for kind in ROTATABLE_KINDS]
        return [(kind, each.phase, each.started) for kind, each in found if each.phase != "standby"]

    def _beginning(self, nodes: Sequence[NodeView], sessions: int) -> Beginning:
        has_node = any(node.status != "pending" for node in nodes)
        return Beginning(
            token=bool(nodes) or any(token.expires for token in self._enrolment.tokens.list()),
            device=bool(nodes),
            session=has_node and (sessions > 0 or self._has_had_session()),
        )

    def _has_had_session(self) -> bool:
        """Tell whether there ever was a session; once there was, nobody looks again."""
        if not self._had_session:
            codes = (events.SESSION_START.code, events.SESSION_CONNECT.code)
            found = self._ledger.newest(Wanted(codes=codes), most=1)
            # Where the log is longer than one question looks at, this is no cluster that somebody begins with.
            self._had_session = bool(found.events) or found.is_cut
        return self._had_session

    def _last_day(self) -> _Day:
        """Return what happened in the last day."""
        told, day = self._ledger.newest(Wanted(codes=_LOOKED_FOR), _COUNTED_MAX, _DAY), self._day
        if day is None or day.told is not told:
            self._day = day = _Day(told, _changes(told.events, is_cut=told.is_cut))
        return day


def _changes(found: Sequence[Mapping[str, Any]], *, is_cut: bool) -> Changes:
    made = []
    for subject, kinds in CHANGES.items():
        these = _of_kinds(found, kinds)
        if these:
            made.append(Change(subject, len(these), tuple(these[:_NEWEST])))
    return Changes(tuple(made), is_cut)


def _of_kinds(found: Iterable[Mapping[str, Any]], kinds: Iterable[EventKind]) -> list[Mapping[str, Any]]:
    codes = {kind.code for kind in kinds}
    return [event for event in found if event.get("code") in codes]


def _times(event: Mapping[str, Any]) -> int:
    """Return how often it happened, of which an event tells."""
    count = event.get("count")
    return max(1, count) if isinstance(count, int) else 1


def _names(found: Iterable[Mapping[str, Any]]) -> list[NodeName]:
    return [NodeName(name) for name in dict.fromkeys(str(event.get("server_hostname", "")) for event in found) if name]


def _backlog(nodes: Iterable[NodeView]) -> Backlog:
    beats = [node.standing.beat for node in nodes if node.standing.beat and node.standing.beat.spool_files]
    return Backlog(len(beats), sum(beat.spool_files for beat in beats), sum(beat.spool_bytes for beat in beats))


def _is_full(node: NodeView) -> bool:
    """Tell whether a node that is there says that its disk is nearly full."""
    standing = node.standing
    return standing.presence == "online" and standing.beat is not None and is_disk_full(standing.state, standing.beat)


def _is_off(node: NodeView) -> bool:
    standing = node.standing
    return standing.presence == "online" and standing.beat is not None and is_clock_off(standing.beat)
