from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.paging import cursor_of, place_of, turn

ITEMS = st.lists(st.text(min_size=1, max_size=50), unique=True, max_size=40)


@given(ITEMS, st.integers(1, 7))
def test_all_pages_together_are_all_items_in_their_order(items: list[str], limit: int) -> None:
    found: list[str] = []
    after = None
    while True:
        page = turn(items, str, after, limit)
        found += page.items
        if page.next is None:
            break
        assert len(page.items) == limit
        after = place_of(page.next)
    assert found == sorted(items)


@given(st.text(min_size=1))
def test_a_cursor_leads_back_to_its_place_and_needs_no_escapes(place: str) -> None:
    cursor = cursor_of(place)
    assert cursor.isascii()
    assert cursor.isalnum()
    if len(cursor) <= 512:
        assert place_of(cursor) == place


@pytest.mark.parametrize("text", ["", "6", "AA", "6g", "61 ", " 61", "61\n", "61" * 257, "६१"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        place_of(text)


def test_a_cursor_of_bytes_that_are_no_text_is_a_place_all_the_same() -> None:
    assert turn(["a", "b"], str, place_of("ff"), 5).items == ()
    assert turn(["a", "b"], str, place_of("60ff"), 5).items == ("a", "b")
