"""The verdict on one recording: its bytes in, in pieces of any size; what to think of it out, in one line.

It needs nothing but the node's public key. Without that it takes the recording's own word for who sealed it, and
says so: it is proof against damage then, not against somebody who wrote another recording in its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from protocol.instants import from_milliseconds, show_instant
from protocol.recording.fault import RecordingError
from protocol.recording.framing import Position
from protocol.recording.header import Header
from protocol.recording.reader import DataRecord, Reader, Record
from protocol.recording.seal import Reason
from protocol.recording.signer import fingerprint

# intact: to the session's end; interrupted: to where the agent was cut off, and it said so itself; stopped: to where
# the device could not record any further, and it said so; unfinished: good as far as it goes, but no last seal: it is
# still being written, or its end is missing; broken: it does not fit.
State = Literal["intact", "interrupted", "stopped", "unfinished", "broken"]
_STATES: dict[Reason, State] = {
    "running": "unfinished",
    "final": "intact",
    "interrupted": "interrupted",
    "stopped": "stopped",
}
OWN_WORD = "on the recording's own word alone"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said of a recording as far as it was read.

    Attributes:
        records: how many are good, from the first on.
        sealed: how many of them are under a good seal.
        size: bytes of the good records, and of the mark before them.
        pending: bytes after those of a record that is not whole.
        header: None where not even that is good.
        duration: milliseconds from the session's start to the last moment that is known to be on record.
        hash: of all good records, 32 bytes: the whole recording's where there are no more.
        vouched: whether the seals were checked with a key that somebody else than the recording named.
        fault: what is wrong, and at which record; None unless broken.
    """

    state: State
    records: int
    sealed: int
    size: int
    pending: int
    header: Header | None
    duration: int
    hash: bytes
    vouched: bool
    fault: RecordingError | None

    def describe(self, word: str = "", *, arrives: bool = False) -> str:
        """Return one line for a person.

        Args:
            word: whose word it is that the sealing key is the node's.
            arrives: whether its last seal is expected still.
        """
        if self.fault is not None or self.header is None:
            return f"broken: {self.fault}{self._before_fault()}"
        header = self.header
        begun, ended = _instant(header.corrected), _instant(header.corrected + self.duration)
        return (
            f"{self.state}: {_count(self.records, 'record')}, session {header.session}, "
            f"node {header.node_name} ({header.node}), from {begun} to {ended}, "
            f"{self._seal(header.signer, word)}{self._rest(arrives=arrives)}"
        )

    def _seal(self, signer: bytes, word: str) -> str:
        if not self.sealed:
            return "not sealed yet"
        said = word if self.vouched else OWN_WORD
        return f"sealed by {fingerprint(signer)}{f' {said}' if said else ''}"

    def _rest(self, *, arrives: bool) -> str:
        if self.state == "stopped":
            return "; the session may have gone on: the device could not record any further"
        if self.state != "unfinished":
            return ""
        if arrives:
            return "; the session goes on, or its end has not arrived yet"
        rest = "; there is no last seal"
        if self.sealed < self.records:
            rest += f", and {_count(self.records - self.sealed, 'record')} at the end under none"
        return rest + (f"; it ends {self.pending} bytes into a record" if self.pending else "")

    def _before_fault(self) -> str:
        if not self.records:
            return ""
        return f"; before it: {_count(self.records, 'good record')}, {self.sealed} of them sealed"


class Examiner:
    """Reads a recording as it comes and keeps what the verdict needs. It holds no more than `Reader` does."""

    def __init__(self, signer: bytes | None = None) -> None:
        """Begin. `signer` is the node's Ed25519 public key, 32 bytes; None takes the recording's own word."""
        self._reader = Reader(signer)
        self._vouched = signer is not None
        self._rejected: Position | None = None
        self.fault: RecordingError | None = None

    @property
    def header(self) -> Header | None:
        """The header, once it has come."""
        return self._reader.header

    def feed(self, data: bytes) -> list[Record]:
        """Return the good records that `data` completes. After the first fault there are none."""
        found: list[Record] = []
        if self.fault is None:
            try:
                found.extend(self._reader.feed(data))
            except RecordingError as err:
                self.fault = err
        return found

    def reject(self, record: DataRecord, fault: RecordingError) -> None:
        """Say that a record is not good after all: it does not open. What is before it still stands."""
        if self._rejected is None:
            self._rejected, self.fault = record.position, fault

    def verdict(self) -> Verdict:
        """Return the verdict on what has come, taken for all there is."""
        reader = self._reader
        fault = self.fault or self._cut_off_at_once()
        stand = self._rejected or reader.position
        return Verdict(
            state="broken" if fault else _state(reader),
            records=stand.number,
            sealed=min(reader.sealed, stand.number),
            size=stand.offset if stand.number else 0,
            pending=0 if fault else reader.pending,
            header=reader.header,
            duration=max(reader.begin, reader.seal.at if reader.seal else 0),
            hash=stand.chain,
            vouched=self._vouched,
            fault=fault,
        )

    def _cut_off_at_once(self) -> RecordingError | None:
        """Return what is wrong where the bytes end before the header does: there is no recording to speak of."""
        if self._reader.header is not None:
            return None
        return RecordingError("F12", 0, f"cut off after {self._reader.taken} bytes, before the header is whole")


def examine(pieces: Iterable[bytes], signer: bytes | None = None) -> Verdict:
    """Return the verdict on the recording that `pieces` make up."""
    examiner = Examiner(signer)
    for piece in pieces:
        examiner.feed(piece)
        if examiner.fault is not None:
            break
    return examiner.verdict()


def _state(reader: Reader) -> State:
    return _STATES[reader.seal.reason] if reader.seal else "unfinished"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _instant(milliseconds: int) -> str:
    try:
        moment = from_milliseconds(milliseconds)
    except OverflowError:
        return "a time beyond the calendar"
    return show_instant(moment, seconds=True)
