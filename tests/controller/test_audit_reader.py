from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.audit import AuditError, AuditLog
from controller.audit_reader import AuditPage, AuditReader, BadCursorError, Wanted
from protocol import limits
from protocol.events import SESSION_START, USER_LOGIN_FAILED, USER_LOGOUT, Json
from protocol.instants import format_instant
from protocol.names import ClusterName

START = datetime(2026, 11, 22, 10, 47, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> AuditLog:
    return AuditLog(tmp_path / "log", ClusterName("harbour"), clock)


@pytest.fixture
def reader(log: AuditLog, clock: Clock) -> AuditReader:
    return AuditReader(log, clock)


def write(log: AuditLog, *users: str) -> None:
    for user in users:
        log.write(USER_LOGOUT, {"user": user})


def fill(path: Path, count: int, size: int = 100) -> None:
    """Write so many lines past the writer: for how they are read, what they say of the one before is nothing."""
    event = {"event": "user.logout", "code": "SK002I", "time": "2026-11-22T10:47:00.000Z", "pad": "x" * size}
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("ab") as file:
        for number in range(count):
            file.write(json.dumps({**event, "user": f"u{number}"}).encode() + b"\n")


def users(page: AuditPage) -> list[str]:
    return [event["user"] for event in page.events]


def all_pages(reader: AuditReader, wanted: Wanted = Wanted(), most: int = 2) -> list[dict[str, Any]]:  # noqa: B008 - frozen
    found: list[dict[str, Any]] = []
    page = reader.page(wanted, None, most)
    found += page.events
    while page.next is not None:
        page = reader.page(wanted, page.next, most)
        found += page.events
    return found


def test_the_newest_events_come_first_across_days(log: AuditLog, reader: AuditReader, clock: Clock) -> None:
    write(log, "a", "b")
    clock.now += timedelta(days=1)
    write(log, "c")
    clock.now += timedelta(days=3)
    write(log, "d", "e")
    assert all_pages(reader, most=2) == list(log.entries())[::-1]
    assert all_pages(reader, most=1) == all_pages(reader, most=100) == all_pages(reader, most=5)


def test_an_empty_log_has_one_empty_page(reader: AuditReader) -> None:
    assert reader.page(Wanted()) == AuditPage((), None, 0)
    assert list(reader.export(Wanted())) == []


def test_the_last_page_says_that_it_is_the_last(log: AuditLog, reader: AuditReader) -> None:
    write(log, "a", "b")
    assert reader.page(Wanted(), None, 2).next is None
    page = reader.page(Wanted(), None, 1)
    assert page.next is not None
    assert (users(reader.page(Wanted(), page.next, 1)), reader.page(Wanted(), page.next, 1).next) == (["a"], None)


def test_a_page_goes_on_where_the_one_before_ended_though_the_log_grows(
    log: AuditLog, reader: AuditReader, clock: Clock
) -> None:
    write(log, "a", "b", "c", "d")
    first = reader.page(Wanted(), None, 2)
    write(log, "e")
    clock.now += timedelta(days=1)
    write(log, "f")
    assert (users(first), users(reader.page(Wanted(), first.next, 10))) == (["d", "c"], ["b", "a"])


def test_lines_longer_than_a_block_and_longer_than_any_are_read_and_passed_over(
    log: AuditLog, reader: AuditReader
) -> None:
    write(log, "a")
    (path,) = log.files()
    with path.open("ab") as file:
        file.write(b'{"user": "' + b"x" * (limits.AUDIT_LINE_MAX + 300_000) + b'"}\n')
    fill(path, 30, size=30_000)
    write_last = {"event": "user.logout", "user": "last"}
    with path.open("ab") as file:
        file.write(json.dumps(write_last).encode() + b"\n")
    found = [event["user"] for event in all_pages(reader, most=7)]
    assert found == ["last", *(f"u{number}" for number in reversed(range(30))), "a"]


def test_damage_is_passed_over_and_so_is_a_line_that_is_being_written(log: AuditLog, reader: AuditReader) -> None:
    write(log, "a")
    (path,) = log.files()
    with path.open("ab") as file:
        file.write(b"not an event\n\xff\xfe\n\n[1]\n" + b"[" * 10_000 + b"\n")
    fill(path, 1)
    with path.open("ab") as file:
        file.write(b'{"event": "user.logout", "user": "half')
    assert [event["user"] for event in all_pages(reader)] == ["u0", "a"]
    assert [event["user"] for event in reader.export(Wanted())] == ["u0", "a"]


def test_a_question_looks_at_so_many_lines_and_says_where_to_go_on(log: AuditLog, reader: AuditReader) -> None:
    log.write(USER_LOGIN_FAILED, {**dict.fromkeys(USER_LOGIN_FAILED.fields, "x"), "user": "needle"})
    fill(log.files()[0], limits.AUDIT_EXAMINED_MAX + 10)
    wanted = Wanted(codes=(USER_LOGIN_FAILED.code,))
    page = reader.page(wanted)
    assert (page.events, page.examined) == ((), limits.AUDIT_EXAMINED_MAX)
    assert page.next is not None
    assert users(reader.page(wanted, page.next)) == ["needle"]


@pytest.mark.parametrize("wanted", [Wanted(user="needle"), Wanted(text='a "NEEDLE\\'), Wanted(session="needle")])
def test_lines_that_show_at_once_that_they_are_none_are_passed_over_by_the_block(
    log: AuditLog, reader: AuditReader, wanted: Wanted
) -> None:
    fields: dict[str, Json] = {"user": "needle", "sid": "needle", "login": 'a "needle\\', "addr.remote": "x"}
    log.write(SESSION_START, {**dict.fromkeys(SESSION_START.fields, "x"), **fields})
    fill(log.files()[0], limits.AUDIT_EXAMINED_MAX + 10)
    page = reader.page(wanted)
    assert users(page) == ["needle"]
    assert (page.next, page.examined) == (None, limits.AUDIT_EXAMINED_MAX + 11)


@pytest.mark.parametrize("size", [10, 300, 40_000])
def test_what_is_wanted_is_found_wherever_it_stands_among_blocks(log: AuditLog, reader: AuditReader, size: int) -> None:
    for number in range(40):
        write(log, f"u{number}", "x" * 900, "other")
        with log.files()[0].open("ab") as file:
            file.write(b" " * (size * number // 40) + b"\n")
    for number in range(40):
        assert users(reader.page(Wanted(user=f"u{number}"))) == [f"u{number}"]
    assert len(all_pages(reader, most=7)) == 120


def write_at(path: Path, times: Iterable[datetime], user: str = "x") -> None:
    """Write a line for each of these times, past the writer, as `fill` does."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    event = {"event": "user.logout", "code": "SK002I", "user": user}
    with path.open("ab") as file:
        for time in times:
            file.write(json.dumps({**event, "time": format_instant(time)}, separators=(",", ":")).encode() + b"\n")


def busy_day(begin: datetime) -> list[datetime]:
    """More times of one day than one question looks at."""
    count = limits.AUDIT_EXAMINED_MAX * 2
    return [begin + number * timedelta(hours=23) / count for number in range(count)]


@pytest.mark.parametrize("days_ago", [0, 1, 2, 5])
def test_what_happened_before_a_time_is_found_below_any_number_of_newer_lines(
    tmp_path: Path, reader: AuditReader, days_ago: int
) -> None:
    today = START.replace(hour=0, minute=0)
    for day in (today - timedelta(days=days_ago), today):
        path = tmp_path / "log" / f"audit-{day:%Y-%m-%d}.log"
        if not path.exists():
            times = busy_day(day)
            write_at(path, times[:10_000])
            write_at(path, [times[10_000]], "needle")
            write_at(path, times[10_001:])
    asked = today - timedelta(days=days_ago) + timedelta(hours=23) / 4
    page = reader.page(Wanted(since=asked - timedelta(minutes=5), until=asked + timedelta(minutes=5)), most=1000)
    assert "needle" in users(page)


def test_what_was_written_long_after_it_happened_comes_last_and_comes_once(log: AuditLog, tmp_path: Path) -> None:
    reader, today = AuditReader(log, Clock()), START.replace(hour=0, minute=0)
    past = today - timedelta(days=9)
    write_at(tmp_path / "log" / f"audit-{past:%Y-%m-%d}.log", [past + timedelta(hours=1)], "on-time")
    for day in range(5):
        begin = past + timedelta(days=4 + day)
        path = tmp_path / "log" / f"audit-{begin:%Y-%m-%d}.log"
        write_at(path, busy_day(begin)[:9_000])
        write_at(path, [past + timedelta(hours=2)], f"late{day}")
    wanted = Wanted(since=past, until=past + timedelta(days=1))
    page = reader.page(wanted, most=1)
    assert users(page) == ["on-time"]
    assert page.next is not None
    found = [event["user"] for event in all_pages(reader, wanted, most=1)]
    assert found == ["on-time", "late4", "late3", "late2", "late1", "late0"]


@pytest.mark.parametrize("wanted", [Wanted(since=datetime.min.replace(tzinfo=UTC)),
                                    Wanted(until=datetime.max.replace(tzinfo=UTC))])  # fmt: skip
def test_the_ends_of_time_are_times(log: AuditLog, reader: AuditReader, wanted: Wanted) -> None:
    write(log, "a")
    assert users(reader.page(wanted)) == ["a"]
    assert len(list(reader.export(wanted))) == 1


def test_the_newest_are_kept_and_only_what_was_added_is_read(log: AuditLog, reader: AuditReader, clock: Clock) -> None:
    write(log, "a", "b")
    wanted, day = Wanted(codes=("SK002I",)), timedelta(days=1)
    first = reader.newest(wanted, 3, day)
    assert ([event["user"] for event in first.events], first.is_cut) == (["b", "a"], False)
    assert reader.newest(wanted, 3, day) is first
    path = log.files()[0]
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"a"', b'"z"'))  # what nobody reads again does not show
    clock.now += timedelta(minutes=1)
    write(log, "c")
    assert [event["user"] for event in reader.newest(wanted, 3, day).events] == ["c", "b", "a"]
    write(log, "d")
    page = reader.newest(wanted, 3, day)
    assert ([event["user"] for event in page.events], page.is_cut) == (["d", "c", "b"], True)
    clock.now += timedelta(hours=1)
    assert [event["user"] for event in reader.newest(wanted, 4, day).events] == ["d", "c", "b", "z"]


def test_of_the_newest_those_that_are_too_old_by_now_are_left_out(
    log: AuditLog, reader: AuditReader, clock: Clock
) -> None:
    write(log, "a")
    clock.now += timedelta(minutes=5)
    write(log, "b")
    assert len(reader.newest(Wanted(), 5, timedelta(minutes=6)).events) == 2
    clock.now += timedelta(minutes=2)
    write(log, "c")
    assert [event["user"] for event in reader.newest(Wanted(), 5, timedelta(minutes=6)).events] == ["c", "b"]


def test_a_log_that_is_another_one_is_read_anew(log: AuditLog, reader: AuditReader) -> None:
    write(log, "a", "b", "c")
    reader.newest(Wanted(), 5)
    (path,) = log.files()
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert [event["user"] for event in reader.newest(Wanted(), 5).events] == ["a"]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "2026-11-22", "2026-11-22.", "2026-11-22.-1", "2026-11-22.1", "2026-11-22.99999", "../../etc/passwd.0",
     "2026-11-22.٣", "2026-11-22.1e3", "audit-2026-11-22.log.0", "2026-11-22.0\n", "2026-11-22." + "9" * 400],
)  # fmt: skip
def test_what_is_no_place_in_the_log_is_refused(log: AuditLog, reader: AuditReader, cursor: str) -> None:
    write(log, "a", "b")
    with pytest.raises(BadCursorError):
        reader.page(Wanted(), cursor)


def test_a_day_that_was_moved_away_ends_nothing(log: AuditLog, reader: AuditReader, clock: Clock) -> None:
    write(log, "a")
    clock.now += timedelta(days=1)
    write(log, "b", "c")
    page = reader.page(Wanted(), None, 1)
    log.files()[-1].unlink()
    assert users(reader.page(Wanted(), page.next, 5)) == ["a"]


def test_days_before_the_time_asked_for_are_not_opened(log: AuditLog, reader: AuditReader, clock: Clock) -> None:
    write(log, "a")
    log.files()[0].write_bytes(b"\n" * 50)
    clock.now += timedelta(days=7)
    write(log, "b", "c")
    page = reader.page(Wanted(since=clock.now - timedelta(hours=1)), None, 2)
    assert (users(page), page.next, page.examined) == (["c", "b"], None, 2)


def test_filters_find_what_they_say(log: AuditLog, reader: AuditReader) -> None:
    write(log, "alice", "bob")
    fields: dict[str, Json] = {
        "user": "alice",
        "method": "local",
        "success": False,
        "error": "wrong",
        "addr.remote": "192.0.2.1:7",
    }
    log.write(USER_LOGIN_FAILED, fields)
    assert [event["code"] for event in all_pages(reader, Wanted(user="alice"))] == ["T1000W", "SK002I"]
    assert [event["code"] for event in all_pages(reader, Wanted(codes=("T1000W",)))] == ["T1000W"]
    assert users(reader.page(Wanted(text="WRONG"))) == ["alice"]


def test_an_export_is_the_newest_so_many(log: AuditLog, reader: AuditReader) -> None:
    write(log, *"abcdef")
    assert [event["user"] for event in reader.export(Wanted(), 4)] == list("fedc")
    assert len(list(reader.export(Wanted()))) == 6


def test_the_stamp_is_another_when_something_was_written(log: AuditLog, reader: AuditReader) -> None:
    assert reader.stamp() is None
    write(log, "a")
    before = reader.stamp()
    assert reader.stamp() == before
    write(log, "b")
    assert reader.stamp() != before


def test_a_log_that_cannot_be_read_is_one_clear_error(log: AuditLog, reader: AuditReader) -> None:
    write(log, "a")
    (path,) = log.files()
    path.unlink()
    path.mkdir()
    with pytest.raises(AuditError, match="cannot read the audit log"):
        reader.page(Wanted())
