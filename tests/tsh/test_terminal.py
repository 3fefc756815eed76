"""Escapes in what is typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsh.terminal import Escape, EscapeReader


def read(*typed: bytes) -> list[bytes | Escape]:
    reader = EscapeReader()
    found: list[bytes | Escape] = []
    for piece in typed:
        for item in reader.read(piece):
            if found and isinstance(item, bytes) and isinstance(found[-1], bytes):
                found[-1] += item
            else:
                found.append(item)
    return found


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (b"~.", [Escape.DISCONNECT]),
        (b"ls\r~.", [b"ls\r", Escape.DISCONNECT]),
        (b"a~.", [b"a~."]),
        (b"~~.", [b"~."]),
        (b"\r~~\r", [b"\r~\r"]),
        (b"~?~.", [Escape.HELP, Escape.DISCONNECT]),
        (b"~x", [b"~x"]),
        (b"~\r~.", [b"~\r", Escape.DISCONNECT]),
        (b"~/bin\n", [b"~/bin\n"]),
        (b"", []),
    ],
)
def test_escapes_count_at_the_beginning_of_a_line(typed: bytes, found: list[bytes | Escape]) -> None:
    assert read(typed) == found
    assert read(*(bytes([byte]) for byte in typed)) == found


@given(st.binary().filter(lambda typed: b"~" not in typed), st.lists(st.integers(min_value=1, max_value=5)))
def test_anything_without_a_tilde_passes_unchanged(typed: bytes, cuts: list[int]) -> None:
    pieces = []
    rest = typed
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert b"".join(item for item in read(*pieces, rest) if isinstance(item, bytes)) == typed


@given(st.lists(st.sampled_from([b"~", b".", b"?", b"\r", b"a", b"\n"])))
def test_pieces_do_not_matter(keys: list[bytes]) -> None:
    assert read(b"".join(keys)) == read(*keys)
