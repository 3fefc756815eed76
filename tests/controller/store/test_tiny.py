"""What the embedded store promises beyond the contract: crashes, full disks, damage, other users, size."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from controller.store.interface import AlreadyExistsError, Collection, StoreError
from controller.store.tiny import TinyStore

NOW = datetime(2026, 11, 22, 10, 47, tzinfo=UTC)
ROOT = os.geteuid() == 0


def nodes(directory: Path) -> Collection:
    return TinyStore(directory).collection("users")


def keys(directory: Path) -> list[str]:
    return [record.key for record in nodes(directory).list(now=NOW)]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# --- crashes -------------------------------------------------------------------------------------------------------


class Child:
    """A forked process that runs `work` and reports each acknowledged write as one line."""

    def __init__(self, work: Any) -> None:  # noqa: ANN401 - a callable that takes the report function
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                work(lambda text: os.write(write, f"{text}\n".encode()))
            os._exit(0)
        os.close(write)
        self._reader = os.fdopen(self._read, "r")

    def acknowledged(self) -> Iterator[str]:
        return (line.rstrip() for line in self._reader if line.endswith("\n"))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> int:
        self._reader.close()
        return os.waitpid(self.pid, 0)[1]


def write_on(directory: Path, turn: int, report: Any) -> None:  # noqa: ANN401 - a callable
    records = nodes(directory)
    for count in range(10_000):
        made = records.create(f"{turn}-{count}", {"x": 0}, now=NOW)
        report(f"created {turn}-{count}")
        records.replace(made, {"x": 1}, now=NOW)
        report(f"replaced {turn}-{count}")
        if count % 3 == 0:
            records.delete(f"{turn}-{count}", now=NOW)
            report(f"deleted {turn}-{count}")


def apply(state: dict[str, str], line: str) -> None:
    verb, _, key = line.partition(" ")
    state[key] = verb


def test_fifty_kills_at_random_instants_lose_nothing_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(20261122)  # noqa: S311 - no secret
    state: dict[str, str] = {}
    for turn in range(50):
        child = Child(lambda report, turn=turn: write_on(tmp_path, turn, report))
        lines = child.acknowledged()
        for _ in range(chance.randrange(1, 8)):
            apply(state, next(lines))
        time.sleep(chance.uniform(0, 0.003))  # the instant is the point: it falls anywhere in a write
        child.kill()
        for line in lines:
            apply(state, line)
        assert os.WIFSIGNALED(child.ended())
        check_acknowledged(tmp_path, state)
    assert not [name for name in names(tmp_path) if name.endswith(".tmp")]


def check_acknowledged(directory: Path, state: dict[str, str]) -> None:
    found = {record.key: record for record in nodes(directory).list(now=NOW)}
    for key, verb in state.items():
        if verb == "deleted":
            assert key not in found
        elif verb == "created":
            assert key in found  # a replacement may have been written and not yet acknowledged
        else:
            # The same goes for the deletion of each third.
            assert key in found or int(key.partition("-")[2]) % 3 == 0
            assert key not in found or found[key].revision == 2


class KillAtLine:
    """Kills this process before its `count`-th line within the store: so between any two system calls."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, frame: FrameType, event: str, _: object) -> KillAtLine | None:
        if not frame.f_code.co_filename.endswith(("store/durable.py", "store/tables.py", "store/tiny.py")):
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


@pytest.mark.parametrize("fresh", [True, False])
def test_a_kill_before_any_line_of_a_write_leaves_the_old_state_or_the_new(tmp_path: Path, *, fresh: bool) -> None:
    for count in range(1, 1000):
        directory = tmp_path / str(count)
        if not fresh:
            nodes(directory).create("old", {}, now=NOW)

        def work(report: Any, count: int = count, directory: Path = directory) -> None:  # noqa: ANN401 - a callable
            sys.settrace(KillAtLine(count))
            nodes(directory).create("new", {}, now=NOW)
            sys.settrace(None)
            report("done")

        child = Child(work)
        done = list(child.acknowledged())
        killed = os.WIFSIGNALED(child.ended())
        assert done == ([] if killed else ["done"])
        found = keys(directory)
        assert found in (["new"], ["new", "old"]) if done else set(found) <= {"new", "old"}
        assert fresh or "old" in found
        with contextlib.suppress(AlreadyExistsError):
            nodes(directory).create("new", {}, now=NOW)
        assert "new" in keys(directory)
        assert names(directory) == ["users.json", "users.lock"]
        if not killed:
            assert count > 50
            return
    pytest.fail("the write never ended")


