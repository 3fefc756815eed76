"""What a node may upload as a recording, and when it has to stop.

Checks of an upload: U1 the session's id is one; U2 the upload was begun; U3 it is the node's own; U4 the length that is
declared is one that a recording may have; U5 it is the one that was declared before; U6 the node has not too much under
way, and the disk has room; U7 the piece is no larger than one request carries; U8 the upload is not over; U9 the offset
is where the upload stands; U10 the checksum is the piece's; U17 the session's id is one that the node mints, so that
nobody begins an upload before the node whose session it is.
Checks of the recording, each of which ends the upload for good: U11 it is no larger than a recording may be; U12 its
header is of this session, node and cluster; U13 it is signed by the node's host key; U14 its records follow one another
as they were written; U15 its content opens; U16 it ends where the declared length says.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import ClusterName, NodeId, NodeName, SessionId
from protocol.recording.header import Header
from protocol.recording.signer import SignerError, parse_signer
from protocol.session_ids import is_minted_by

# After one of these nothing of the upload is taken any more.
FINAL = frozenset({"U11", "U12", "U13", "U14", "U15", "U16"})
# These are told to the audit log too, each time; the others befall honest nodes on bad links.
SUSPECT = frozenset({"U1", "U3", "U17"})

Algorithm = Literal["sha256", "sha1"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Quota:
    """How much one node may have under way at once, and what stays free.

    Attributes:
        uploads: recordings that have not ended.
        size: bytes of them, together.
        min_free: bytes of the controller's disk that recordings never take.
    """

    uploads: int = limits.UPLOADS_PER_NODE
    size: int = limits.UPLOAD_BYTES_PER_NODE
    min_free: int = limits.UPLOAD_DISK_FREE_MIN


@dataclass(frozen=True, slots=True)
class Load:
    """What one node has under way, in the terms of `Quota`; `free` is what the disk has left."""

    uploads: int
    size: int
    free: int


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a piece must hash to."""

    algorithm: Algorithm
    digest: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a recording, as a node sent it.

    Attributes:
        offset: bytes of the recording before it.
        length: of the whole recording, where the node declared it together with this piece.
    """

    offset: int
    data: bytes = field(repr=False)
    length: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands.

    Attributes:
        offset: bytes that have been taken.
        length: of the whole, once declared.
        over: ``ended`` with the last seal, ``refused`` for good, or neither.
    """

    offset: int
    length: int | None
    over: Literal["", "ended", "refused"] = ""


@dataclass(frozen=True, slots=True)
class Rightful:
    """What the header of the recording must say."""

    session: SessionId
    node: NodeId
    node_name: NodeName
    cluster: ClusterName
    host_key: str


def judge_owner(node: NodeId, holder: NodeId) -> Granted[NodeId] | Refused:
    """Judge whether `node` may touch the upload that `holder` began (U3)."""
    return Granted(node) if holder == node else Refused(f"it belongs to node {holder}", "U3")


def judge_session(session: SessionId, node: NodeId) -> Granted[SessionId] | Refused:
    """Judge whether `session` is one of `node`'s, whoever has uploaded what (U17)."""
    if not is_minted_by(session, node):
        return Refused("its id is not one of this node's sessions", "U17")
    return Granted(session)


def judge_length(known: int | None, declared: int | None) -> Granted[int | None] | Refused:
    """Return the length that holds from now on: what was `known` and is `declared` must agree (U4, U5)."""
    if declared is None:
        return Granted(known)
    if declared > limits.RECORDING_MAX:
        return Refused(f"{declared} bytes are declared, more than a recording may have", "U4")
    if known not in {None, declared}:
        return Refused(f"{declared} bytes are declared, and before it were {known}", "U5")
    return Granted(declared)


def judge_room(load: Load, quota: Quota, *, uploads: int, size: int) -> Granted[Load] | Refused:
    """Judge whether there is room for so many `uploads` and bytes (`size`) more (U6)."""
    if load.uploads + uploads > quota.uploads:
        return Refused(f"the node has {load.uploads} uploads under way, and may have {quota.uploads}", "U6")
    if load.size + size > quota.size:
        return Refused(f"the node's uploads under way take {load.size} bytes, and may take {quota.size}", "U6")
    if load.free - size < quota.min_free:
        return Refused(f"{load.free} bytes are left on the disk, and {quota.min_free} stay free", "U6")
    return Granted(load)


