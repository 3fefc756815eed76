"""A day of each node's heartbeats, in steps of `limits.HISTORY_STEP`. No input or output; the time is an argument.

Ten thousand nodes have one and a half million steps: a step is 16 bytes, and a node's day one array. A number takes 16
bits, eleven of them its first digits and five an exponent: it is right to a part in a thousand.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from protocol import limits
from protocol.events import Json
from protocol.instants import to_milliseconds
from protocol.names import NodeId
from protocol.presences import Beat

STEPS = limits.HISTORY_SPAN // limits.HISTORY_STEP
_STEP_MILLISECONDS = limits.HISTORY_STEP // limits.MILLISECOND
# Load, memory, temperature, round trip, the worst of it, spool; reconnects, times offline, sessions, heartbeats.
_RECORD = struct.Struct("<6H4B")
_NONE = 0xFFFF
_DIGITS, _EXPONENT_MAX = 11, 30
_COUNT_MAX = 255
_BLANK = _RECORD.pack(*[_NONE] * 6, 0, 0, 0, 0)
# Temperatures are kept as tenths above so many degrees below zero: whole numbers from 0 up.
_COLDEST = 1000
_KIB = 1024
# A file of one step: what it is, which step, the rows, and a checksum of all before.
_MAGIC = b"SKH1"
_HEAD = struct.Struct("<4sq")
_TAIL = struct.Struct("<I")
_ID_BYTES = 16
_ROW = _ID_BYTES + _RECORD.size

# What the open step has gathered so far, in this order.
(
    _BEATS,
    _LOAD,
    _MEMORY,
    _WARMTH,
    _WARMTHS,
    _TRIP,
    _TRIPS,
    _WORST,
    _SPOOL,
    _RECONNECTS,
    _OFFLINE,
    _SESSIONS,
    _COUNTER,
) = range(13)


class HistoryError(ValueError):
    """What should be a step of history is none; the message says why."""


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """One node's last day; each value stands for one step, the oldest first, the last one not over yet.

    A value is None where nothing was heard in that step.

    Attributes:
        begin: when the first step began, milliseconds since 1970.
        step: how long one is, seconds.
        load: the load average of a minute, averaged.
        memory_free: available memory, KiB, averaged.
        temperature: degrees Celsius, averaged; None also where there is no sensor.
        round_trip: of the link to the controller, milliseconds, averaged; `round_trip_worst`: the longest.
        reconnects: how often the link was made anew.
        offline: how often the node went offline.
        spool_bytes: recordings that waited to be uploaded, averaged.
        sessions: people's sessions, the most there were at a time.
    """

    begin: int
    step: int
    load: tuple[float | None, ...]
    memory_free: tuple[float | None, ...]
    temperature: tuple[float | None, ...]
    round_trip: tuple[float | None, ...]
    round_trip_worst: tuple[float | None, ...]
    reconnects: tuple[int | None, ...]
    offline: tuple[int | None, ...]
    spool_bytes: tuple[float | None, ...]
    sessions: tuple[int | None, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        lists: dict[str, Json] = {field.name: list(getattr(self, field.name)) for field in fields(self)[2:]}
        return {"begin": self.begin, "step": self.step, **lists}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> NodeHistory:
        """Read what `to_dict` made: both ends are this program. Raises `KeyError`, `TypeError` for something else."""
        begin, step, *rows = (value[field.name] for field in fields(cls))
        return cls(begin, step, *(tuple(row) for row in rows))


def step_of(now: datetime) -> int:
    """Return the number of the step that `now` is in."""
    return to_milliseconds(now) // _STEP_MILLISECONDS


class _Track:
    """One node: the steps that are over, and what the open one has gathered.

    Attributes:
        newest: the last step that stands in `ring`; those before it, up to `STEPS`, stand there as well.
    """

    __slots__ = ("gathered", "newest", "ring")

    def __init__(self, newest: int) -> None:
        self.ring = bytearray(_BLANK * STEPS)
        self.newest = newest
        self.gathered = array("f", bytes(4 * 13))
        self.gathered[_COUNTER] = -1

    def put(self, step: int, record: bytes) -> None:
        """Put down a step; one that is older than a day is passed over."""
        if step <= self.newest - STEPS:
            return
        self._blank(max(self.newest + 1, step - STEPS + 1), step)
        start = step % STEPS * _RECORD.size
        self.ring[start : start + _RECORD.size] = record
        self.newest = max(self.newest, step)

    def rewind(self, step: int) -> None:
        """Forget what is later than `step`: the clock was set back."""
        self._blank(max(step + 1, self.newest - STEPS + 1), self.newest + 1)
        self.newest = min(self.newest, step)

    def _blank(self, first: int, end: int) -> None:
        """Empty the steps from `first` up to `end`, fewer than a day of them: in the ring that is one piece or two."""
        while first < end:
            place = first % STEPS
            number = min(end - first, STEPS - place)
            self.ring[place * _RECORD.size : (place + number) * _RECORD.size] = _BLANK * number
            first += number

    def at(self, step: int) -> bytes:
        """Return the record of a step that is over."""
        if not self.newest - STEPS < step <= self.newest:
            return _BLANK
        start = step % STEPS * _RECORD.size
        return bytes(self.ring[start : start + _RECORD.size])

    def hear(self, beat: Beat) -> None:
        """Gather a heartbeat."""
        so_far = self.gathered
        so_far[_BEATS] += 1
        so_far[_LOAD] += beat.load
        so_far[_MEMORY] += beat.memory
        so_far[_SPOOL] += beat.spool_bytes / _KIB
        so_far[_SESSIONS] = max(so_far[_SESSIONS], beat.sessions)
        if beat.temperature is not None:
            so_far[_WARMTH] += max(0, beat.temperature + _COLDEST)
            so_far[_WARMTHS] += 1
        if beat.round_trip is not None:
            so_far[_TRIP] += beat.round_trip
            so_far[_TRIPS] += 1
            so_far[_WORST] = max(so_far[_WORST], beat.round_trip)
        before, so_far[_COUNTER] = so_far[_COUNTER], beat.reconnects
        if before >= 0:  # an agent that was started again counts from nothing
            so_far[_RECONNECTS] += beat.reconnects - before if beat.reconnects >= before else beat.reconnects

    def present(self) -> bytes:
        """Return the record of what was gathered."""
        so_far = self.gathered
        return _RECORD.pack(
            _short(so_far[_LOAD], so_far[_BEATS]),
            _short(so_far[_MEMORY], so_far[_BEATS]),
            _short(so_far[_WARMTH], so_far[_WARMTHS]),
            _short(so_far[_TRIP], so_far[_TRIPS]),
            _short(so_far[_WORST], min(1, so_far[_TRIPS])),
            _short(so_far[_SPOOL], so_far[_BEATS]),
            *(min(_COUNT_MAX, int(so_far[which])) for which in (_RECONNECTS, _OFFLINE, _SESSIONS, _BEATS)),
        )

    def resume(self, record: bytes) -> None:
        """Take up what an earlier run had gathered of the open step."""
        load, memory, warmth, trip, worst, spool, reconnects, offline, sessions, beats = _RECORD.unpack(record)
        so_far = self.gathered
        so_far[_BEATS] += beats
        for which, raw in ((_LOAD, load), (_MEMORY, memory), (_SPOOL, spool)):
            so_far[which] += (_long(raw) or 0) * beats
        for which, number, raw in ((_WARMTH, _WARMTHS, warmth), (_TRIP, _TRIPS, trip)):
            if (value := _long(raw)) is not None:
                so_far[which] += value * beats
                so_far[number] += beats
        so_far[_WORST] = max(so_far[_WORST], _long(worst) or 0)
        so_far[_SESSIONS] = max(so_far[_SESSIONS], sessions)
        so_far[_RECONNECTS] += reconnects
        so_far[_OFFLINE] += offline

    def clear(self) -> None:
        """Begin a new step."""
        counter = self.gathered[_COUNTER]
        self.gathered = array("f", bytes(4 * 13))
        self.gathered[_COUNTER] = counter


class History:
    """The days of all nodes that anything was heard of."""

    def __init__(self) -> None:
        self._tracks: dict[NodeId, _Track] = {}
        self._open: int | None = None

    @property
    def open(self) -> int | None:
        """The step that is not over; None before anything was."""
        return self._open

    def hear(self, node_id: NodeId, beat: Beat, now: datetime) -> None:
        """Take a heartbeat."""
        self._track(node_id, now).hear(beat)

    def note_offline(self, node_id: NodeId, now: datetime) -> None:
        """Note that a node went offline."""
        self._track(node_id, now).gathered[_OFFLINE] += 1

    def forget(self, nodes: Collection[NodeId]) -> None:
        """Forget nodes that are no more."""
        for node_id in nodes:
            self._tracks.pop(node_id, None)

    def advance(self, now: datetime) -> int | None:
        """Close the open step where it is over; return its number then.

        A clock that is set back by less than a step leaves it open: the one before it is over.
        """
        step = step_of(now)
        if self._open is None:
            self._open = step
        if step in (self._open, self._open - 1):
            return None
        closed, self._open = self._open, step
        for track in self._tracks.values():
            record = track.present()
            if record != _BLANK:
                track.put(closed, record)
                track.clear()
            if step < track.newest:
                track.rewind(step)
        return closed

    def of(self, node_id: NodeId, now: datetime) -> NodeHistory | None:
        """Return a node's last day; None where nothing is known of it."""
        track = self._tracks.get(node_id)
        if track is None:
            return None
        last = step_of(now) if self._open is None else self._open
        records = [track.at(step) for step in range(last - STEPS + 1, last)]
        rows = [_values(record) for record in (*records, track.present())]
        return NodeHistory(
            (last - STEPS + 1) * _STEP_MILLISECONDS, _STEP_MILLISECONDS // 1000, *zip(*rows, strict=True)
        )

    def _track(self, node_id: NodeId, now: datetime) -> _Track:
        if self._open is None:
            self._open = step_of(now)
        track = self._tracks.get(node_id)
        if track is None:
            self._tracks[node_id] = track = _Track(self._open - 1)
        return track

    # --- kept over a restart ------------------------------------------------------------------------------------

    def encode(self, step: int) -> bytes:
        """Return a file's content: what is known of all nodes in one step, which may be the open one."""
        rows = [_HEAD.pack(_MAGIC, step)]
        for node_id, track in self._tracks.items():
            record = track.present() if step == self._open else track.at(step)
            if record != _BLANK:
                rows.append(_id_bytes(node_id) + record)
        content = b"".join(rows)
        return content + _TAIL.pack(zlib.crc32(content))

    def restore(self, content: bytes, nodes: Mapping[bytes, NodeId], now: datetime) -> None:
        """Take up what an earlier run knew. Steps of the future, and more than a day ago, are passed over.

        Args:
            content: of a file.
            nodes: those there are, by `ids`.
            now: the time, UTC.

        Raises:
            HistoryError: it is none.
        """
        step, rows = _read(content)
        present = step_of(now) if self._open is None else self._open
        if not present - STEPS < step <= present:
            return
        for key, record in rows:
            node_id = nodes.get(key)
            if node_id is None:
                continue
            track = self._track(node_id, now)
            if step == present:
                track.resume(record)
            elif track.at(step) == _BLANK:
                track.put(step, record)


