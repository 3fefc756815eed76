"""Recordings on the controller: taken in from nodes, kept, and handed out to who may see them.

`Recordings` is what the doors and the commands ask. Who may see what is not judged here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from controller.audit import AuditLog
from controller.enrolment.nodes import NodeRecord, Nodes
from controller.policy.retention import Held
from controller.policy.upload import Piece, Quota
from controller.recordings.examiner import OpenKey
from controller.recordings.intake import Intake, IntakeError, NoRoomError, Progress
from controller.recordings.listed import Listed, Wanted
from controller.recordings.note import Note
from controller.recordings.provenance import Provenance, Registry
from controller.recordings.shelf import Shelf
from controller.recordings.storage import Storage
from protocol.decision import Granted, Refused
from protocol.instants import from_milliseconds
from protocol.names import ClusterName, SessionId
from protocol.recording.header import Header
from protocol.recordings import RecordingEntry, RecordingKey

__all__ = [
    "Browsing",
    "IntakeError",
    "Listed",
    "NoRoomError",
    "Progress",
    "Provenance",
    "Recordings",
    "RecordingsError",
    "Stored",
]


class RecordingsError(Exception):
    """What was asked of a recording cannot be done; the message says why, in words for the admin."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One recording on the controller.

    Attributes:
        entry: how it is listed; its size is of whole records, all verified.
        header: its first record, verified to be its node's.
        grown: when the controller last took something of it, UTC.
        hash: of the whole, once it has ended; see `protocol.recording.framing.Position.chain`.
        refused: why nothing more of it was taken, and the check that said so.
    """

    entry: RecordingEntry
    header: Header
    grown: datetime
    hash: bytes | None
    refused: Refused | None

    @property
    def signer(self) -> bytes:
        """The Ed25519 public key that it was checked with when it came, 32 bytes: by what lies beside it."""
        return self.header.signer


class Browsing:
    """A listing, the newest first, to be gone through once.

    Attributes:
        is_cut: whether it ended before all was looked at, by now.
    """

    def __init__(self, shelf: Shelf, wanted: Wanted, most: int | None) -> None:
        self.is_cut = False
        self._shelf = shelf
        self._wanted = wanted
        self._most = most

    def __iter__(self) -> Iterator[Listed]:
        """Yield recordings, holding no more than a day's at a time. Raises `RecordingsError` on the way."""
        examined = 0
        with _said("cannot list the recordings"):
            for batch in self._shelf.newest_first(self._wanted):
                if self._most is not None and examined >= self._most:
                    self.is_cut = True
                    return
                yield from batch.listed
                examined += batch.examined


