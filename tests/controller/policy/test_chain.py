from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy import chain
from controller.policy.chain import GENESIS, Broken, Intact, Line
from protocol import events, limits
from protocol.events import AUDIT_RECOVERED, CLUSTER_CREATE, USER_LOGOUT, Json
from protocol.names import ClusterName

NOW = datetime(2026, 11, 22, 10, 47, 0, 123999, tzinfo=UTC)
CLUSTER = ClusterName("test-cluster")
AnyJson = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def event(user: Json = "alice") -> dict[str, Json]:
    return chain.compose(USER_LOGOUT, {"user": user}, cluster=CLUSTER, time=NOW, uid="u-1")


def log(count: int) -> list[bytes]:
    lines: list[bytes] = []
    previous = GENESIS
    for number in range(count):
        lines.append(chain.encode(event(f"user-{number}"), previous)[1])
        previous = chain.line_hash(lines[-1])
    return lines


def check(lines: list[bytes], **options: Any) -> Intact | Broken:  # noqa: ANN401 - handed on
    return chain.check_chain([Line("a", number, line) for number, line in enumerate(lines, 1)], **options)


def test_an_event_has_the_common_fields_and_its_own() -> None:
    written, line = chain.encode(event(), GENESIS)
    assert written == {
        "event": "user.logout",
        "code": "SK002I",
        "time": "2026-11-22T10:47:00.123Z",
        "uid": "u-1",
        "ei": 0,
        "cluster_name": "test-cluster",
        "user": "alice",
        "prev": GENESIS,
    }
    assert json.loads(line) == written


def test_a_time_is_written_in_utc() -> None:
    there = NOW.astimezone(timezone(-timedelta(hours=5)))
    composed = chain.compose(USER_LOGOUT, {"user": "alice"}, cluster=CLUSTER, time=there, uid="u-1")
    assert composed == event()


