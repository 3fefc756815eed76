"""Collections in many files: what a write costs, and how one that stood in a single file comes to them."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.store.cached import Cached
from controller.store.interface import Collection, StoreError
from controller.store.memory import MemoryStore
from controller.store.tiny import SHARDED, TinyCollection, TinyStore

NOW = datetime(2026, 11, 22, 10, 47, tzinfo=UTC)
KEYS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(500)]


def write_whole(directory: Path) -> None:
    """Write the one file of before, a record of which expires, and one of which was written twice."""
    whole = TinyCollection(directory, "nodes")
    whole.put_many({key: {"number": number} for number, key in enumerate(KEYS)}, now=NOW)
    whole.create("mayfly", {}, now=NOW, expires=NOW + timedelta(minutes=1))
    record = whole.get(KEYS[7], now=NOW)
    assert record
    whole.replace(record, {"number": 7, "again": True}, now=NOW)


def test_what_stood_in_one_file_is_taken_over_as_it_was(tmp_path: Path) -> None:
    write_whole(tmp_path)
    before = TinyCollection(tmp_path, "nodes").list(now=NOW)
    here, there = (TinyStore(tmp_path).collection("nodes") for _ in range(2))
    assert here.list(now=NOW) == there.list(now=NOW) == before
    assert not (tmp_path / "nodes.json").exists()
    assert len(list(tmp_path.glob("nodes_*.json"))) > 40
    assert here.get("mayfly", now=NOW + timedelta(minutes=1)) is None


def test_a_take_over_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    write_whole(tmp_path)
    data = (tmp_path / "nodes.json").read_bytes()
    before = TinyCollection(tmp_path, "nodes").list(now=NOW)
    TinyStore(tmp_path).collection("nodes")
    for path in sorted(tmp_path.glob("nodes_*.json"))[::2]:
        path.unlink()
    (tmp_path / "nodes.json").write_bytes(data)  # the file goes last of all
    assert TinyStore(tmp_path).collection("nodes").list(now=NOW) == before


def test_a_damaged_file_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text("{")
    with pytest.raises(StoreError, match=r"nodes\.json is damaged"):
        TinyStore(tmp_path).collection("nodes")
    assert (tmp_path / "nodes.json").read_text() == "{"


def test_many_that_open_it_at_once_take_it_over_once(tmp_path: Path) -> None:
    write_whole(tmp_path)
    gate, found = threading.Barrier(4), []

    def open_it() -> None:
        gate.wait()
        records = TinyStore(tmp_path).collection("nodes")
        records.delete(KEYS[0], now=NOW)  # what is gone does not come back with whoever is late
        found.append(len(records.list(now=NOW)))

    racers = [threading.Thread(target=open_it) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert found == [len(KEYS)] * 4


@pytest.mark.parametrize("name", sorted(SHARDED))
def test_a_write_changes_one_part_and_the_size_of_a_fleet_s_share(tmp_path: Path, name: str) -> None:
    records = TinyStore(tmp_path).collection(name)
    records.put_many({key: {"text": "x" * 100} for key in KEYS}, now=NOW)
    before = [part.stamp() for part in records.parts()]
    record = records.get(KEYS[0], now=NOW)
    assert record
    records.replace(record, {}, now=NOW)
    after = [part.stamp() for part in records.parts()]
    assert sum(old is not new for old, new in zip(before, after, strict=True)) == 1
    sizes = [path.stat().st_size for path in tmp_path.glob(f"{name}_*.json")]
    assert max(sizes) < sum(sizes) / 10


def test_the_files_of_the_parts_say_whose_they_are(tmp_path: Path) -> None:
    TinyStore(tmp_path).collection("nodes").create(KEYS[0], {}, now=NOW)
    (path,) = tmp_path.glob("nodes_*.json")
    assert list(json.loads(path.read_text())) == ["nodes"]


@pytest.mark.parametrize("name", ["tokens", "nodes"])
def test_who_holds_the_right_to_change_holds_it_alone_among_all(tmp_path: Path, name: str) -> None:
    stores = [TinyStore(tmp_path).collection(name) for _ in range(4)]
    inside, most, gate = 0, 0, threading.Barrier(4)

    def enter(collection: Collection) -> None:
        nonlocal inside, most
        gate.wait()
        for _ in range(20):
            with collection.alone():
                inside += 1
                most = max(most, inside)
                collection.put_many({"a": {}}, now=NOW)
                inside -= 1

    racers = [threading.Thread(target=enter, args=(store,)) for store in stores]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert most == 1


def test_what_was_made_of_records_is_made_again_when_they_were_written_and_not_before() -> None:
    records = MemoryStore().collection("tokens")
    cached = Cached(records, lambda found: [record.key for record in found], lambda: NOW)
    first = cached.read()
    assert (first, cached.read() is first) == ([], True)
    records.create("a", {}, now=NOW)
    assert cached.read() == ["a"]
