"""What the controller tells its nodes, made and signed: the policy document, the pulse, and what is for one node alone.

Each process makes the document for itself, from the same records, and all make the same bytes: the version and the
instant it was issued at are kept in the store. Whoever first finds that what holds differs from what was written down
raises the version, by one compare-and-swap, and tells the audit log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, cast

from controller.audit import AuditError, AuditLog
from controller.authority import Authority
from controller.locks import Locks, for_nodes
from controller.orders import Orders
from controller.policy.document import is_plausible_version, next_version, parts_of
from controller.store.interface import AlreadyExistsError, ConflictError, Record, Store, StoreError
from controller.terms import Terms
from protocol import events, limits
from protocol.control import NodeDocument, PolicyDocument, Pulse
from protocol.endorsement import Endorsed
from protocol.instants import to_milliseconds
from protocol.names import ClusterName, Labels, NodeId, NodeName, UserName

LOG = logging.getLogger("CONTROL")
COLLECTION = "control"
# The record of the version that holds.
POLICY = "policy"
_ATTEMPTS = 20


class ChangeableNode(Protocol):
    """A node, as far as a document for it goes. `labels_version` is 0 for one that is as it joined."""

    @property
    def node_id(self) -> NodeId:
        """Its id."""
        ...

    @property
    def name(self) -> NodeName:
        """Its name."""
        ...

    @property
    def labels(self) -> Labels:
        """Its labels as they hold now."""
        ...

    @property
    def labels_version(self) -> int:
        """Of them: counts up with every change of an admin's."""
        ...


@dataclass(frozen=True, slots=True)
class _Picture:
    """The document that holds, what it was made of, and when that changes by itself: a lock ends."""

    stamp: object
    until: datetime | None
    version: int
    endorsed: Endorsed


@dataclass(frozen=True, slots=True)
class _NodePicture:
    """The documents for single nodes, and what they were made of."""

    stamp: object
    nodes: object
    made: Mapping[NodeId, tuple[NodeDocument, Endorsed]]
    endorsed: Mapping[NodeId, Endorsed]


