from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.instants import (
    format_instant,
    from_milliseconds,
    parse_day,
    parse_instant,
    show_instant,
    show_short_instant,
    to_milliseconds,
)

NOW = datetime(2026, 11, 22, 10, 0, 0, 123999, tzinfo=UTC)


def test_an_instant_is_written_in_utc_cut_to_milliseconds() -> None:
    assert format_instant(NOW) == "2026-11-22T10:00:00.123Z"
    assert format_instant(NOW.astimezone(timezone(timedelta(hours=-5)))) == "2026-11-22T10:00:00.123Z"


def test_people_read_an_instant_in_utc_to_the_minute_or_to_the_second() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert (show_instant(there), show_instant(there, seconds=True)) == (
        "22 Nov 2026 10:00 UTC",
        "22 Nov 2026 10:00:00 UTC",
    )


def test_a_clock_that_is_wrong_by_decades_is_seen_to_be() -> None:
    assert show_instant(from_milliseconds(0), seconds=True) == "01 Jan 1970 00:00:00 UTC"
    assert show_instant(datetime(2106, 2, 7, 6, 28, tzinfo=UTC)) == "07 Feb 2106 06:28 UTC"


def test_tokens_expire_in_teleport_s_own_form() -> None:
    assert show_short_instant(NOW) == "22 Nov 26 10:00 UTC"


@pytest.mark.parametrize("text", ["2026-11-22T10:00:00.123Z", "2026-11-22T15:30:00.123+05:30"])
def test_an_instant_is_read_in_any_zone(text: str) -> None:
    assert parse_instant(text) == NOW.replace(microsecond=123000)
    assert parse_instant(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-11-22", "2026-11-22T10:00:00", "2026-13-22T10:00:00Z", "2026-11-22T10:00:00Z\n"),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-22T10:00:0\u0660Z", None, 1, b"x"),
    ],
)
def test_what_is_no_instant_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not an RFC 3339 instant"):
        parse_instant(text)


@given(
    st.text() | st.binary() | st.none() | st.integers() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
)
def test_anything_is_an_instant_or_refused(value: Any) -> None:  # noqa: ANN401 - whatever a peer sent
    try:
        instant = parse_instant(value)
    except ValueError:
        return
    assert parse_instant(format_instant(instant)) == instant.replace(microsecond=instant.microsecond // 1000 * 1000)


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_texts_sort_as_their_instants_do(one: datetime, other: datetime) -> None:
    if format_instant(one) < format_instant(other):
        assert one < other


def test_milliseconds_since_1970_are_an_instant_and_back() -> None:
    assert from_milliseconds(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert from_milliseconds(1_795_348_800_123) == datetime(2026, 11, 22, 12, 0, 0, 123000, tzinfo=UTC)
    assert to_milliseconds(NOW) == 1_795_341_600_123
    assert to_milliseconds(NOW.astimezone(timezone(timedelta(hours=-5)))) == 1_795_341_600_123


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_no_millisecond_is_lost_on_the_way(milliseconds: int) -> None:
    assert to_milliseconds(from_milliseconds(milliseconds)) == milliseconds


@pytest.mark.parametrize("milliseconds", [2**63 - 1, 253_402_300_800_000, -62_135_596_800_001, -(10**30)])
def test_what_lies_beyond_the_calendar_is_said_to(milliseconds: int) -> None:
    with pytest.raises(OverflowError):
        from_milliseconds(milliseconds)


def test_a_day_begins_at_midnight_utc() -> None:
    assert parse_day("2026-11-22") == datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "today", "2026-02-30", "2026-11-22T10:00", "22.11.2026", "0000-01-01"])
def test_what_is_no_day_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a date"):
        parse_day(text)
