"""Tables, and what a terminal must never get from a peer."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from protocol.table import cut_text, display_width, escape_text, render_table, wrap_cell


def test_table_is_teleports() -> None:
    rows = [
        ["artemis", "127.0.0.1:3022", "arch=armv7l, test=yes, type=auth-proxy"],
        ["chronos", "⟵ Tunnel", "arch=x86_64"],
    ]
    assert render_table(["Node Name", "Address", "Labels"], rows, width=47) == (
        "Node Name Address        Labels\n"
        "--------- -------------- ----------------------\n"
        "artemis   127.0.0.1:3022 arch=armv7l, test=yes,\n"
        "                         type=auth-proxy\n"
        "chronos   ⟵ Tunnel       arch=x86_64"
    )


def test_table_without_rows_is_its_head() -> None:
    assert render_table(["User", "Roles"], []) == "User Roles\n---- -----"


def test_table_of_one_column_has_no_space_behind() -> None:
    assert render_table(["User"], [["al"], ["alexandra"]]) == "User\n---------\nal\nalexandra"


def test_wide_characters_count_by_cells() -> None:
    assert render_table(["Name", "Labels"], [["港", "a=b"], ["é" + "\u0301", "c=d"]]).splitlines()[2:] == [
        "港   a=b",
        "é" + "\u0301" + "    c=d",
    ]
    assert [display_width(text) for text in ("abc", "⟵ Tunnel", "港", "e\u0301")] == [3, 8, 2, 1]


def test_control_characters_in_cells_are_written_out() -> None:
    line = render_table(["Name", "Labels"], [["\x1b[2Jx", "a=\u202eb"]]).splitlines()[2]
    assert line == "\\x1b[2Jx a=\\u202eb"


def test_piece_longer_than_the_width_stays_whole() -> None:
    assert wrap_cell("a=1, " + "b" * 40 + ", c=3", 20) == ["a=1,", "b" * 40 + ",", "c=3"]


def test_text_is_cut_by_cells_and_says_so() -> None:
    assert [cut_text("harbour", width) for width in (7, 6, 1)] == ["harbour", "harbo…", "…"]
    assert cut_text("港港港", 5) == "港港…"
    assert cut_text("港港港", 4) == "港…"


@given(st.text(), st.integers(1, 40))
def test_cut_text_never_takes_more_cells_than_it_may(text: str, width: int) -> None:
    cut = cut_text(text, width)
    assert display_width(cut) <= width
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))


@given(st.text())
def test_escaped_text_holds_nothing_a_terminal_obeys(text: str) -> None:
    escaped = escape_text(text)
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in escaped)
    assert text == escaped or not text.isprintable()


def test_escaped_text_keeps_what_it_is_told_to() -> None:
    assert escape_text("a\nb\tc\x7f", keep="\n") == "a\nb\\tc\\x7f"


@given(st.lists(st.from_regex(r"[a-z]{1,12}=[a-z]{1,12}", fullmatch=True)), st.integers(min_value=1, max_value=80))
def test_wrapping_loses_nothing(pieces: list[str], width: int) -> None:
    text = ", ".join(pieces)
    assert " ".join(wrap_cell(text, width)) == text


@given(
    st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10), st.text(max_size=100)), max_size=5),
    st.none() | st.integers(min_value=0, max_value=200),
)
def test_any_rows_make_a_table(rows: list[tuple[str, str, str]], width: int | None) -> None:
    lines = render_table(["A", "B", "C"], rows, width).split("\n")
    assert len(lines) >= 2 + len(rows)
    assert lines[1].count("-") >= 3