def judge_piece(standing: Standing, piece: Piece) -> Granted[int | None] | Refused:
    """Judge a piece before anything of it is read; what is granted is the whole's length, as far as it is known."""
    if len(piece.data) > limits.RECORDING_PIECE_MAX:
        return Refused(f"a piece of {len(piece.data)} bytes", "U7")
    if standing.over == "refused":
        return Refused("the recording was refused before", "U8")
    if piece.offset != standing.offset:
        return Refused(f"the piece begins at {piece.offset}, and the upload stands at {standing.offset}", "U9")
    if piece.checksum is not None and not _fits(piece.checksum, piece.data):
        return Refused("the piece has another checksum", "U10")
    if standing.over and piece.data:
        return Refused("bytes after the last seal of a recording that is whole", "U8")
    length = judge_length(standing.length, piece.length)
    return length if isinstance(length, Refused) else _judge_size(standing.offset + len(piece.data), length.value)


def _judge_size(end: int, length: int | None) -> Granted[int | None] | Refused:
    if end > limits.RECORDING_MAX:
        return Refused("larger than a recording may be", "U11")
    if length is not None and end > length:
        return Refused(f"{length} bytes were declared, and more came", "U16")
    return Granted(length)


def judge_header(header: Header, rightful: Rightful) -> Granted[Header] | Refused:
    """Judge whose recording it is (U12, U13)."""
    said = {"session": header.session, "node": header.node, "name": header.node_name, "cluster": header.cluster}
    right = {
        "session": rightful.session,
        "node": rightful.node,
        "name": rightful.node_name,
        "cluster": rightful.cluster,
    }
    wrong = [f"{name} {said[name]}" for name in said if said[name] != right[name]]
    if wrong:
        return Refused(f"the header speaks of {', '.join(wrong)}", "U12")
    try:
        signer = parse_signer(rightful.host_key)
    except SignerError as err:
        return Refused(f"the node's host key cannot be read: {err}", "U13")
    if header.signer != signer:
        return Refused("it is signed with another key than the node's host key", "U13")
    return Granted(header)


def judge_end(offset: int, length: int | None, *, has_ended: bool) -> Granted[int] | Refused:
    """Judge, after a piece was taken, whether the last seal comes with the last byte (U16)."""
    if length is None or (offset == length) == has_ended:
        return Granted(offset)
    if has_ended:
        return Refused(f"{length} bytes were declared, and the last seal came after {offset}", "U16")
    return Refused(f"the {length} bytes that were declared have come, and the last seal has not", "U16")


def believed_start(said: int, *, joined: datetime, now: datetime) -> int:
    """Return when a session began, in milliseconds since 1970: what the node said where that can be, else `now`."""
    earliest = (joined - limits.EVENT_TIME_BEFORE_JOIN - _EPOCH) // _MILLISECOND
    latest = (now + limits.EVENT_TIME_AHEAD - _EPOCH) // _MILLISECOND
    return said if earliest <= said <= latest else (now - _EPOCH) // _MILLISECOND


@dataclass(frozen=True, slots=True)
class Complaints:
    """How often a node was complained of within an hour.

    Attributes:
        since: when the hour began.
        told: complaints that reached the audit log.
        held_back: further ones.
    """

    since: datetime
    told: int = 0
    held_back: int = 0


def decide_complaint(before: Complaints | None, now: datetime) -> tuple[Complaints, int | None]:
    """Decide whether one more complaint of a node goes to the audit log: so many an hour do, the rest is counted.

    Returns what to remember, and the number of those held back before, or None where this one is held back too.
    """
    if before is None or not before.since <= now < before.since + _HOUR:
        return Complaints(now, 1), before.held_back if before else 0
    if before.told < limits.UPLOAD_REFUSALS_AUDITED:
        return Complaints(before.since, before.told + 1, before.held_back), 0
    return Complaints(before.since, before.told, before.held_back + 1), None


def _fits(checksum: Checksum, data: bytes) -> bool:
    # The check is against damage on the way; SHA-1 is there for clients of tus that know nothing else.
    digest = hashlib.new(checksum.algorithm, data, usedforsecurity=False).digest()
    return hmac.compare_digest(digest, checksum.digest)
