"""Tables for terminals, as Teleport prints them, and text from peers made harmless for one.

A header row, a row of dashes as wide as each column, one space between columns, nothing around. Width is
what a terminal shows, not the number of characters: a wide character takes two cells, a combining one none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import zip_longest

# No column is made narrower than this for want of room, nor than its title.
COLUMN_MIN = 8
_FACT_MIN = 20
# What people copy to name a node, a user or a token to another command.
_COPIED = ("ID", "Node ID", "Node Name", "Name", "User", "Token")


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
    for character in text:  # pragma: no branch - not all of it fits
        room -= _cells(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def wrap_cell(text: str, width: int) -> list[str]:
    """Return `text` as lines of at most `width` cells, broken at spaces, and a longer word where each line is full.

    Nothing is lost, and nothing is added. `width` is 2 at least: a character may take so much.
    """
    return [piece for line in wrap_words(text, width) for piece in _break(line, width)]


def _break(word: str, width: int) -> list[str]:
    """Return `word` in pieces of at most `width` cells."""
    pieces, room = [""], width
    for character in word:
        cells = _cells(character)
        if cells > room:
            pieces.append("")
            room = width
        pieces[-1] += character
        room -= cells
    return pieces


def wrap_words(text: str, width: int) -> list[str]:
    """Return `text` as lines of at most `width` cells, broken at spaces alone: a longer word has a line of its own."""
    first, *rest = text.split(" ")
    lines = [first]
    for word in rest:
        longer = f"{lines[-1]} {word}"
        if display_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def render_table(headers: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> str:
    """Return the table, without a final newline.

    On a terminal that is too narrow the widest columns give way: their cells are broken at spaces, and where that is
    not enough within words; nothing is cut off. What is read by its column as an id or a name (``Node ID``,
    ``Node Name``, ``User``) is there to be copied, and stays on one line.

    Args:
        headers: one title for each column.
        rows: one text for each column; control characters are escaped.
        width: how wide the terminal is, in cells; None where there is none: then each row is one line, and whole.
    """
    cells = [[escape_text(cell) for cell in row] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [max(map(display_width, column)) for column in columns]
    if width is not None:
        widths = _fit(columns, widths, width - len(headers) + 1)
    lines = [_line(headers, widths), _line(["-" * size for size in widths], widths)]
    for row in cells:
        wrapped = [wrap_cell(cell, size) for cell, size in zip(row, widths, strict=True)]
        lines += [_line(line, widths) for line in zip_longest(*wrapped, fillvalue="")]
    return "\n".join(lines)


def _fit(columns: Sequence[Sequence[str]], widths: Sequence[int], room: int) -> list[int]:
    """Return how wide each column is to be, so that all of them take no more than `room` cells, where that can be."""
    least, words = [], []
    for (title, *cells), width in zip(columns, widths, strict=True):
        narrow = width if title in _COPIED else min(width, max(display_width(title), COLUMN_MIN))
        least.append(narrow)
        words.append(max(narrow, *(min(width, _longest_word(cell)) for cell in cells), 0))
    fitting = [max(floor, min(width, room)) for floor, width in zip(least, widths, strict=True)]
    return _narrow(_narrow(fitting, words, room), least, room)


def _longest_word(text: str) -> int:
    return max(map(display_width, text.split(" ")))


def _narrow(widths: Sequence[int], floors: Sequence[int], room: int) -> list[int]:
    """Return the widths, where the widest have given way until all take `room` cells, or none can any more."""
    narrowed = list(widths)
    while sum(narrowed) > room:
        free = [index for index, floor in enumerate(floors) if narrowed[index] > floor]
        if not free:
            break
        narrowed[max(free, key=lambda index: (narrowed[index], index))] -= 1
    return narrowed


def render_row(cells: Sequence[str], widths: Sequence[int], width: int | None) -> str:
    """Return one line of a table that is printed as it is read, before all its rows are known.

    Args:
        cells: one text for each column, escaped already. The last column is as wide as it comes.
        widths: of all columns but the last.
        width: how wide the terminal is, in cells: what does not fit is cut. None where there is none: all is there.
    """
    if width is None:
        return _line(cells, widths)
    cut = [cut_text(cell, size) for cell, size in zip(cells, widths, strict=False)]
    return cut_text(_line([*cut, cells[-1]], widths), width)


def render_facts(facts: Iterable[tuple[str, str]], width: int | None = None, mark: str = " ") -> str:
    """Return a line for each fact, its title in front; what is longer than the line goes on below, within its column.

    No word is cut: what is long here is there to be copied.

    Args:
        facts: title and text; control characters are escaped.
        width: how wide the terminal is, in cells; None where there is none: then each fact is one line.
        mark: what stands between title and text.
    """
    found = list(facts)
    titles = max((display_width(title) for title, _ in found), default=0)
    indent = titles + display_width(mark) + 1
    lines = []
    for title, text in found:
        escaped = escape_text(text)
        first, *rest = [escaped] if width is None else wrap_words(escaped, max(_FACT_MIN, width - indent))
        lines.append(f"{title}{' ' * (titles - display_width(title))}{mark} {first}".rstrip())
        lines += [" " * indent + line for line in rest]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - display_width(cell)) for cell, width in zip(cells, widths, strict=False)]
    return " ".join([*padded, *cells[len(padded) :]]).rstrip()