class Recordings:
    """All recordings of one cluster, arriving and kept.

    Every method may raise `RecordingsError` where the storage fails; those that nodes ask (`begin`, `append`,
    `progress`) raise `NoRoomError` and `IntakeError` instead, and `AuditError`.
    """

    def __init__(  # noqa: PLR0913 - the parts it is made of
        self,
        *,
        storage: Storage,
        audit: AuditLog,
        cluster: ClusterName,
        clock: Callable[[], datetime],
        open_key: OpenKey,
        nodes: Nodes,
        quota: Quota = Quota(),  # noqa: B008 - frozen
    ) -> None:
        """Begin.

        Args:
            storage: where they are kept.
            audit: is told of each recording that ends, and of what is refused.
            cluster: whose they must be.
            clock: the time, UTC.
            open_key: returns a recording's own key, as `controller.authority.Authority.open_recording` does.
            nodes: say whose key a recording must be sealed with.
            quota: how much a node may have under way.
        """
        self._shelf = Shelf(storage)
        self._storage = storage
        self._open_key = open_key
        self._registry = Registry(nodes, audit)
        self._intake = Intake(
            shelf=self._shelf, audit=audit, cluster=cluster, clock=clock, open_key=open_key, quota=quota
        )

    # --- for nodes ------------------------------------------------------------------------------------------

    def begin(self, node: NodeRecord, session: str, length: int | None, address: str) -> Granted[Progress] | Refused:
        """Begin the upload of a recording by `node`, or find that it has begun it already.

        Args:
            node: who uploads.
            session: as the node named it, not parsed.
            length: bytes of the whole, where they are known yet.
            address: ``HOST:PORT`` of the node, for the audit log.
        """
        return self._intake.begin(node, session, length, address)

    def append(self, node: NodeRecord, session: SessionId, piece: Piece, address: str) -> Granted[Progress] | Refused:
        """Take the next piece of a recording; what is granted is on the disk, and verified as far as it is whole."""
        return self._intake.append(node, session, piece, address)

    def progress(self, node: NodeRecord, session: SessionId, address: str) -> Granted[Progress] | Refused:
        """Return how far the upload of a recording has come."""
        return self._intake.progress(node, session, address)

    # --- for people -----------------------------------------------------------------------------------------

    def entries(
        self, *, since: datetime | None = None, until: datetime | None = None, limit: int | None = None
    ) -> list[Listed]:
        """Return recordings, the newest first, arriving ones among them.

        Args:
            since: leave out what had ended before it, and what began `limits.RECORDINGS_LOOK_BACK` before it.
            until: leave out what began then or later.
            limit: return at most so many, and read no more days than they take.
        """
        return list(itertools.islice(self.browse(since=since, until=until), limit))

    def browse(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        participant: str | None = None,
        most: int | None = None,
    ) -> Browsing:
        """Return recordings as `entries` does, to be gone through.

        Args:
            since: leave out what had ended before it, and what began `limits.RECORDINGS_LOOK_BACK` before it.
            until: leave out what began then or later.
            participant: leave out those in which this person took no part.
            most: end with the day in which so many have been looked at, wanted or not.
        """
        return Browsing(self._shelf, Wanted(since, until, participant), most)

    def held(self) -> Iterator[Held]:
        """Yield what retention looks at, of each recording. Raises `RecordingsError` on the way."""
        for listed in self.browse():
            entry = listed.entry
            yield Held(entry.session, entry.node, listed.grown, entry.size, entry.state == "arriving")

    def find(self, session: SessionId) -> Stored | None:
        """Return one recording, or None where nothing of it has come that could be shown."""
        note = self._note(session)
        return _stored(note) if note else None

    def read(self, session: SessionId, offset: int, size: int) -> bytes:
        """Return at most `size` bytes of a recording from `offset` on: whole records' bytes, sealed as they came."""
        note = self._known(session)
        with _said(f"cannot read the recording of session {session}"):
            return self._storage.read(session, offset, max(0, min(size, note.size - offset)))

    def key(self, session: SessionId) -> RecordingKey:
        """Return what opens a recording, and the key that it is to be checked with: its node's, as that is enrolled.

        Where the node is not enrolled any more, it is the key that the recording was checked with when it came.

        Raises:
            UnknownKeyError, UnopenableError: this controller cannot open it, now or ever.
            AuthorityError, StoreError: its key cannot be had now.
        """
        note = self._known(session)
        header = _header(note)
        return RecordingKey(self._open_key(header), self._registry.enrolled_key(note.node) or header.signer)

    def provenance(self, session: SessionId) -> Provenance:
        """Return what others than the recording say of whose it is. Raises `StoreError` and `AuditError`."""
        return self._registry.provenance(self._known(session))

    def remove(
        self,
        session: SessionId,
        *,
        if_unchanged: Held | None = None,
        before: Callable[[Stored], object] | None = None,
    ) -> Stored | None:
        """Remove a recording and return what it was; None where it is not there, or is not as it was.

        All of it is one step for whoever uploads the recording: nothing of it is taken meanwhile.

        Args:
            session: whose recording.
            if_unchanged: leave it where it is not as it was when this was said of it.
            before: is told of it before it is removed; where that raises, it stays.
        """
        with _said(f"cannot remove the recording of session {session}"), self._storage.turn(session):
            note = self._note(session)
            if if_unchanged is not None and (note is None or _held(note) != if_unchanged):
                return None
            stored = _stored(note) if note else None
            if stored is not None and before is not None:
                before(stored)
            self._storage.remove(session)
        return stored

    # --- for housekeeping -----------------------------------------------------------------------------------

    def conclude(self) -> int:
        """Tell the audit log of what is over and could not be told when it ended, and keep it; return how many.

        Raises `NoRoomError`, `IntakeError` and `AuditError`.
        """
        return self._intake.conclude()

    def sweep(self) -> int:
        """Remove what crashes left of recordings that are not there; return of how many."""
        with _said("cannot clear up what is left of recordings"):
            return self._storage.sweep()

    def _note(self, session: SessionId) -> Note | None:
        with _said(f"cannot look for the recording of session {session}"):
            note = self._shelf.find(session)
        return None if note is None or note.is_empty else note

    def _known(self, session: SessionId) -> Note:
        note = self._note(session)
        if note is None:
            raise RecordingsError(f"there is no recording of session {session}: `tctl recordings ls` lists them")
        return note


@contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise RecordingsError(f"{what}: {err}") from err


def _header(note: Note) -> Header:
    if note.header is None:
        raise RecordingsError(f"nothing of the recording of session {note.session} has come yet")
    return note.header


def _held(note: Note) -> Held:
    return Held(note.session, note.node, from_milliseconds(note.grown), note.size, not note.is_over)


def _stored(note: Note) -> Stored:
    has_ended = note.is_over and note.refused is None
    return Stored(
        entry=note.entry(),
        header=_header(note),
        grown=from_milliseconds(note.grown),
        hash=note.position.chain if has_ended else None,
        refused=note.refused,
    )