# --- disks that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_failing_disk_changes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    records = nodes(tmp_path)
    old = records.create("old", {"x": 1}, now=NOW)

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as kernel:
        kernel.setattr(os, call, fail)
        with pytest.raises(StoreError, match=f"cannot write {tmp_path / 'users.json'}: {os.strerror(number)}"):
            records.create("new", {}, now=NOW)
        with pytest.raises(StoreError):
            records.replace(old, {"x": 2}, now=NOW)
        assert records.list(now=NOW) == [old]
    assert names(tmp_path) == ["users.json", "users.lock"]
    assert records.replace(old, {"x": 2}, now=NOW).revision == 2
    assert keys(tmp_path) == ["old"]


def test_a_file_size_limit_changes_nothing(tmp_path: Path) -> None:
    nodes(tmp_path).create("old", {}, now=NOW)

    def work(report: Any) -> None:  # noqa: ANN401 - a callable
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
        try:
            nodes(tmp_path).create("new", {"x": "y" * 1000}, now=NOW)
        except StoreError as err:
            report(err)

    child = Child(work)
    assert next(child.acknowledged()).endswith("File too large; mend that and try again")
    child.ended()
    assert keys(tmp_path) == ["old"]


@contextlib.contextmanager
def small_file_system(directory: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True, timeout=30)


@pytest.mark.skipif(not ROOT, reason="only root can mount a small file system")
def test_a_full_file_system_loses_nothing_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    def work(report: Any) -> None:  # noqa: ANN401 - a callable
        records = nodes(tmp_path / "store")
        try:
            for count in range(1000):
                records.create(f"{count:04}", {"x": "y" * 500}, now=NOW)
                report(f"{count:04}")
        except StoreError as err:
            report(err)
        subprocess.run(["mount", "-o", "remount,size=256k", tmp_path], check=True, timeout=30)
        records.create("later", {}, now=NOW)
        report("later")

    with small_file_system(tmp_path):
        child = Child(work)
        *kept, refusal, later = child.acknowledged()
        child.ended()
        assert refusal.endswith("No space left on device; nothing was lost; free some space and try again")
        assert keys(tmp_path / "store") == [*kept, later]
        assert len(kept) > 10
        assert names(tmp_path / "store") == ["users.json", "users.lock"]


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b'{"users":{"a":{"value":{},"revision":1,"expi',
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'{"users":[]}',
        b'{"users":{"a":[]}}',
        b'{"users":{"a":{"value":{},"revision":"1","expires":null}}}',
        b'{"users":{"a":{"value":{},"revision":1,"expires":12.5}}}',
        b'{"users":{"a":{"value":{},"revision":1,"expires":"tomorrow"}}}',
        b'{"users":{"a":{"value":{},"revision":1,"expires":"2026-11-22T10:47:00"}}}',
    ],
)
def test_a_damaged_file_is_one_clear_error_and_stays_as_it_is(tmp_path: Path, data: bytes) -> None:
    records = nodes(tmp_path)
    path = tmp_path / "users.json"
    path.write_bytes(data)
    for attempt in (
        lambda: records.get("a", now=NOW),
        lambda: records.list(now=NOW),
        lambda: records.create("a", {}, now=NOW),
    ):
        with pytest.raises(StoreError, match=f"{path} is damaged: .* from a backup"):
            attempt()
    assert path.read_bytes() == data


def test_one_damaged_collection_leaves_the_others_in_use(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    (tmp_path / "users.json").write_bytes(b"garbage")
    store.collection("tokens").create("a", {}, now=NOW)
    assert store.collection("tokens").get("a", now=NOW) is not None


def test_a_directory_in_the_files_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "users.json").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        nodes(tmp_path).list(now=NOW)
    with pytest.raises(StoreError, match="Is a directory"):
        nodes(tmp_path).create("a", {}, now=NOW)


def test_a_file_in_the_directorys_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="cannot open the store"):
        TinyStore(tmp_path / "store")


