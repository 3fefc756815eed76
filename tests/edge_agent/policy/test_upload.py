from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.upload import (
    MIN_FREE_MAX,
    PIECE_FIRST,
    PIECE_MIN,
    SPOOL_MAX_MIN,
    Pace,
    RecordingSettings,
    Window,
    decide_piece,
    first_piece,
    parse_min_free,
    parse_order,
    parse_rate,
    parse_spool_max,
    parse_window,
    smaller_piece,
)
from protocol import limits

NIGHT = Window(22 * 60, 6 * 60)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-22T{text}")


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [("22:00-06:00", 1320, 360), ("1:05-1:06", 65, 66), ("00:00-24:00", 0, 1440), (" 12:00 - 13:00 ", 720, 780)],
)
def test_a_window_is_read(text: str, begin: int, end: int) -> None:
    assert parse_window(text) == Window(begin, end)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "-",
            "22:00",
            "22-06",
            "22:00-",
            "-06:00",
            "22:60-06:00",
            "24:01-06:00",
            "24:00-06:00",
            "22:00-06:00-07:00",
        ),
        *("\u0662\u0662:00-06:00", "a:00-b:00", 22, None, ["22:00", "06:00"], "22:0-6:00"),
    ],
)
def test_what_is_no_window_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="two times of day"):
        parse_window(text)


def test_a_window_that_ends_where_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="same time"):
        parse_window("06:00-06:00")


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        *(("22:00:00", True), ("23:59:59", True), ("00:00:00", True), ("05:59:59", True)),
        *(("06:00:00", False), ("21:59:59", False), ("12:00:00", False)),
    ],
)
def test_a_window_may_cross_midnight(time: str, is_open: bool) -> None:
    assert NIGHT.is_open(at(time)) is is_open


@pytest.mark.parametrize(
    ("window", "time", "seconds"),
    [
        (NIGHT, "21:59:58.5", 1.5),
        (NIGHT, "06:00", 16 * 3600),
        (NIGHT, "23:00", 0),
        (Window(60, 120), "02:00", 23 * 3600),
        (Window(60, 120), "00:59:59", 1),
    ],
)
def test_it_is_known_when_a_window_opens(window: Window, time: str, seconds: float) -> None:
    assert window.until_open(at(time)) == seconds


@given(st.integers(0, 1439), st.integers(1, 1440), st.datetimes())
def test_a_window_opens_after_the_wait_and_not_before(begin: int, end: int, local: datetime) -> None:
    if begin == end:
        return
    window = Window(begin, end)
    wait = window.until_open(local)
    minute = local.hour * 60 + local.minute + (local.second + wait) / 60 + local.microsecond / 6e7
    assert window.is_open(local) if not wait else round(minute, 6) % 1440 == begin
    assert parse_window(str(window)) == window


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        *(
            ("32kbit/s", 4000),
            ("1Mbit/s", 125_000),
            ("200KB/s", 200_000),
            ("200kB/s", 200_000),
            ("1.5 MiB/s", 1_572_864),
        ),
        *(("4000bit/s", 500), ("500B/s", 500), ("1Gbit/s", 125_000_000), (" 2KiB/s ", 2048)),
    ],
)
def test_a_rate_is_read(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "32", 32, None, "32kbit", "kbit/s", "-1kbit/s", "32kbps", "1e3B/s", "32 k bit/s", "\u0663kbit/s", True]
)
def test_what_is_no_rate_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="rate with its unit"):
        parse_rate(text)


@pytest.mark.parametrize(("text", "problem"), [("0B/s", "too slow"), ("3kbit/s", "too slow"), ("999GiB/s", "too fast")])
def test_a_rate_that_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_rate(text)


@given(st.text() | st.from_regex(r"\d{1,14}(\.\d{1,4})?[a-zA-Z]{0,4}/s"))
def test_any_text_is_a_rate_or_refused(text: str) -> None:
    try:
        rate = parse_rate(text)
    except ValueError:
        return
    assert rate >= 500