@given(AnyJson)
def test_any_json_becomes_one_ascii_line_that_is_strict_json(value: Any) -> None:  # noqa: ANN401 - JSON
    written, line = chain.encode(event(value), GENESIS)
    assert b"\n" not in line
    assert line.isascii()
    parsed = json.loads(line, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert parsed["prev"] == GENESIS
    assert chain.parse_line(line) == json.loads(json.dumps(written))


def test_long_values_are_cut_until_the_line_fits() -> None:
    texts: list[Json] = ["\N{ROCKET}" * 5000] * 1000
    written, line = chain.encode(event({"many": texts}), GENESIS)
    assert len(line) <= limits.AUDIT_LINE_MAX
    assert written["user"] != "alice"
    assert written["uid"] == "u-1"
    one, line = chain.encode(event("x" * 5000), GENESIS)
    assert one["user"] == "x" * limits.AUDIT_FIELD_MAX_CHARS + "…"
    assert len(line) < 5000


def test_an_event_that_cannot_be_made_to_fit_is_refused() -> None:
    tree: Json = "x" * 64
    for _ in range(4):
        tree = {f"{key}" * 30: tree for key in range(10)}
    with pytest.raises(chain.LineTooLongError, match=r"user\.logout does not fit"):
        chain.encode(event(tree), GENESIS)


def test_an_empty_log_is_intact() -> None:
    assert check([]) == Intact(0, GENESIS)


def test_a_log_that_must_begin_somehow_is_broken_where_it_holds_no_event() -> None:
    torn = Line("a", 1, b'{"ev', whole=False)
    for lines in ([], [torn]):
        found = chain.check_chain(lines, opening=USER_LOGOUT)
        assert isinstance(found, Broken)
        assert found.problem == "no events: the log was emptied or removed"
    empty = chain.describe(chain.check_chain([], opening=USER_LOGOUT))
    assert empty == "The audit log was CHANGED: no events: the log was emptied or removed"


def test_a_log_that_was_begun_anew_is_broken_at_its_first_event() -> None:
    lines = log(3)
    assert isinstance(check(lines, opening=USER_LOGOUT), Intact)
    found = check(lines, opening=CLUSTER_CREATE)
    assert isinstance(found, Broken)
    assert (found.line, found.problem) == (
        1,
        "the log does not begin with cluster.create: it was emptied or removed, and begun anew",
    )


def test_a_crash_in_the_very_first_line_is_no_other_beginning() -> None:
    torn = b'{"ev'
    mended = chain.compose(
        AUDIT_RECOVERED, {"file": "a", "bytes": 4, "after": GENESIS}, cluster=CLUSTER, time=NOW, uid="u-2"
    )
    second = chain.encode(mended, chain.line_hash(torn))[1]
    third = chain.encode(event(), chain.line_hash(second))[1]
    assert isinstance(check([torn, second, third], opening=USER_LOGOUT), Intact)
    assert isinstance(check([torn, second, third], opening=CLUSTER_CREATE), Broken)


def test_an_untouched_log_is_intact_and_tells_its_last_hash() -> None:
    lines = log(10)
    assert check(lines) == Intact(10, chain.line_hash(lines[-1]))


@given(st.integers(0, 8), st.data())
def test_any_edit_before_the_last_line_is_found_where_it_is(at: int, data: st.DataObject) -> None:
    lines = log(10)
    position = data.draw(st.integers(0, len(lines[at]) - 1))
    flipped = bytes([lines[at][position] ^ data.draw(st.sampled_from([1, 2, 4, 32]))])
    lines[at] = lines[at][:position] + flipped + lines[at][position + 1 :]
    found = check(lines)
    assert isinstance(found, Broken)
    assert found.line in {at + 1, at + 2}


@given(st.integers(0, 8))
def test_any_removal_is_found(at: int) -> None:
    lines = log(10)
    del lines[at]
    assert isinstance(check(lines), Broken)


@given(st.integers(0, 9), st.integers(0, 9))
def test_any_insertion_and_any_swap_is_found(at: int, other: int) -> None:
    lines = log(10)
    inserted = [*lines[:at], lines[other], *lines[at:]]
    assert isinstance(check(inserted), Broken)
    swapped = list(lines)
    swapped[at], swapped[other] = swapped[other], swapped[at]
    assert isinstance(check(swapped), Broken) or at == other


def test_what_is_cut_from_the_end_is_found_by_a_noted_hash_alone() -> None:
    lines = log(10)
    last = chain.line_hash(lines[-1])
    assert check(lines[:-1]) == Intact(9, chain.line_hash(lines[-2]))
    found = check(lines[:-1], noted=last)
    assert isinstance(found, Broken)
    assert "cut off" in found.problem
    assert isinstance(check(lines, noted=last), Intact)
    assert isinstance(check(lines, noted=chain.line_hash(lines[3])), Intact)
    assert isinstance(check([], noted=GENESIS), Intact)


@pytest.mark.parametrize("data", [b"", b"garbage", b"[]", b"\xff", b"\0\0\0", b"[" * 60_000, b"1" * 5000])
def test_a_line_that_is_no_event_is_found_wherever_it_stands(data: bytes) -> None:
    lines = log(3)
    for at in range(4):
        found = check([*lines[:at], data, *lines[at:]])
        assert isinstance(found, Broken)
        assert found.line in {at + 1, at + 2}


def test_a_line_that_is_too_long_is_found() -> None:
    found = check([*log(2), b'{"x":"' + b"x" * limits.AUDIT_LINE_MAX + b'"}'])
    assert found == Broken("a", 3, "it is longer than any line that is written here")


def recovered(torn: bytes, after: str) -> bytes:
    fields: dict[str, Json] = {"file": "a", "bytes": len(torn), "after": after}
    composed = chain.compose(AUDIT_RECOVERED, fields, cluster=CLUSTER, time=NOW, uid="u-2")
    return chain.encode(composed, chain.line_hash(torn))[1]


def with_a_tear() -> list[bytes]:
    lines = log(3)
    torn = lines[-1][:40]
    lines += [torn, recovered(torn, chain.line_hash(lines[-1]))]
    return [*lines, chain.encode(event(), chain.line_hash(lines[-1]))[1]]


def test_a_torn_line_that_was_reported_is_told_and_passed() -> None:
    lines = with_a_tear()
    assert check(lines) == Intact(5, chain.line_hash(lines[-1]), recovered=1)


@pytest.mark.parametrize("at", range(5))
def test_a_change_around_a_torn_line_is_found(at: int) -> None:
    lines = with_a_tear()
    changed = [*lines[:at], lines[at].replace(b"e", b"a", 1), *lines[at + 1 :]]
    assert changed != lines
    assert isinstance(check(changed), Broken)
    assert isinstance(check([*lines[:at], *lines[at + 1 :]]), Broken)


def test_two_torn_lines_in_a_row_are_no_accident() -> None:
    lines = with_a_tear()
    assert isinstance(check([*lines[:3], b"{", *lines[3:]]), Broken)
    assert check([*lines[:3], b"{", b"{"]) == Broken("a", 5, "it is not an event")
    assert check([*lines[:3], b"{"]) == Broken("a", 4, "it is not an event")


def test_a_torn_line_that_no_recovery_reports_is_found() -> None:
    lines = log(2)
    follower = chain.encode(event(), chain.line_hash(b"{"))[1]
    assert check([*lines, b"{", follower]) == Broken("a", 4, "line 3 before it is not an event")


def test_an_unfinished_line_is_told_at_the_very_end_only() -> None:
    lines = [Line("a", number, line) for number, line in enumerate(log(2), 1)]
    torn = Line("a", 3, b'{"ev', whole=False)
    assert chain.check_chain([*lines, torn]) == Intact(2, chain.line_hash(lines[-1].data), torn=4)
    found = chain.check_chain([*lines, torn, Line("b", 1, b"{}")])
    assert found == Broken("b", 1, "line 3 of a before it has no end")


def test_a_result_is_one_line_for_a_person() -> None:
    assert chain.describe(Intact(3, "ab")) == "The audit log is intact: 3 event(s), last hash ab"
    assert "1 line(s) torn by a crash; 4 byte(s) of an unfinished line" in chain.describe(Intact(3, "ab", 1, 4))
    assert chain.describe(Broken("f", 2, "it is odd")) == "The audit log was CHANGED: f, line 2: it is odd"


def test_the_events_of_the_log_itself_are_known() -> None:
    assert events.BY_CODE["SK021W"] is AUDIT_RECOVERED


def test_a_check_tells_how_far_it_has_come() -> None:
    checked = chain.ChainCheck()
    lines = log(3)
    assert [checked.take(Line("a", number, line)) for number, line in enumerate(lines, 1)] == [None] * 3
    assert (checked.count, checked.recovered, checked.last_hash) == (3, 0, chain.line_hash(lines[-1]))


def test_a_file_that_does_not_follow_the_one_before_it_is_found_with_its_name() -> None:
    lines = log(4)
    found = chain.check_chain([Line("a", 1, lines[0]), Line("b", 1, lines[2])])
    assert found == Broken("b", 1, "it does not follow the end of a: lines or files were removed, added or changed")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_know_stand_in_the_log_as_texts(number: float) -> None:
    said = chain.compose(USER_LOGOUT, {"user": [{"a": number}]}, cluster=CLUSTER, time=NOW, uid="u-1")
    assert said["user"] == [{"a": str(number)}]
    assert json.loads(chain.encode(said, GENESIS)[1])["user"] == [{"a": str(number)}]
