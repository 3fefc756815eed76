"""What `controller.store.interface` promises, held against every implementation."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.store.interface import AlreadyExistsError, Collection, ConflictError, Record, Store, StoreError
from controller.store.memory import MemoryStore
from controller.store.tiny import TinyStore

NOW = datetime(2026, 11, 22, 10, 47, 0, 123456, tzinfo=UTC)
TICK = timedelta(microseconds=1)
ROUNDS = 200

Json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def test_a_created_record_is_found_as_it_was(tokens: Collection) -> None:
    made = tokens.create("a", {"x": [1, {"y": None}]}, now=NOW)
    assert made == Record("a", {"x": [1, {"y": None}]}, 1, None)
    assert tokens.get("a", now=NOW) == made
    assert tokens.list(now=NOW) == [made]


def test_an_unknown_key_is_none(tokens: Collection) -> None:
    assert tokens.get("a", now=NOW) is None
    assert tokens.list(now=NOW) == []
    assert tokens.delete("a", now=NOW) is None
    assert tokens.delete("a", now=NOW, revision=3) is None
    assert tokens.purge(now=NOW) == 0


def test_create_refuses_a_key_that_is_taken(tokens: Collection) -> None:
    tokens.create("a", {"x": 1}, now=NOW)
    with pytest.raises(AlreadyExistsError, match="already holds 'a'"):
        tokens.create("a", {"x": 2}, now=NOW)
    found = tokens.get("a", now=NOW)
    assert found is not None
    assert found.value == {"x": 1}


def test_a_record_lives_until_its_instant_and_not_at_it(tokens: Collection) -> None:
    end = NOW + timedelta(minutes=1)
    made = tokens.create("a", {}, now=NOW, expires=end)
    assert tokens.get("a", now=end - TICK) == made
    assert tokens.list(now=end - TICK) == [made]
    assert tokens.get("a", now=end) is None
    assert tokens.list(now=end) == []
    with pytest.raises(ConflictError):
        tokens.replace(made, {}, now=end)
    assert tokens.delete("a", now=end) is None
    assert tokens.get("a", now=end - TICK) == made


def test_an_expired_key_can_be_created_again_and_begins_anew(tokens: Collection) -> None:
    end = NOW + timedelta(minutes=1)
    tokens.create("a", {"x": 1}, now=NOW, expires=end)
    again = tokens.create("a", {"x": 2}, now=end)
    assert again == Record("a", {"x": 2}, 1, None)
    assert tokens.get("a", now=end) == again


def test_an_expiry_keeps_its_instant_in_utc(tokens: Collection) -> None:
    end = (NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5, minutes=30)))
    tokens.create("a", {}, now=NOW, expires=end)
    found = tokens.get("a", now=NOW)
    assert found is not None
    assert found.expires == end
    assert found.expires.tzinfo == UTC
    with pytest.raises(StoreError, match="time zone"):
        tokens.create("b", {}, now=NOW, expires=end.replace(tzinfo=None))


def test_replace_raises_the_revision_and_sets_the_expiry(tokens: Collection) -> None:
    first = tokens.create("a", {"x": 1}, now=NOW)
    second = tokens.replace(first, {"x": 2}, now=NOW, expires=NOW + TICK)
    assert second == Record("a", {"x": 2}, 2, NOW + TICK)
    assert tokens.get("a", now=NOW) == second
    third = tokens.replace(second, {"x": 3}, now=NOW)
    assert (third.revision, third.expires) == (3, None)


def test_replace_refuses_what_is_no_longer_the_newest(tokens: Collection) -> None:
    first = tokens.create("a", {"x": 1}, now=NOW)
    tokens.replace(first, {"x": 2}, now=NOW)
    with pytest.raises(ConflictError, match="revision 2"):
        tokens.replace(first, {"x": 3}, now=NOW)
    tokens.delete("a", now=NOW)
    with pytest.raises(ConflictError, match="gone"):
        tokens.replace(first, {"x": 3}, now=NOW)
    assert tokens.get("a", now=NOW) is None


def test_replace_is_not_fooled_by_a_record_that_was_made_anew(tokens: Collection) -> None:
    first = tokens.create("a", {"x": 1}, now=NOW)
    tokens.delete("a", now=NOW)
    tokens.create("a", {"x": "another"}, now=NOW)
    with pytest.raises(ConflictError):
        tokens.replace(first, {"x": 2}, now=NOW)


def test_delete_returns_the_record_once(tokens: Collection) -> None:
    made = tokens.create("a", {"x": 1}, now=NOW)
    assert tokens.delete("a", now=NOW) == made
    assert tokens.delete("a", now=NOW) is None
    assert tokens.get("a", now=NOW) is None


def test_delete_with_a_revision_takes_that_one_only(tokens: Collection) -> None:
    first = tokens.create("a", {"x": 1}, now=NOW)
    second = tokens.replace(first, {"x": 2}, now=NOW)
    with pytest.raises(ConflictError, match="revision 2, not 1"):
        tokens.delete("a", now=NOW, revision=1)
    assert tokens.delete("a", now=NOW, revision=2) == second


def test_put_many_creates_and_overwrites_without_expiry(tokens: Collection) -> None:
    tokens.create("b", {"x": 0}, now=NOW, expires=NOW + timedelta(days=1))
    tokens.create("gone", {"x": 0}, now=NOW, expires=NOW + TICK)
    tokens.create("other", {"x": 9}, now=NOW)
    tokens.put_many({"b": {"x": 2}, "a": {"x": 1}, "gone": {"x": 3}}, now=NOW + TICK)
    assert tokens.list(now=NOW + TICK) == [
        Record("a", {"x": 1}, 1),
        Record("b", {"x": 2}, 2),
        Record("gone", {"x": 3}, 1),
        Record("other", {"x": 9}, 1),
    ]
    tokens.put_many({}, now=NOW)
    assert len(tokens.list(now=NOW)) == 4


def test_put_many_with_one_bad_value_writes_none(tokens: Collection) -> None:
    bad: Any = {"a": {"x": 1}, "b": {"x": object()}}
    with pytest.raises(StoreError, match="'b' cannot be stored"):
        tokens.put_many(bad, now=NOW)
    assert tokens.list(now=NOW) == []


def test_purge_drops_the_expired_and_counts_them(tokens: Collection) -> None:
    kept = tokens.create("kept", {}, now=NOW, expires=NOW + 2 * TICK)
    forever = tokens.create("forever", {}, now=NOW)
    tokens.create("dead", {}, now=NOW, expires=NOW + TICK)
    assert tokens.purge(now=NOW + TICK) == 1
    assert tokens.purge(now=NOW + TICK) == 0
    assert tokens.list(now=NOW) == [forever, kept]


def test_a_stamp_stays_until_something_is_written(tokens: Collection) -> None:
    stamps = [tokens.stamp()]
    made = tokens.create("a", {}, now=NOW)
    stamps.append(tokens.stamp())
    tokens.replace(made, {}, now=NOW, expires=NOW + TICK)
    stamps.append(tokens.stamp())
    tokens.purge(now=NOW + TICK)
    stamps.append(tokens.stamp())
    tokens.put_many({"b": {}}, now=NOW)
    stamps.append(tokens.stamp())
    tokens.delete("b", now=NOW)
    stamps.append(tokens.stamp())
    assert all(one != other for at, one in enumerate(stamps) for other in stamps[:at])
    tokens.get("b", now=NOW)
    tokens.list(now=NOW)
    assert tokens.delete("b", now=NOW) is None
    assert tokens.purge(now=NOW) == 0
    assert tokens.stamp() == stamps[-1]


def test_list_is_sorted_by_key(tokens: Collection) -> None:
    for key in ("b", "a", "10", "9", "é"):
        tokens.create(key, {}, now=NOW)
    assert [record.key for record in tokens.list(now=NOW)] == ["10", "9", "a", "b", "é"]


@pytest.mark.parametrize("value", [{"x": {1, 2}}, {"x": float("nan")}, {"x": b"bytes"}, {("a", "b"): 1}])
def test_a_value_that_is_not_json_is_refused(tokens: Collection, value: Any) -> None:  # noqa: ANN401 - bad on purpose
    with pytest.raises(StoreError, match="not JSON"):
        tokens.create("a", value, now=NOW)
    assert tokens.get("a", now=NOW) is None


def test_a_value_that_nests_without_end_is_refused(tokens: Collection) -> None:
    endless: dict[str, Any] = {}
    endless["x"] = endless
    with pytest.raises(StoreError, match="not JSON"):
        tokens.create("a", endless, now=NOW)


def test_what_a_caller_does_to_its_value_reaches_nobody_else(tokens: Collection) -> None:
    mine: dict[str, Any] = {"x": [1]}
    made: Any = tokens.create("a", mine, now=NOW).value
    mine["x"].append(2)
    made["y"] = 1
    for reader in (tokens.get("a", now=NOW), tokens.list(now=NOW)[0]):
        assert reader is not None
        assert reader.value == {"x": [1]}
        stolen: Any = reader.value
        stolen["x"] = "changed"
    found = tokens.get("a", now=NOW)
    assert found is not None
    assert found.value == {"x": [1]}


def test_collections_are_apart_and_known_by_name(store: Store) -> None:
    store.collection("users").create("a", {"x": 1}, now=NOW)
    assert store.collection("tokens").get("a", now=NOW) is None
    found = store.collection("users").get("a", now=NOW)
    assert found is not None


@pytest.mark.parametrize("name", ["", "../users", "Users", "a/b", "a.b", "a" * 65, "users\n", "ä"])
def test_a_collections_name_is_small_letters(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="small letters"):
        store.collection(name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(key=st.text(), value=st.dictionaries(st.text(), Json, max_size=4))
def test_any_key_and_any_json_come_back_as_they_went(store: Store, key: str, value: dict[str, Any]) -> None:
    records = store.collection("anything")
    records.put_many({key: value}, now=NOW)
    found = records.get(key, now=NOW)
    assert found is not None
    assert found.value == json.loads(json.dumps(value))


def test_a_lone_surrogate_is_a_key_like_any_other(tokens: Collection) -> None:
    tokens.create("\ud800", {"\udfff": "\ud800"}, now=NOW)
    found = tokens.get("\ud800", now=NOW)
    assert found is not None
    assert found.value == {"\udfff": "\ud800"}


# --- races ---------------------------------------------------------------------------------------------------------


def _create(records: Collection, turn: int, who: str) -> bool:
    try:
        records.create(str(turn), {"by": who}, now=NOW)
    except AlreadyExistsError:
        return False
    return True


def _replace(records: Collection, turn: int, who: str) -> bool:
    record = records.get("shared", now=NOW)
    assert record is not None
    if record.value["turn"] != turn:
        return False
    try:
        records.replace(record, {"turn": turn + 1, "by": who}, now=NOW)
    except ConflictError:
        return False
    return True


def _delete(records: Collection, turn: int, who: str) -> bool:
    return bool(who) and records.delete(str(turn), now=NOW) is not None


Attempt = Callable[[Collection, int, str], bool]
ATTEMPTS: dict[str, Attempt] = {"create": _create, "replace": _replace, "delete": _delete}


def _prepare(records: Collection) -> None:
    records.create("shared", {"turn": 0, "by": ""}, now=NOW)


def _prepare_deletes(records: Collection) -> None:
    records.put_many({str(turn): {} for turn in range(ROUNDS)}, now=NOW)


def _run(open_store: Callable[[], Store], start: Any, kind: str, who: str) -> list[bool]:  # noqa: ANN401 - either barrier
    records = open_store().collection("races")
    won = []
    for turn in range(ROUNDS):
        start.wait(30)
        won.append(ATTEMPTS[kind](records, turn, who))
    return won


def _judge(kind: str, records: Collection, first: list[bool], second: list[bool]) -> None:
    assert [one + other for one, other in zip(first, second, strict=True)] == [1] * ROUNDS
    if kind == "create":
        found = {record.key: record.value["by"] for record in records.list(now=NOW) if record.key != "shared"}
        assert found == {str(turn): "one" if won else "two" for turn, won in enumerate(first)}
    if kind == "replace":
        last = records.get("shared", now=NOW)
        assert last is not None
        assert (last.value["turn"], last.revision) == (ROUNDS, ROUNDS + 1)


@pytest.mark.parametrize("kind", sorted(ATTEMPTS))
@pytest.mark.parametrize("store_kind", ["memory", "tiny", "tiny, each its own"])
def test_of_two_racing_threads_one_wins_each_time(kind: str, store_kind: str, tmp_path: Path) -> None:
    shared: Store = MemoryStore() if store_kind == "memory" else TinyStore(tmp_path)
    open_store = (lambda: TinyStore(tmp_path)) if store_kind.endswith("own") else (lambda: shared)
    records = shared.collection("races")
    (_prepare_deletes if kind == "delete" else _prepare)(records)
    start = threading.Barrier(2)
    results: dict[str, list[bool]] = {}

    def run(who: str) -> None:
        results[who] = _run(open_store, start, kind, who)

    threads = [threading.Thread(target=run, args=(who,)) for who in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    _judge(kind, records, results["one"], results["two"])


def _run_in_process(
    directory: Path, start: Barrier, kind: str, who: str, results: multiprocessing.Queue[tuple[str, list[bool]]]
) -> None:
    results.put((who, _run(lambda: TinyStore(directory), start, kind, who)))


@pytest.mark.parametrize("kind", sorted(ATTEMPTS))
def test_of_two_racing_processes_one_wins_each_time(kind: str, tmp_path: Path) -> None:
    records = TinyStore(tmp_path).collection("races")
    (_prepare_deletes if kind == "delete" else _prepare)(records)
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    queue: multiprocessing.Queue[tuple[str, list[bool]]] = context.Queue()
    children = [
        context.Process(target=_run_in_process, args=(tmp_path, start, kind, who, queue)) for who in ("one", "two")
    ]
    for child in children:
        child.start()
    results = dict(queue.get(timeout=60) for _ in children)
    for child in children:
        child.join(30)
    _judge(kind, records, results["one"], results["two"])
