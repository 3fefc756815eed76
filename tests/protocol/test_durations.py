from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.durations import BadDurationError, brief_duration, describe_duration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("1h0m0s", 3600),
        ("7d", 604800),
        ("90", 5400),
        ("1s", 1),
        ("1h30m", 5400),
        ("999999999d", 999999999 * 86400),
    ],
)
def test_a_span_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "-1h", "h", "1x", "1h ", " 1h", "1.5h", "\u0661h", "1000000000d", "999999999d1s", "9" * 5000],
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(BadDurationError, match="not a span of time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("5 days", "(write 30m, 12h, 1h30m or 7d)"),
        ("bogus", "(write 30m, 12h, 1h30m or 7d)"),
        ("", "(write 30m, 12h, 1h30m or 7d)"),
        ("0d", "(it has to be more than nothing)"),
        ("0", "(it has to be more than nothing)"),
    ],
)
def test_who_is_refused_is_told_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(BadDurationError) as caught:
        parse_duration(text)
    assert str(caught.value).endswith(hint)


@given(st.text() | st.from_regex(r"(\d{1,12}[dhms]){1,5}"))
def test_any_text_is_a_span_or_refused(text: str) -> None:
    try:
        span = parse_duration(text)
    except BadDurationError:
        return
    assert span > timedelta(0)


@given(st.integers(1, 10**9))
def test_a_span_is_read_as_it_was_written(seconds: int) -> None:
    span = timedelta(seconds=seconds)
    assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(43200, "12h0m0s"), (1800, "30m0s"), (5, "5s"), (0, "0s"), (-5, "0s"), (0.6, "1s"), (90061, "25h1m1s")],
)
def test_a_span_is_written_as_go_does(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((1800, "30 minutes"), (3600, "1 hour"), (28800, "8 hours"), (90, "90 seconds"), (1, "1 second")),
        *((0, "0 seconds"), (86400, "1 day"), (172800, "2 days"), (-3, "0 seconds"), (60, "1 minute")),
    ],
)
def test_a_span_is_said_in_words(seconds: int, text: str) -> None:
    assert describe_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0s"), (1, "1s"), (60, "1m"), (302, "5m 2s"), (3600, "1h"), (3601, "1h"), (86400, "1d")),
        *((273600, "3d 4h"), (2**70, "1000000000d")),
    ],
)
def test_a_table_has_room_for_the_two_largest_units(seconds: int, text: str) -> None:
    assert brief_duration(seconds) == text
