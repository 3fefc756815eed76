"""What a session has said that is not on its way to the disk yet; while nothing can be recorded, what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.recording.cast import Code

# When it came, in milliseconds since the session's start; what it is; and its bytes.
Piece = tuple[int, "Code", bytes]
# What a piece takes in memory beside its bytes.
_PIECE_COST = 128
# What is not output or input is little, and kept while nothing can be recorded: up to so many pieces.
_KEPT_MAX = 256
_SPEECH = frozenset("oei")


class Gathering:
    """Pieces of one session, in order.

    Attributes:
        cost: the bytes of memory they take.
        dropped: the bytes of output and input that were dropped, and that nobody was told of yet.
        is_dropping: whether output and input are dropped.
    """

    def __init__(self) -> None:
        self.cost = self.dropped = 0
        self.is_dropping = False
        self._pieces: list[Piece] = []
        self._kept: list[Piece] = []

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def oldest(self) -> int | None:
        """When the first piece came, milliseconds since the session's start."""
        return self._pieces[0][0] if self._pieces else None

    def add(self, at: int, code: Code, data: bytes) -> None:
        """Take a piece."""
        if self.is_dropping:
            self._drop((at, code, bytes(data)))
        else:
            self._pieces.append((at, code, bytes(data)))
            self.cost += len(data) + _PIECE_COST

    def take(self) -> list[Piece]:
        """Hand out all there is."""
        pieces, self._pieces, self.cost = self._pieces, [], 0
        return pieces

    def drop(self) -> None:
        """Drop what there is of output and input, and what comes, until `is_dropping` is set otherwise."""
        self.is_dropping = True
        for piece in self.take():
            self._drop(piece)

    def _drop(self, piece: Piece) -> None:
        if piece[1] in _SPEECH:
            self.dropped += len(piece[2])
        elif len(self._kept) < _KEPT_MAX:
            self._kept.append(piece)

    @property
    def kept(self) -> tuple[Piece, ...]:
        """What was not dropped of what came meanwhile: new sizes, who joined and left."""
        return tuple(self._kept)

    def take_dropped(self) -> int:
        """Hand out how many bytes were dropped."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def forget_kept(self, count: int) -> None:
        """Forget the first `count` of what was kept: they are on record now."""
        del self._kept[:count]
