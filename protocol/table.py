"""Tables for terminals, as Teleport prints them, and text from peers made harmless for one.

A header row, a row of dashes as wide as each column, one space between columns, nothing around. Width is
what a terminal shows, not the number of characters: a wide character takes two cells, a combining one none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import zip_longest

LAST_COLUMN_MAX = 60
LAST_COLUMN_MIN = 20


def escape_text(text: str, keep: str = "") -> str:
    r"""Return `text` with every character that a terminal might obey written out, such as ``\x1b``.

    Args:
        text: what a peer sent.
        keep: characters that may stay all the same, such as ``"\n"``.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else repr(character)[1:-1] for character in text
    )


def display_width(text: str) -> int:
    """Return how many cells of a terminal `text` fills."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut_text(text: str, width: int) -> str:
    """Return `text`, cut to `width` cells of a terminal: what is cut off is shown as ``…``."""
    if display_width(text) <= width:
        return text
    room, kept = width - 1, []
    for character in text:
        room -= _cells(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def wrap_cell(text: str, width: int) -> list[str]:
    """Return `text` as lines of at most `width` cells, broken after `, `; a longer piece stays whole."""
    lines = [""]
    for piece in text.split(", "):
        longer = f"{lines[-1]}, {piece}" if lines[-1] else piece
        if lines[-1] and display_width(longer) >= width:
            lines[-1] += ","
            lines.append(piece)
        else:
            lines[-1] = longer
    return lines


def render_table(headers: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> str:
    """Return the table, without a final newline.

    Args:
        headers: one title for each column.
        rows: one text for each column; control characters are escaped, the last column is wrapped.
        width: how wide the terminal is, in cells; None where there is none, then the last column takes
            at most `LAST_COLUMN_MAX`.
    """
    cells = [[escape_text(cell) for cell in row] for row in rows]
    fixed = [max(map(display_width, column)) for column in zip(headers, *cells, strict=True)][:-1]
    room = LAST_COLUMN_MAX if width is None else max(LAST_COLUMN_MIN, width - sum(fixed) - len(fixed))
    wrapped = [wrap_cell(row[-1], room) for row in cells]
    last = max(display_width(line) for lines in ([headers[-1]], *wrapped) for line in lines)
    lines = [_line(headers, fixed), _line(["-" * size for size in (*fixed, last)], fixed)]
    for row, ends in zip(cells, wrapped, strict=True):
        starts = [row[:-1]]
        for start, end in zip_longest(starts, ends):
            lines.append(_line([*(start or [""] * len(fixed)), end], fixed))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - display_width(cell)) for cell, width in zip(cells, widths, strict=False)]
    return " ".join([*padded, cells[-1]]).rstrip()