def ids(nodes: Collection[NodeId]) -> dict[bytes, NodeId]:
    """Return nodes by their ids as they stand in a file."""
    return {_id_bytes(node_id): node_id for node_id in nodes}


def _id_bytes(node_id: NodeId) -> bytes:
    return bytes.fromhex(node_id.replace("-", ""))


def _read(content: bytes) -> tuple[int, Iterator[tuple[bytes, bytes]]]:
    body, end = content[: -_TAIL.size], content[-_TAIL.size :]
    if len(body) < _HEAD.size or (len(body) - _HEAD.size) % _ROW:
        raise HistoryError("it is cut off")
    if end != _TAIL.pack(zlib.crc32(body)):
        raise HistoryError("its checksum is wrong")
    magic, step = _HEAD.unpack_from(body)
    if magic != _MAGIC:
        raise HistoryError("it is something else")
    starts = range(_HEAD.size, len(body), _ROW)
    return step, ((body[at : at + _ID_BYTES], body[at + _ID_BYTES : at + _ROW]) for at in starts)


def _short(total: float, number: float) -> int:
    """Return an average as 16 bits."""
    if not number:
        return _NONE
    value = round(total / number)
    exponent = max(0, value.bit_length() - _DIGITS)
    if exponent > _EXPONENT_MAX:
        return _NONE - 1 - (1 << _DIGITS)
    return exponent << _DIGITS | value >> exponent


def _long(short: int) -> int | None:
    return None if short == _NONE else (short & ((1 << _DIGITS) - 1)) << (short >> _DIGITS)


def _values(record: bytes) -> Sequence[float | None]:
    """Return a step's values, in the order of `NodeHistory`'s fields."""
    if record == _BLANK:
        return (None,) * 9
    load, memory, warmth, trip, worst, spool, reconnects, offline, sessions, beats = _RECORD.unpack(record)
    return (
        _scaled(load, 1 / 100),
        _scaled(memory),
        _scaled(warmth, 1 / 10, -_COLDEST),
        _scaled(trip, 1 / 10),
        _scaled(worst, 1 / 10),
        reconnects if beats else None,
        offline,
        _scaled(spool, _KIB),
        sessions if beats else None,
    )


def _scaled(short: int, scale: float = 1, offset: int = 0) -> float | None:
    value = _long(short)
    return None if value is None else round((value + offset) * scale, 2)