class Control:
    """Everything that nodes are told. Asking again costs next to nothing while nothing changed.

    Every method may raise `StoreError` and `AuthorityError`; threads may share one.
    """

    def __init__(  # noqa: PLR0913 - the parts it is made of
        self,
        *,
        store: Store,
        authority: Authority,
        terms: Terms,
        locks: Locks,
        audit: AuditLog,
        clock: Callable[[], datetime],
        cluster: ClusterName,
        nodes: Callable[[], Iterable[ChangeableNode]],
        orders: Callable[[], Orders] = Orders,
        void_before: Callable[[], Mapping[UserName, int]] = dict,
    ) -> None:
        self._versions = store.collection(COLLECTION)
        self._authority = authority
        self._terms = terms
        self._locks = locks
        self._audit = audit
        self._clock = clock
        self._cluster = cluster
        self._nodes = nodes
        self._orders = orders
        self._void_before = void_before
        self._making = threading.Lock()
        self._picture: _Picture | None = None
        self._node_picture: _NodePicture | None = None
        self._told: object = None

    def policy(self) -> Endorsed:
        """Return the policy document of the moment, signed."""
        return self._current().endorsed

    @property
    def version(self) -> int:
        """The version of that document."""
        return self._current().version

    def pulse(self, now: datetime) -> Endorsed:
        """Return the word that the controller is there at `now`, and which policy holds, signed."""
        return self._authority.endorse("pulse", Pulse(to_milliseconds(now), self.version).encode())

    def node_documents(self) -> Mapping[NodeId, Endorsed]:
        """Return what is for single nodes, signed: for those that an admin changed since they joined."""
        with self._making:
            stamp, nodes, picture = self._authority.stamp(), self._nodes(), self._node_picture
            if picture is None or picture.stamp != stamp or picture.nodes is not nodes:
                kept = picture.made if picture is not None and picture.stamp == stamp else {}
                self._node_picture = picture = self._make_for_nodes(stamp, nodes, kept)
            return picture.endorsed

    def node_document(self, node: ChangeableNode) -> Endorsed | None:
        """Return what is for this node alone, signed; None where an admin has changed nothing since it joined."""
        document = _document(node)
        return None if document is None else self._authority.endorse("node", document.encode())

    def refresh(self) -> bool:
        """Tell whether nodes are to be told something new since the last call: the first time always."""
        told = (self.policy(), self.node_documents())
        is_new, self._told = told != self._told, told
        return is_new

    def outrun(self, version: int) -> bool:
        """Raise the version above one that was seen out there; tell whether that was needed.

        A controller that was restored from a backup would else say what every node takes for old. A version that no
        clock of ours can have given out is somebody's invention, and passed over.
        """
        now = self._clock()
        if version <= self.version or not is_plausible_version(version, now):
            return False
        record = self._record()
        issue = None if record is None else _Issue.from_value(record)
        if record is not None and issue is not None and issue.version < version:
            fresh = replace(issue, version=next_version(version, now), issued=to_milliseconds(now))
            with suppress(ConflictError):  # it changed meanwhile; where that did not do, the next look does
                self._versions.replace(record, fresh.to_value(), now=now)
                self._report(fresh.version, ["version"])
        return True

    def _current(self) -> _Picture:
        with self._making:
            picture = self._picture
            if picture is None or picture.stamp != self._stamp() or _is_over(picture, self._clock()):
                self._picture = picture = self._make()
            return picture

    def _stamp(self) -> object:
        return self._authority.stamp(), self._locks.stamp(), self._versions.stamp(), self._orders(), self._void_before()

    def _make(self) -> _Picture:
        for _ in range(_ATTEMPTS):
            # The version is read before what it stands for: whoever raised it read what was there before that, so what
            # is read now is no older, and a replace below fails where it has become so.
            stamp, record, now = self._stamp(), self._record(), self._clock()
            draft = self._draft()
            issue = self._issue(record, draft, now)
            if issue is not None:
                recording = replace(draft.recording, time=issue.issued)
                document = replace(draft, version=issue.version, issued=issue.issued, recording=recording)
                ends = [lock.expires for lock in draft.locks if lock.expires is not None]
                endorsed = self._authority.endorse("policy", document.encode())
                return _Picture(stamp, min(ends, default=None), document.version, endorsed)
        raise StoreError("the policy document is being changed by many at once: try again")

    def _draft(self) -> PolicyDocument:
        """Return what holds now, without version and instant."""
        authority = self._authority
        return PolicyDocument(
            version=0,
            issued=0,
            cluster=self._cluster,
            user_authorities=authority.ssh_authorities("user"),
            host_authorities=authority.ssh_authorities("host"),
            tls_authorities=authority.tls_authorities(),
            recording=replace(self._terms.current(), time=0),
            locks=tuple(for_nodes(lock) for lock in self._locks.list())[: limits.LOCKS_MAX],
            locking_mode=self._orders().locking_mode,
            successions=authority.successions(),
            renew=authority.renewals(),
            void_before=self._void_before(),
        )

    def _issue(self, record: Record | None, draft: PolicyDocument, now: datetime) -> _Issue | None:
        """Return the version of what `draft` says: the one written down, or the next; None where somebody raised it."""
        parts = parts_of(draft)
        issue = None if record is None else _Issue.from_value(record)
        if issue is not None and issue.parts == parts:
            return issue
        fresh = _Issue(next_version(issue.version if issue else 0, now), to_milliseconds(now), parts)
        try:
            if record is None:
                self._versions.create(POLICY, fresh.to_value(), now=now)
            else:
                self._versions.replace(record, fresh.to_value(), now=now)
        except (AlreadyExistsError, ConflictError):
            return None
        before = issue.parts if issue else {}
        self._report(fresh.version, sorted(name for name in parts if before.get(name) != parts[name]))
        return fresh

    def _record(self) -> Record | None:
        return self._versions.get(POLICY, now=self._clock())

    def _report(self, version: int, changed: Sequence[str]) -> None:
        try:
            self._audit.write(events.POLICY_UPDATE, {"version": version, "changed": list(changed)})
        except AuditError as err:
            # What changed has its own event, which came first. A lock must reach the nodes all the same.
            LOG.error("policy %d holds, but: %s", version, err)  # noqa: TRY400 - one line

    def _make_for_nodes(
        self, stamp: object, nodes: Iterable[ChangeableNode], kept: Mapping[NodeId, tuple[NodeDocument, Endorsed]]
    ) -> _NodePicture:
        made: dict[NodeId, tuple[NodeDocument, Endorsed]] = {}
        for node in nodes:
            document = _document(node)
            if document is None:
                continue
            before = kept.get(node.node_id)
            signed = before if before and before[0] == document else None
            made[node.node_id] = signed or (document, self._authority.endorse("node", document.encode()))
        return _NodePicture(stamp, nodes, made, {node_id: endorsed for node_id, (_, endorsed) in made.items()})


@dataclass(frozen=True, slots=True)
class _Issue:
    """What is written down of the document that holds. `parts` are digests: they tell what differs, if anything."""

    version: int
    issued: int
    parts: Mapping[str, str]

    def to_value(self) -> dict[str, Any]:
        return {"version": self.version, "issued": self.issued, "parts": dict(self.parts)}

    @classmethod
    def from_value(cls, record: Record) -> _Issue:
        fields = cast("Mapping[str, Any]", record.value)
        return cls(fields["version"], fields["issued"], fields["parts"])


def _document(node: ChangeableNode) -> NodeDocument | None:
    if not node.labels_version:
        return None
    return NodeDocument(node.node_id, node.labels_version, node.name, node.labels)


def _is_over(picture: _Picture, now: datetime) -> bool:
    return picture.until is not None and now >= picture.until
