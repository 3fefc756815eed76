"""Tables, and what a terminal must never get from a peer."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.table import (
    COLUMN_MIN,
    cut_text,
    display_width,
    escape_text,
    render_facts,
    render_row,
    render_table,
    wrap_cell,
    wrap_words,
)


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


def test_a_word_longer_than_the_width_goes_on_below() -> None:
    assert wrap_cell("a=1, " + "b" * 40 + ", c=3", 20) == ["a=1,", "b" * 20, "b" * 20, ",", "c=3"]
    assert wrap_cell("港港港", 5) == ["港港", "港"]
    assert wrap_cell("", 8) == [""]


@pytest.mark.parametrize("title", ["Node Name", "User", "Name", "Token", "ID"])
def test_what_people_copy_stays_on_one_line_however_narrow_the_terminal_is(title: str) -> None:
    name = "pump-station-north-0017-gateway-primary"
    shown = render_table([title, "Address", "Labels"], [[name, "⟵ Tunnel", "site=north, duty=pump"]], width=50)
    assert name in shown


def test_a_path_longer_than_its_column_is_there_in_full() -> None:
    path = "/srv/" + "a-directory-with-a-long-name/" * 8 + "data"
    shown = render_table(["Check", "State", "Found"], [["data", "fail", path]], width=60).splitlines()
    assert all(display_width(line) <= 60 for line in shown)
    found = shown[0].index("Found")
    assert "".join(line[found:] for line in shown[2:]) == path


NODES = (
    ["Node Name", "Node ID", "Status", "Address", "Labels"],
    [
        ["edge-1", "d149ce2a-0db0-4e01-a992-80227df42d0a", "online", "⟵ Tunnel", "site=harbour"],
        ["edge-2", "2742aa4b-8b08-4748-b09b-dbc29390ee3c", "offline since 22 Nov 26 17:42 UTC", "⟵ Tunnel", "a=b, c=d"],
    ],
)


def test_on_a_narrow_terminal_the_widest_columns_give_way_and_what_is_copied_stays_whole() -> None:
    assert render_table(*NODES, width=79) == (
        "Node Name Node ID                              Status     Address  Labels\n"
        "--------- ------------------------------------ ---------- -------- ------------\n"
        "edge-1    d149ce2a-0db0-4e01-a992-80227df42d0a online     ⟵ Tunnel site=harbour\n"
        "edge-2    2742aa4b-8b08-4748-b09b-dbc29390ee3c offline    ⟵ Tunnel a=b, c=d\n"
        "                                               since 22\n"
        "                                               Nov 26\n"
        "                                               17:42 UTC"
    )
    narrower = render_table(*NODES, width=76).splitlines()
    assert narrower[2:4] == [
        "edge-1    d149ce2a-0db0-4e01-a992-80227df42d0a online   ⟵ Tunnel site=harbou",
        " " * 65 + "r",
    ]
    assert "2742aa4b-8b08-4748-b09b-dbc29390ee3c" in render_table(*NODES, width=20)


def test_without_a_terminal_each_row_is_one_line_and_whole() -> None:
    rows = [["a", "far " * 100 + "end"], ["b" * 300, ""]]
    assert [line.split(None, 1) for line in render_table(["Name", "Found"], rows).splitlines()[2:]] == [
        rows[0],
        ["b" * 300],
    ]


@given(
    st.lists(st.tuples(*[st.text(max_size=60)] * 4), max_size=5),
    st.integers(min_value=4 * COLUMN_MIN + 3, max_value=200),
)
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, ...]], width: int) -> None:
    for line in render_table(["A", "B", "C", "D"], rows, width).split("\n"):
        assert display_width(line) <= width


def test_a_row_that_is_printed_as_it_is_read_is_cut_for_a_terminal_alone() -> None:
    cells = ["1", "a long event", "its detail"]
    assert render_row(cells, (3, 6), None) == "1   a long event its detail"
    assert render_row(cells, (3, 6), 18) == "1   a lon… its de…"


FACTS = [("Cluster", "harbour"), ("Nodes", "a, b, c: all \x1b of them"), ("", "SHA256:" + "x" * 40)]


def test_facts_stand_in_a_column_within_the_terminal_and_no_word_of_them_is_cut() -> None:
    assert render_facts(FACTS) == ("Cluster  harbour\nNodes    a, b, c: all \\x1b of them\n         SHA256:" + "x" * 40)
    assert render_facts(FACTS, 32, mark=" :").splitlines() == [
        "Cluster : harbour",
        "Nodes   : a, b, c: all \\x1b of",
        "          them",
        "        : SHA256:" + "x" * 40,
    ]


def test_words_are_wrapped_and_never_cut() -> None:
    assert wrap_words("sealed by SHA256:abcdef now", 10) == ["sealed by", "SHA256:abcdef", "now"]


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


@given(st.lists(st.from_regex(r"[a-z]{1,12}=[a-z]{1,12}", fullmatch=True)), st.integers(min_value=26, max_value=80))
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