def test_an_order_is_one_of_two() -> None:
    assert [parse_order("newest"), parse_order("oldest")] == ["newest", "oldest"]
    for other in ("", "Newest", None, 1, ["newest"]):
        with pytest.raises(ValueError, match="newest or oldest"):
            parse_order(other)


def test_what_nobody_said_anything_about() -> None:
    assert RecordingSettings() == RecordingSettings(512 * 2**20, 64 * 2**20, None, None, "newest")


@given(
    st.floats(500, 1e9),
    st.floats(0, 10),
    st.lists(st.tuples(st.integers(0, 100_000), st.floats(0, 100)), max_size=40),
)
def test_no_more_is_sent_than_the_rate_allows(rate: float, burst: float, sends: list[tuple[int, float]]) -> None:
    pace, now, sent = Pace(rate, burst, 0.0), 0.0, 0
    for size, pause in sends:
        now += pause
        pace, wait = pace.take(size, now)
        now += wait
        sent += size
        assert wait >= 0
        assert sent <= rate * (now + burst) * (1 + 1e-9) + 1e-3


@given(st.floats(500, 1e6), st.lists(st.integers(1, 5000), min_size=1, max_size=40))
def test_the_rate_is_used_up_where_there_is_enough_to_send(rate: float, sizes: list[int]) -> None:
    pace, now = Pace(rate, 0.25, 0.0), 0.0
    for size in sizes:
        pace, wait = pace.take(size, now)
        now += wait
    assert now <= sum(sizes) / rate + 1e-6


def test_after_a_pause_a_burst_is_free() -> None:
    _, wait = Pace(1000, 0.25, 0.0).take(250, 10.0)
    assert wait == 0
    _, wait = Pace(1000, 0.25, 0.0).take(1250, 10.0)
    assert wait == 1


def test_the_first_request_on_a_slow_link_is_a_small_one() -> None:
    assert [first_piece(rate) for rate in (None, 500, 4000, 10**9)] == [PIECE_FIRST, PIECE_MIN, 4000, PIECE_FIRST]


def test_requests_grow_to_what_the_link_takes_in_one_turn() -> None:
    piece = PIECE_FIRST
    for _ in range(10):
        piece = decide_piece(piece, piece, piece / 50_000, is_live=True)
    assert piece == 50_000
    assert decide_piece(piece, piece, piece / 50_000, is_live=False) == 200_000


def test_requests_never_grow_beyond_what_the_controller_takes() -> None:
    piece = PIECE_FIRST
    for _ in range(10):
        piece = decide_piece(piece, piece, 0.0, is_live=False)
    assert piece == limits.RECORDING_PIECE_MAX


def test_a_request_that_had_little_to_carry_says_nothing_about_the_link() -> None:
    assert decide_piece(100_000, 300, 0.4, is_live=True) == 100_000
    assert decide_piece(100_000, 30_000, 10.0, is_live=True) == 3000


def test_requests_shrink_where_one_did_not_come_through() -> None:
    assert smaller_piece(500_000) == PIECE_FIRST // 2
    assert smaller_piece(4096) == 2048
    assert smaller_piece(1) == PIECE_MIN


def test_how_much_is_kept_and_how_much_stays_free_has_bounds() -> None:
    assert parse_spool_max("8MiB") == SPOOL_MAX_MIN
    assert parse_min_free("64MiB") == 64 * 2**20
    with pytest.raises(ValueError, match="at least 8 MiB"):
        parse_spool_max("7MiB")
    with pytest.raises(ValueError, match="no disk would have as much left"):
        parse_min_free(MIN_FREE_MAX + 1)


@pytest.mark.parametrize("nothing", [0, "0"])
def test_a_rate_at_which_nothing_would_be_sent_is_refused(nothing: object) -> None:
    with pytest.raises(ValueError, match="nothing would ever be sent"):
        parse_rate(nothing)
