"""Taking recordings in, piece by piece, as nodes upload them: each piece verified before it is confirmed.

What is confirmed is on the disk: first the bytes, then the note of how far they go. A crash between the two leaves
bytes that nobody was told of, and the next piece takes their place. A recording that is over, because its last seal
came or because something in it does not fit, is told to the audit log and then kept: see
`controller.recordings.conclusion`.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from controller.audit import AuditLog
from controller.authority import AuthorityError
from controller.enrolment.nodes import NodeRecord
from controller.policy import upload as policy
from controller.policy.upload import Load, Piece, Quota, Rightful
from controller.recordings.allowance import AllowanceBook
from controller.recordings.complaints import ComplaintBook
from controller.recordings.conclusion import Concluder
from controller.recordings.examiner import Context, OpenKey, examine
from controller.recordings.note import Note
from controller.recordings.shelf import Shelf
from controller.recordings.storage import DamagedFactsError
from controller.store.durable import LockTimeoutError
from protocol import limits, names
from protocol.decision import Granted, Refused
from protocol.instants import from_milliseconds, to_milliseconds
from protocol.names import BadNameError, ClusterName, NodeId, SessionId
from protocol.recordings import State

LOG = logging.getLogger("RECORDINGS")
# How many bytes a node may take beyond its share before that is looked at again.
_LOOKED_AT_EVERY = 16 * 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class NoRoomError(Exception):
    """There is no room for it now; there may be later. The message is for the operator."""


class IntakeError(Exception):
    """It could not be stored now. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload has come.

    Attributes:
        length: bytes of the whole, where it is known.
        hash: the chain's final value, once the recording has ended: the hash of the whole.
    """

    session: SessionId
    offset: int
    length: int | None
    state: State
    hash: bytes | None


class Intake:
    """Takes in what nodes upload. Every method may raise `NoRoomError`, `IntakeError`, `AuditError`, `StoreError`."""

    def __init__(
        self,
        *,
        shelf: Shelf,
        audit: AuditLog,
        cluster: ClusterName,
        clock: Callable[[], datetime],
        open_key: OpenKey,
        quota: Quota,
    ) -> None:
        self._shelf = shelf
        self._storage = shelf.storage
        self._cluster = cluster
        self._clock = clock
        self._open_key = open_key
        self._quota = quota
        self._complaints = ComplaintBook(audit, clock)
        self._allowances = AllowanceBook(clock)
        self._concluder = Concluder(self._storage, audit, self._complaints)

    def begin(self, node: NodeRecord, session: str, length: int | None, address: str) -> Granted[Progress] | Refused:
        """Begin the upload of `session`, or find it begun already by the same node."""
        try:
            parsed = names.parse_session_id(session)
        except BadNameError as err:
            return self._refuse(node, None, Refused(str(err), "U1"), address)
        minted = policy.judge_session(parsed, node.node_id)
        if isinstance(minted, Refused):
            return self._refuse(node, parsed, minted, address)
        with _storing(), self._storage.turn(parsed):
            answer = self._begin(node, parsed, length, address)
        return self._refuse(node, parsed, answer, address) if isinstance(answer, Refused) else answer

    def progress(self, node: NodeRecord, session: SessionId, address: str) -> Granted[Progress] | Refused:
        """Return how far an upload has come."""
        with _storing():
            owned = self._owned(node, self._find(session))
            if isinstance(owned, Granted) and owned.value.is_over and self._shelf.arriving(session):
                with self._storage.turn(session):
                    owned = self._owned(node, self._recovered(node.node_id, session, address))
        return self._refuse(node, session, owned, address) if isinstance(owned, Refused) else _progress(owned.value)

    def append(self, node: NodeRecord, session: SessionId, piece: Piece, address: str) -> Granted[Progress] | Refused:
        """Take one piece. Of a piece that does not fit, what comes before the fault is kept."""
        with _storing():
            answer = self._owned(node, self._find(session))
            if isinstance(answer, Granted):
                with self._storage.turn(session):
                    answer = self._owned(node, self._recovered(node.node_id, session, address))
                    if isinstance(answer, Granted):
                        answer = self._take(node, answer.value, piece, address)
        return self._refuse(node, session, answer, address) if isinstance(answer, Refused) else _progress(answer.value)

    def conclude(self) -> int:
        """Conclude what is over and could not be concluded when it ended; return how many those were."""
        with _storing():
            return sum(self._conclude_late(note) for note in self._shelf.arrivals() if note.waits_for_its_end)

    def _conclude_late(self, note: Note) -> bool:
        with self._storage.turn(note.session):
            self._recovered(note.node, note.session, "")
        return True

    def _find(self, session: SessionId) -> Note | None:
        try:
            return self._shelf.find(session)
        except DamagedFactsError:
            with self._storage.turn(session):
                self._put_aside(session)
            return self._shelf.find(session)

    # --- with the turn held ---------------------------------------------------------------------------------

    def _begin(
        self, node: NodeRecord, session: SessionId, length: int | None, address: str
    ) -> Granted[Progress] | Refused:
        judged = policy.judge_length(None, length)
        if isinstance(judged, Refused):
            return judged
        found = self._recovered(node.node_id, session, address)
        if found is None:
            return self._begin_anew(node, session, length)
        owned = self._owned(node, found)
        if isinstance(owned, Refused):
            return owned
        if found.refused is not None:
            return Refused("the recording was refused before", "U8")
        judged = policy.judge_length(found.size if found.is_over else found.length, length)
        if isinstance(judged, Refused):
            return judged
        if judged.value != found.length and not found.is_over:
            found = replace(found, length=judged.value)
            self._storage.note(session, found.to_facts())
        return _progress(found)

    def _begin_anew(self, node: NodeRecord, session: SessionId, length: int | None) -> Granted[Progress] | Refused:
        room = policy.judge_room(self._load(node.node_id), self._quota, uploads=1, size=0)
        if isinstance(room, Refused):
            return room
        note = Note(session, node.node_id, node.name, to_milliseconds(self._clock()), length)
        self._storage.begin(session, note.to_facts())
        return _progress(note)

    def _take(self, node: NodeRecord, note: Note, piece: Piece, address: str) -> Granted[Note] | Refused:
        length = policy.judge_piece(note.standing(), piece)
        if isinstance(length, Refused):
            return length if note.is_over or length.check not in policy.FINAL else self._stop(note, length, address)
        if note.is_over:
            return Granted(note)
        room = self._judge_room(node, note, len(piece.data))
        if isinstance(room, Refused):
            return room
        examined = self._examine(node, replace(note, length=length.value), piece.data)
        if examined.refused is None:
            end = policy.judge_end(examined.offset, examined.length, has_ended=examined.is_over)
            examined = examined.stopped(end) if isinstance(end, Refused) else examined
        good = piece.data[: max(0, examined.offset - note.offset)]
        self._storage.append(note.session, note.offset, good)
        self._storage.note(note.session, examined.to_facts())
        if examined.is_over:
            self._concluder.conclude(examined, address)
        return examined.refused or Granted(examined)

    def _examine(self, node: NodeRecord, note: Note, data: bytes) -> Note:
        rest = note.offset - note.position.offset if note.header else note.offset
        held = self._storage.read(note.session, note.offset - rest, rest) if rest else b""
        rightful = Rightful(note.session, node.node_id, node.name, self._cluster, node.ssh_public_key)
        context = Context(rightful, node.joined, self._clock())
        with self._allowances.piece(node.node_id) as allowance:
            examined = examine(note, held, data, context, self._open_key, allowance)
        return replace(examined, grown=to_milliseconds(self._clock()))

    def _stop(self, note: Note, refused: Refused, address: str) -> Refused:
        stopped = note.stopped(refused)
        self._storage.note(note.session, stopped.to_facts())
        self._concluder.conclude(stopped, address)
        return refused

    def _recovered(self, node: NodeId, session: SessionId, address: str) -> Note | None:
        """Return what is known of a recording, after seeing to what a crash left undone. `node` is who asks."""
        note = self._put_aside(session)
        if note is None:
            return self._shelf.kept(session)
        if not note.is_over and self._storage.arrived(session) < note.offset:
            # What was on the disk is gone: the disk is damaged. The node still has it all.
            note = note.emptied()
            self._storage.begin(session, note.to_facts())
        if note.waits_for_its_end and note.node == node:
            self._concluder.conclude(note, address, again=True)
        return note

    def _put_aside(self, session: SessionId) -> Note | None:
        """Return the note of a recording that is arriving; one that is damaged is put aside, and begun anew."""
        try:
            return self._shelf.arriving(session)
        except DamagedFactsError as err:
            LOG.warning("%s: what has come of recording %s is put aside, and its node sends it anew", err, session)
            self._storage.put_aside(session)
            return None

    # --- room -----------------------------------------------------------------------------------------------

    def _judge_room(self, node: NodeRecord, note: Note, size: int) -> Granted[Any] | Refused:
        looks = note.offset // _LOOKED_AT_EVERY != (note.offset + size) // _LOOKED_AT_EVERY
        load = self._load(node.node_id) if looks else Load(0, 0, self._storage.free())
        return policy.judge_room(load, self._quota, uploads=0, size=size)

    def _load(self, node: NodeId) -> Load:
        """Return what the node has under way, and forget what came to nothing where that would pile up."""
        own = [note for note in self._shelf.arrivals() if note.node == node]
        nothing = sorted((note for note in own if self._is_nothing(note)), key=lambda note: note.grown)
        for note in nothing[: max(0, len(nothing) - self._quota.uploads // 4)]:
            self._forget(note.session)
        under_way = [note for note in own if not self._is_nothing(note)]
        return Load(len(under_way), sum(note.offset for note in under_way), self._storage.free())

    def _forget(self, session: SessionId) -> None:
        """Forget an upload that came to nothing, if that is still so: its node may have come back meanwhile."""
        with (
            suppress(LockTimeoutError),
            self._storage.turn(session),
        ):  # we hold another turn, and so may who waits for it
            note = self._shelf.arriving(session)
            if note is not None and self._is_nothing(note):
                self._storage.forget_arrival(session)

    def _is_nothing(self, note: Note) -> bool:
        """Tell whether there is nothing of an upload, and nothing will come any more: refused, or given up long ago."""
        has_settled = note.is_over or self._clock() - from_milliseconds(note.grown) > limits.RECORDING_ARRIVAL_MAX
        return note.is_empty and has_settled

    # --- answers --------------------------------------------------------------------------------------------

    @staticmethod
    def _owned(node: NodeRecord, note: Note | None) -> Granted[Note] | Refused:
        if note is None:
            return Refused("no upload of that session was begun", "U2")
        judged = policy.judge_owner(node.node_id, note.node)
        return judged if isinstance(judged, Refused) else Granted(note)

    def _refuse(self, node: NodeRecord, session: SessionId | None, refused: Refused, address: str) -> Refused:
        if refused.check in policy.SUSPECT:
            self._complaints.tell(node.node_id, node.name, refused, session, address)
        return refused


def _progress(note: Note) -> Granted[Progress]:
    has_ended = note.is_over and note.refused is None
    length = note.size if has_ended else note.length
    chain = note.position.chain if has_ended else None
    return Granted(Progress(note.session, note.standing().offset, length, note.state, chain))


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except AuthorityError as err:
        raise IntakeError(f"what a recording is locked with cannot be opened now: {err}") from err
    except OSError as err:
        if err.errno in _FULL:
            raise NoRoomError(f"no room for recordings: {err}") from err
        raise IntakeError(f"recordings cannot be stored: {err}") from err
