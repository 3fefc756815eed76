"""One recording as it is written: from what a session said to records on the disk. It blocks, and is for a thread.

A record that was locked has used its number, and nothing else may ever be locked under that. So one that the disk did
not take is kept, and is the next that is written; or all that still follows is a seal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from edge_agent import memory
from edge_agent.gathering import Piece
from edge_agent.policy.spool import BEGIN_NEED
from edge_agent.spool import CannotRecordError, Spool, disk_problem
from protocol import limits
from protocol.decision import Refused
from protocol.names import ClusterName, NodeId, NodeName, SessionId
from protocol.recording import cipher, frame
from protocol.recording.cast import CastHeader, Event
from protocol.recording.cipher import CipherError
from protocol.recording.framing import START, Position
from protocol.recording.header import Header
from protocol.recording.seal import Reason, Seal
from protocol.recording.transcript import Transcript
from protocol.recording.writer import Writer
from protocol.secret import Secret

# Of what streams in, no more than this is on its way to the disk at a time, nor for longer.
_UNSYNCED_MAX = 4 * 1024 * 1024
SYNC_PAUSE = 0.5
# So long after something was recorded that is under no seal yet, one is made: in time, whatever else is going on.
SEAL_PAUSE = (limits.RECORDING_SEAL - limits.RECORDING_LOSS_MAX).total_seconds()
# Of one record: more pieces than this, each at least an event's brackets, could be more than a frame may hold.
_PIECES_MAX = 8 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be recorded, for whom, and under whose name.

    Attributes:
        command: the command line; empty for a shell.
        is_interactive: whether it runs on a terminal. Without one, output that is no text is only summed up.
        size: columns and rows.
        term: the terminal's type.
        started: when it begins, by the device's clock and by the controller's, milliseconds since 1970.
        key_id: names the cluster's key.
        public_key: that key.
    """

    session: SessionId
    user: str
    login: str
    command: str
    is_interactive: bool
    size: tuple[int, int]
    term: str
    shell: str
    node: NodeId
    node_name: NodeName
    cluster: ClusterName
    started: tuple[int, int]
    key_id: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Signet:
    """What seals are made with: the signature, the public key to it, and the time by both clocks."""

    sign: Callable[[bytes], bytes]
    signer: bytes
    times: Callable[[], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Progress:
    """What is left to do.

    Attributes:
        due: seconds until something must be synced or sealed; None for nothing.
        is_synced: whether all that was written is safe.
    """

    due: float | None
    is_synced: bool


class Tape:
    """One recording. One call at a time.

    After a failure `keep` and `resume` go on with it, or `break_off` ends it. After a failed sync, only the latter can.

    Attributes:
        lost: bytes of what it was given that are on no record.
    """

    def __init__(self, spool: Spool, order: Order, file: int, writer: Writer, signet: Signet) -> None:
        self._spool = spool
        self._session = order.session
        self._file = file
        self._writer = writer
        self._signet = signet
        self._transcript = Transcript(sums_up_binary=not order.is_interactive)
        self._last = self._sealed_at = 0
        self._is_named = self._is_over = self._has_ended = self._is_spoilt = self._is_closed = False
        self.lost = 0
        # The next record, where the disk did not take it, and how many bytes of what was said are in it.
        self._pending, self._pending_said = b"", 0
        # What is in the file, and what of it is safe: nothing, before the first sync.
        self._written = writer.position
        self._synced: Position | None = None
        self._unsynced = writer.position.offset
        self._synced_at = self._unsealed_from = time.monotonic()

    @classmethod
    def begin(cls, spool: Spool, order: Order, signet: Signet) -> Tape:
        """Begin a recording: its header and what is known of the session are written. Raises `CannotRecordError`."""
        key = Secret(os.urandom(cipher.KEY_SIZE))
        writer = Writer(signet.sign)
        try:
            head = writer.begin(_header(order, signet, key), key) + writer.data(_first_lines(order), 0)
            file = spool.create(order.session)
        except CipherError as err:
            raise CannotRecordError(Refused(f"the cluster's recording key is of no use: {err}", "D6")) from None
        except OSError as err:
            raise CannotRecordError(disk_problem(err)) from None
        try:
            _write_whole(file, head, 0)
        except OSError as err:
            os.close(file)
            with suppress(OSError):
                spool.remove(order.session)
            spool.ended(order.session)
            raise CannotRecordError(disk_problem(err)) from None
        spool.grew(len(head))
        return cls(spool, order, file, writer, signet)

    def write(self, pieces: Sequence[Piece], at: int) -> Progress:
        """Write what was gathered up to the moment `at`, in ms since the start. Raises `CannotRecordError`."""
        with _disk():
            self._take(pieces)
            now = time.monotonic()
            if self._unsealed_from and now - self._unsealed_from >= SEAL_PAUSE:
                self._seal("running", at)
            if self._unsynced > 0 and (now - self._synced_at >= SYNC_PAUSE or self._unsynced >= _UNSYNCED_MAX):
                self._sync()
            return Progress(self._due(), self._unsynced == 0)

    def keep(self, at: int) -> None:
        """Have what was written sealed and safe while nothing more can be recorded. Raises `CannotRecordError`."""
        with _disk():
            with suppress(OSError):
                self._write_pending()
            if self._unsealed_from and not self._pending:
                self._seal("running", at)
            if self._unsynced:
                self._sync()

    def resume(self, pieces: Sequence[Piece], dropped: int, at: int) -> None:
        """Go on after a failure; a marker says how much is missing.

        Args:
            pieces: what came meanwhile and was not dropped.
            dropped: bytes that were. Where it fails, they count as `lost`.
            at: the present, milliseconds since the start.

        Raises:
            CannotRecordError: it does not go on yet.
        """
        self.lost += dropped
        with _disk():
            self._check_room(BEGIN_NEED)
            self._mark_gap(pieces, at)

    def finish(self, pieces: Sequence[Piece], outcome: str, at: int, *, dropped: int | None = None) -> None:
        """Write the rest, how the program ended and the last seal, and close. Raises `CannotRecordError`.

        Args:
            pieces: what was gathered last.
            outcome: the exit status, or ``SIG`` and a name; empty where the program runs on.
            at: the end, milliseconds since the start.
            dropped: bytes that were dropped, where nothing could be recorded at the end.
        """
        with _disk():
            if dropped is None:
                self._take(pieces)
            else:
                self.lost += dropped
                self._mark_gap(pieces, at)
            end = Event(at, "x", outcome).line() if outcome else b""
            self._add(self._transcript.lines([], last=True) + end, max(at, self._last))
            self._is_over, self._last = True, at
            self._seal("final", at)
            self._close()

    def break_off(self) -> None:
        """Seal what was written, as stopped, and close. May be tried again. Raises `CannotRecordError`."""
        if self._is_closed:
            return
        with _disk():
            self._cut()
            if self._written.number == 0:
                self._spool.remove(self._session)
                self._let_go()
                return
            if not self._has_ended:
                self._seal("final" if self._is_over else "stopped", max(self._last, self._sealed_at))
            self._close()

    # --- records ------------------------------------------------------------------------------------------------------

    def _lines(self, pieces: Sequence[Piece]) -> bytes:
        found, run = [], []
        for piece in pieces:
            if piece[1] in "oei":
                run.append(piece)
            else:
                found.append(self._transcript.lines(run))
                found.append(Event(piece[0], piece[1], piece[2].decode()).line())
                run = []
        found.append(self._transcript.lines(run))
        return b"".join(found)

    def _take(self, pieces: Sequence[Piece]) -> None:
        parts = [(part, sum(len(piece[2]) for piece in part)) for part in _parts(pieces)]
        self.lost += sum(said for _, said in parts)
        for part, said in parts:
            self._add(self._lines(part), part[0][0], said)
            self._last = part[-1][0]

    def _mark_gap(self, pieces: Sequence[Piece], at: int) -> None:
        """Record what came meanwhile, and how much of what was said is missing."""
        self._write_pending()
        lines = self._transcript.lines([], last=True) + self._lines(pieces)
        if self.lost:
            lines += Event(at, "m", f"{self.lost} bytes not recorded").line()
        self._add(lines, at, self.lost)
        self._last = at

    def _add(self, lines: bytes, begin: int, said: int = 0) -> None:
        """Add a data record, with `said` bytes of what was said."""
        if lines:
            self._write_pending()
            self._check_room(len(lines))  # before it is locked: for want of room, no number is used
            self._append(self._writer.data(lines, begin), said)
            self._unsealed_from = self._unsealed_from or time.monotonic()
        else:  # part of a character, which is held back
            self.lost -= said

    def _seal(self, reason: Reason, at: int) -> None:
        device, corrected = self._signet.times()
        self._write_pending()
        self._append(self._writer.seal(Seal(reason, device, corrected, at)))
        self._sealed_at, self._unsealed_from = at, 0.0
        self._has_ended = reason != "running"

    def _append(self, record: bytes, said: int = 0) -> None:
        self._pending, self._pending_said = record, said
        self._write_pending()

    def _write_pending(self) -> None:
        if self._is_spoilt:
            raise CannotRecordError(Refused("the device's disk lost what it had taken", "D9"))
        if self._pending:
            _write_whole(self._file, self._pending, self._written.offset)
            self._unsynced += len(self._pending)
            self._spool.grew(len(self._pending))
            self.lost -= self._pending_said
            self._pending, self._pending_said = b"", 0
            self._written = self._writer.position

    def _cut(self) -> None:
        """Leave only what is good: whole records; after a failed sync, those that an earlier one had made safe.

        The kernel tells of a failed write once, and may call the next sync a success without what was lost.
        """
        good = (self._synced or START) if self._is_spoilt else self._written
        if self._is_spoilt:
            self._is_over = self._has_ended = False
        if good != self._writer.position:
            os.ftruncate(self._file, good.offset)
            self._writer = Writer(self._signet.sign, good)
            self._written, self._pending = good, b""
        self._is_spoilt = False

    def _check_room(self, need: int) -> None:
        room = self._spool.room(need, self._written.offset)
        if isinstance(room, Refused):
            raise CannotRecordError(room)

    # --- the disk -----------------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        try:
            os.fdatasync(self._file)
        except OSError as err:
            self._is_spoilt = True
            raise CannotRecordError(Refused(disk_problem(err).reason, "D9")) from None
        if not self._is_named:
            self._spool.sync_directory()
            self._is_named = True
        self._synced = self._written
        self._unsynced, self._synced_at = 0, time.monotonic()
        self._spool.synced(self._session, self._written.offset)

    def _due(self) -> float | None:
        now = time.monotonic()
        found = []
        if self._unsynced:
            found.append(self._synced_at + SYNC_PAUSE - now)
        if self._unsealed_from:
            found.append(self._unsealed_from + SEAL_PAUSE - now)
        return max(min(found), 0.0) if found else None

    def _close(self) -> None:
        self._sync()
        self._let_go()

    def _let_go(self) -> None:
        with suppress(OSError):  # it is on the disk, and closed whatever the answer
            os.close(self._file)
        self._file, self._is_closed = -1, True
        self._spool.ended(self._session)


@contextmanager
def _disk() -> Iterator[None]:
    """Make what the disk says a `CannotRecordError`."""
    try:
        yield
    except OSError as err:
        raise CannotRecordError(disk_problem(err)) from None


def _header(order: Order, signet: Signet, key: Secret[bytes]) -> Header:
    return Header(
        session=order.session,
        node=order.node,
        node_name=order.node_name,
        cluster=order.cluster,
        started=order.started[0],
        corrected=order.started[1],
        signer=signet.signer,
        dictionary=frame.NEWEST,
        cipher="AES-256-GCM",
        key=cipher.wrap(key, order.key_id, order.public_key, order.session, order.node),
    )


def _first_lines(order: Order) -> bytes:
    head = CastHeader(
        *order.size,
        order.started[1] // 1000,
        order.command,
        {"TERM": order.term, "SHELL": order.shell},
        {
            "session": order.session,
            "kind": "ssh",
            "user": order.user,
            "login": order.login,
            "node": order.node,
            "node_name": order.node_name,
            "cluster": order.cluster,
            "interactive": order.is_interactive,
        },
    )
    return head.line() + Event(0, "j", order.user).line()


def _parts(pieces: Sequence[Piece]) -> Iterator[Sequence[Piece]]:
    """Cut what was gathered into what fits one record each."""
    first = size = 0
    for index, piece in enumerate(pieces):
        size += len(piece[2])
        if size >= limits.RECORDING_GATHER_MAX or index - first + 1 >= _PIECES_MAX:
            yield pieces[first : index + 1]
            first, size = index + 1, 0
    if first < len(pieces):
        yield pieces[first:]


def _write_whole(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def tidy() -> None:
    """Give back the memory that recording took, where nothing is recorded for the moment."""
    frame.forget()
    memory.give_back()
