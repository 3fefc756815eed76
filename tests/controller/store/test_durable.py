from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from controller.store.durable import LockTimeoutError, locked, replace_file
from controller.store.interface import StoreError
from controller.store.tables import ReadOnlyStorage, TablesFile


def test_a_lock_that_is_held_makes_the_next_one_give_up_in_time(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(LockTimeoutError, match=r"keeps .*lock locked"):
        locked(tmp_path / "lock", timedelta(seconds=0.05)).__enter__()
    with locked(tmp_path / "lock", timedelta(seconds=0.05)):
        pass


def test_the_next_one_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with locked(tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path / "lock"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_lock_file_that_was_removed_is_made_anew_and_excludes(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = threading.Event()
    leave = threading.Event()

    def first() -> None:
        with locked(path):
            held.set()
            leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(10)
    path.unlink()
    # The first one's file has no name any more: the new file is the lock from now on.
    with locked(path), pytest.raises(LockTimeoutError):
        locked(path, timedelta(0)).__enter__()
    leave.set()
    thread.join(10)


def test_a_lock_is_no_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        locked(tmp_path / "lock").__enter__()


def test_a_store_whose_lock_is_kept_says_so(tmp_path: Path) -> None:
    tables = TablesFile(
        tmp_path / "nodes.json", tmp_path / "nodes.lock", lambda _: True, timeout=timedelta(seconds=0.02)
    )
    gave_up = pytest.raises(StoreError, match=r"gave up waiting to write .*nodes\.json")
    with locked(tmp_path / "nodes.lock"), gave_up:
        tables.transaction().__enter__()


def test_a_replaced_file_is_the_new_one_at_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    fd = replace_file(path, b"new" * 100_000)
    assert os.path.samestat(os.fstat(fd), path.stat())
    os.close(fd)
    assert path.read_bytes() == b"new" * 100_000
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_snapshot_cannot_be_written_through() -> None:
    with pytest.raises(StoreError, match="outside a transaction"):
        ReadOnlyStorage({}).write({})