def test_what_crashed_writes_left_is_cleaned_and_foreign_files_are_not(tmp_path: Path) -> None:
    for name in ("users.json.tmp", "users.lock.4711-42.tmp", "My notes.tmp", "README"):
        (tmp_path / name).write_text("half a wri")
    TinyStore(tmp_path)
    assert names(tmp_path) == ["My notes.tmp", "README", "users.lock"]


def test_what_a_crash_left_does_not_stand_in_the_way_of_an_open_store(tmp_path: Path) -> None:
    records = nodes(tmp_path)
    (tmp_path / "users.json.tmp").write_text("half a wri")
    records.create("a", {}, now=NOW)
    assert names(tmp_path) == ["users.json", "users.lock"]


# --- files ---------------------------------------------------------------------------------------------------------


def test_files_are_private_and_the_expiry_is_text(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        records = nodes(tmp_path / "data" / "store")
        records.create("a", {}, now=NOW, expires=NOW)
    finally:
        os.umask(previous)
    directory = tmp_path / "data" / "store"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    stored = json.loads((directory / "users.json").read_text())
    assert stored == {"users": {"a": {"value": {}, "revision": 1, "expires": "2026-11-22T10:47:00.000000Z"}}}


def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    TinyStore(tmp_path / "store")
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_root_gives_new_files_to_the_directorys_owner(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 65534, 65534)
    nodes(tmp_path / "data" / "store").create("a", {}, now=NOW)
    directory = tmp_path / "data" / "store"
    assert {(path.stat().st_uid, path.stat().st_gid) for path in [directory, *directory.iterdir()]} == {(65534, 65534)}


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
def test_another_user_is_told_to_run_as_the_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    nodes(tmp_path / "store").create("a", {}, now=NOW)
    records = nodes(tmp_path / "store")

    def work(report: Any) -> None:  # noqa: ANN401 - a callable
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        for attempt in (lambda: records.list(now=NOW), lambda: records.create("b", {}, now=NOW)):
            try:
                attempt()
            except StoreError as err:
                report(err)

    child = Child(work)
    said = list(child.acknowledged())
    child.ended()
    assert len(said) == 2
    for line in said:
        assert "Permission denied; run this as the user that owns the store, or as root" in line


# --- readers -------------------------------------------------------------------------------------------------------


def test_a_reader_beside_a_writer_sees_whole_writes_only(tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    pair = {"left": {"n": 0}, "right": {"n": 0}}
    nodes(tmp_path).put_many(pair, now=NOW)

    def work(report: Any) -> None:  # noqa: ANN401 - a callable
        records = nodes(tmp_path)
        count = 0
        while not enough.exists():
            count += 1
            records.put_many({key: {"n": count, "pad": "x" * (count * 37 % 5000)} for key in pair}, now=NOW)
        report("done")

    child = Child(work)
    records = nodes(tmp_path)
    seen = [-1]
    while len(set(seen)) < 50:
        left, right = (record.value["n"] for record in records.list(now=NOW))
        assert isinstance(left, int)
        assert left == right
        assert left >= seen[-1]
        seen.append(left)
    enough.touch()
    assert list(child.acknowledged()) == ["done"]
    child.ended()


def test_a_reader_is_not_fooled_by_a_file_of_the_same_time_and_size(tmp_path: Path) -> None:
    reader, writer = nodes(tmp_path), nodes(tmp_path)
    record = writer.create("a", {"n": 0}, now=NOW)
    for count in range(1, 10):
        os.utime(tmp_path / "users.json", ns=(0, 0))
        found = reader.get("a", now=NOW)
        assert found == record
        record = writer.replace(record, {"n": count}, now=NOW)


def test_ten_thousand_nodes_are_workable(tmp_path: Path) -> None:
    values: dict[str, dict[str, Any]] = {
        f"node-{count:05}": {"name": f"kiosk-{count}", "labels": {"env": "staging"}, "key": "A" * 80}
        for count in range(10_000)
    }
    records = nodes(tmp_path)
    records.put_many(values, now=NOW)
    assert len(nodes(tmp_path).list(now=NOW)) == 10_000
    for count in range(1000):
        assert records.get(f"node-{count:05}", now=NOW) is not None
