"""Which node a host key belongs to: a device that joins again with its key is the node that it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from controller.enrolment.proof import fingerprint
from controller.store.interface import AlreadyExistsError, ConflictError, Record, Store, Value
from protocol import limits
from protocol.events import Json
from protocol.names import NodeId

COLLECTION = "node_keys"


@dataclass(frozen=True, slots=True)
class KeyNote:
    """What is noted of one host key.

    Attributes:
        token: the hash of the token that it joined with last.
        is_removed: whether that node was removed: a token that the key spent is good for nothing more.
    """

    node_id: NodeId
    token: str
    is_removed: bool = False

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"node_id": self.node_id, "token": self.token, "removed": self.is_removed}

    @classmethod
    def from_value(cls, value: Value) -> KeyNote:
        """Read the JSON object."""
        fields = cast("Mapping[str, Any]", value)
        return cls(fields["node_id"], fields["token"], fields["removed"])


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A note as it was read; `record` is None where there is none yet."""

    mark: str
    note: KeyNote | None
    record: Record | None


class HostKeys:
    """The host keys of all nodes, and for a while of those that were removed."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._notes = store.collection(COLLECTION)
        self._clock = clock

    def find(self, line: str) -> FoundKey:
        """Return what is noted of a key, in OpenSSH one-line form. Raises `StoreError`."""
        mark = fingerprint(line)
        record = self._notes.get(mark, now=self._clock()) if mark else None
        return FoundKey(mark, None if record is None else KeyNote.from_value(record.value), record)

    def note(self, found: FoundKey, note: KeyNote) -> bool:
        """Note whose the key is; False where somebody else noted something meanwhile. Raises `StoreError`."""
        now = self._clock()
        try:
            if found.record is None:
                self._notes.create(found.mark, note.to_value(), now=now)
            else:
                self._notes.replace(found.record, note.to_value(), now=now)
        except (AlreadyExistsError, ConflictError):
            return False
        return True

    def index(self, keys: Iterable[tuple[NodeId, str]]) -> int:
        """Note the keys that are not noted yet, and return how many were not. Raises `StoreError`."""
        missing = [(self.find(line), node_id) for node_id, line in keys]
        return sum(
            self.note(found, KeyNote(node_id, "")) for found, node_id in missing if found.mark and not found.note
        )

    def bury(self, line: str) -> None:
        """Note that the node with this key was removed. Raises `StoreError`."""
        now = self._clock()
        expires = now + limits.REMOVED_KEY_MEMORY
        while (found := self.find(line)).record is not None and found.note is not None:
            gone = KeyNote(found.note.node_id, found.note.token, is_removed=True)
            try:
                self._notes.replace(found.record, gone.to_value(), now=now, expires=expires)
            except ConflictError:
                continue  # it is joining at this very moment: what it noted is read anew
            return
