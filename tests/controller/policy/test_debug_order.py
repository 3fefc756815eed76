from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.debug_order import Describe, Order, OrderError, SetLevel, encode_order, parse_order


@pytest.mark.parametrize("order", [Describe(), SetLevel("DEBUG"), SetLevel("ERROR")])
def test_an_order_comes_through_as_one_line(order: Order) -> None:
    line = encode_order(order)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse_order(line) == order


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "one line of JSON"),
        (b"\xff\n", "one line of JSON"),
        (b"[" * 5000, "one line of JSON"),
        (b"[]\n", "should be describe, or set_level"),
        (b'{"order": "stop"}\n', "should be describe, or set_level"),
        (b'{"order": "set_level", "level": 7}\n', "should be describe, or set_level"),
        (b'{"order": "set_level", "level": "loud"}\n', "the level should be one of DEBUG"),
    ],
)
def test_what_is_no_order_is_refused_in_one_line(line: bytes, why: str) -> None:
    with pytest.raises(OrderError, match=why) as caught:
        parse_order(line)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_nothing_but_an_order_error_is_raised(line: bytes) -> None:
    with suppress(OrderError):
        assert isinstance(parse_order(line), Describe | SetLevel)
