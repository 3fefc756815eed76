from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.audit import AuditError, AuditLog, Broken, Intact
from controller.policy.chain import GENESIS, line_hash
from protocol.events import USER_LOGIN, USER_LOGOUT, BadEventError
from protocol.names import ClusterName

CLUSTER = ClusterName("test-cluster")
START = datetime(2026, 11, 22, 10, 47, tzinfo=UTC)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> AuditLog:
    return AuditLog(tmp_path / "audit", CLUSTER, clock)


def files(log: AuditLog) -> list[Path]:
    return sorted(log._directory.glob("audit-*"))


def lines(log: AuditLog) -> list[bytes]:
    return b"".join(path.read_bytes() for path in files(log)).splitlines()


def write_days(log: AuditLog, clock: Clock, *counts: int) -> None:
    for count in counts:
        for number in range(count):
            log.write(USER_LOGOUT, {"user": f"{clock.now:%d}-{number}"})
        clock.now += timedelta(days=1)


def test_an_event_is_one_line_as_it_was_returned(log: AuditLog) -> None:
    written = log.write(USER_LOGOUT, {"user": "alice"})
    assert [path.name for path in files(log)] == ["audit-2026-11-22.log"]
    assert [json.loads(line) for line in lines(log)] == [written]
    assert written["time"] == "2026-11-22T10:47:00.000Z"
    assert written["prev"] == GENESIS
    assert len(str(written["uid"])) == 36


def test_a_time_and_uid_of_its_own_are_kept(log: AuditLog) -> None:
    written = log.write(USER_LOGOUT, {"user": "alice"}, time=START - timedelta(hours=1), uid="u-1")
    assert (written["time"], written["uid"]) == ("2026-11-22T09:47:00.000Z", "u-1")
    assert [path.name for path in files(log)] == ["audit-2026-11-22.log"]


def test_an_event_with_wrong_fields_is_not_written(log: AuditLog) -> None:
    with pytest.raises(BadEventError, match="lacks user"):
        log.write(USER_LOGOUT, {})
    with pytest.raises(BadEventError, match="does not know prev"):
        log.write(USER_LOGOUT, {"user": "alice", "prev": "0"})
    assert files(log) == []
    assert log.verify() == Intact(0, GENESIS)


def test_a_value_that_is_not_json_is_one_clear_error(log: AuditLog) -> None:
    with pytest.raises(AuditError, match=r"cannot write user\.logout"):
        log.write(USER_LOGOUT, {"user": START})  # type: ignore[dict-item]  # bad on purpose
    assert log.verify() == Intact(0, GENESIS)


def test_each_line_names_the_one_before_it_across_days(log: AuditLog, clock: Clock) -> None:
    write_days(log, clock, 2, 1, 2)
    assert [path.name for path in files(log)] == [f"audit-2026-11-{day}.log" for day in (22, 23, 24)]
    written = lines(log)
    assert [json.loads(line)["prev"] for line in written] == [GENESIS, *map(line_hash, written[:-1])]
    assert log.verify() == Intact(5, line_hash(written[-1]))


def test_files_are_private(log: AuditLog) -> None:
    log.write(USER_LOGOUT, {"user": "alice"})
    assert log._directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in log._directory.iterdir()} == {0o600}


def test_another_writer_goes_on_with_the_chain(log: AuditLog, clock: Clock) -> None:
    other = AuditLog(log._directory, CLUSTER, clock)
    for number in range(6):
        (log, other)[number % 2].write(USER_LOGOUT, {"user": str(number)})
    assert log.verify() == Intact(6, line_hash(lines(log)[-1]))


def test_a_clock_that_was_set_back_does_not_break_the_chain(log: AuditLog, clock: Clock) -> None:
    write_days(log, clock, 1, 1)
    clock.now = START
    log.write(USER_LOGOUT, {"user": "late"})
    assert [len(path.read_bytes().splitlines()) for path in files(log)] == [1, 2]
    assert isinstance(log.verify(), Intact)


Tampering = Callable[[list[Path]], None]


def _edit(paths: list[Path]) -> None:
    paths[1].write_bytes(paths[1].read_bytes().replace(b"23-1", b"23-9"))


def _remove_line(paths: list[Path]) -> None:
    paths[1].write_bytes(b"".join(paths[1].read_bytes().splitlines(keepends=True)[1:]))


def _remove_last_line_of_a_day(paths: list[Path]) -> None:
    paths[1].write_bytes(b"".join(paths[1].read_bytes().splitlines(keepends=True)[:-1]))


def _insert(paths: list[Path]) -> None:
    data = paths[1].read_bytes().splitlines(keepends=True)
    paths[1].write_bytes(b"".join([data[0], *data]))


def _swap(paths: list[Path]) -> None:
    data = paths[1].read_bytes().splitlines(keepends=True)
    paths[1].write_bytes(b"".join([data[1], data[0], *data[2:]]))


def _remove_file(paths: list[Path]) -> None:
    paths[1].unlink()


def _remove_first_file(paths: list[Path]) -> None:
    paths[0].unlink()


def _swap_files(paths: list[Path]) -> None:
    first, second = paths[0].read_bytes(), paths[1].read_bytes()
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)


def _empty_file(paths: list[Path]) -> None:
    paths[1].write_bytes(b"")


def _cut_newline(paths: list[Path]) -> None:
    paths[1].write_bytes(paths[1].read_bytes()[:-1])


def _blank_line(paths: list[Path]) -> None:
    paths[1].write_bytes(paths[1].read_bytes() + b"\n")


def _endless_line(paths: list[Path]) -> None:
    paths[1].write_bytes(b"x" * 1_000_000)


@pytest.mark.parametrize(
    "tamper",
    [
        _edit,
        _remove_line,
        _remove_last_line_of_a_day,
        _insert,
        _swap,
        _remove_file,
        _remove_first_file,
        _swap_files,
        _empty_file,
        _cut_newline,
        _blank_line,
        _endless_line,
    ],
)
def test_tampering_is_found(log: AuditLog, clock: Clock, tamper: Tampering) -> None:
    write_days(log, clock, 3, 3, 3)
    assert isinstance(log.verify(), Intact)
    tamper(files(log))
    found = log.verify()
    assert isinstance(found, Broken)
    assert found.file.startswith("audit-2026-11-2")
    log.write(USER_LOGOUT, {"user": "later"})
    assert isinstance(log.verify(), Broken)


def test_a_removed_newest_file_is_found_by_a_noted_hash(log: AuditLog, clock: Clock) -> None:
    write_days(log, clock, 2, 2)
    sound = log.verify()
    assert isinstance(sound, Intact)
    assert log.verify(noted=sound.last_hash) == sound
    files(log)[-1].unlink()
    assert isinstance(log.verify(), Intact)
    found = log.verify(noted=sound.last_hash)
    assert isinstance(found, Broken)
    assert "cut off" in found.problem
    files(log)[0].unlink()
    assert isinstance(log.verify(noted=sound.last_hash), Broken)


# --- crashes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 2, 30, 200])
@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=1)])
def test_a_torn_last_line_is_told_and_the_log_goes_on(log: AuditLog, clock: Clock, cut: int, later: timedelta) -> None:
    for user in ("a", "b", "c"):
        log.write(USER_LOGOUT, {"user": user})
    path = files(log)[0]
    os.truncate(path, path.stat().st_size - cut)
    torn = len(path.read_bytes().rpartition(b"\n")[2])
    found = log.verify()
    assert isinstance(found, Intact)
    assert (found.count, found.torn) == (2, torn)
    clock.now += later
    log.write(USER_LOGOUT, {"user": "d"})
    log.write(USER_LOGOUT, {"user": "e"})
    found = log.verify()
    assert isinstance(found, Intact), found
    assert (found.recovered, found.torn) == (1, 0)
    recovered = next(log.entries(kinds=["audit.recovered"]))
    assert (recovered["code"], recovered["bytes"]) == ("SK021W", torn)
    users = [event["user"] for event in log.entries(kinds=["user.logout"])]
    # A line that lacked nothing but its end is still an event.
    assert users == (["a", "b", "c", "d", "e"] if cut == 1 else ["a", "b", "d", "e"])


def test_a_log_that_is_torn_in_its_first_line_goes_on(log: AuditLog) -> None:
    log.write(USER_LOGOUT, {"user": "a"})
    os.truncate(files(log)[0], 20)
    log.write(USER_LOGOUT, {"user": "b"})
    found = log.verify()
    assert isinstance(found, Intact)
    assert (found.count, found.recovered) == (2, 1)


def test_an_end_that_no_event_left_stops_the_log_with_one_clear_error(log: AuditLog) -> None:
    log.write(USER_LOGOUT, {"user": "a"})
    with files(log)[0].open("ab") as file:
        file.write(b"x" * 1_000_000)
    with pytest.raises(AuditError, match="no line of an audit log; look at it"):
        log.write(USER_LOGOUT, {"user": "b"})
    assert isinstance(log.verify(), Broken)


def _write_on(directory: Path, turn: int, report: int) -> None:
    log = AuditLog(directory, CLUSTER, lambda: START)
    for number in range(100_000):
        log.write(USER_LOGOUT, {"user": f"{turn}-{number}", "client": "x" * 2000})
        os.write(report, f"{turn}-{number}\n".encode())


def test_fifty_kills_at_random_instants_lose_no_acknowledged_event(tmp_path: Path) -> None:
    chance = random.Random(20261122)  # noqa: S311 - no secret
    acknowledged: list[str] = []
    for turn in range(50):
        read, report = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                _write_on(tmp_path, turn, report)
            os._exit(1)
        os.close(report)
        with os.fdopen(read) as reader:
            acknowledged.append(reader.readline().strip())
            time.sleep(chance.uniform(0, 0.004))  # the instant is the point: it falls anywhere in a write
            os.kill(pid, signal.SIGKILL)
            acknowledged += [line.strip() for line in reader if line.endswith("\n")]
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    log = AuditLog(tmp_path, CLUSTER, lambda: START)
    log.write(USER_LOGOUT, {"user": "last"})
    found = log.verify()
    assert isinstance(found, Intact), found
    users = {event.get("user") for event in log.entries()}
    assert set(acknowledged) <= users


# --- disks that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_failing_disk_leaves_the_log_as_it_was(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    log.write(USER_LOGOUT, {"user": "a"})
    before = files(log)[0].read_bytes()
    real_write = os.write

    def fail(fd: int, data: bytes = b"") -> int:
        if len(data) > 20:
            return real_write(fd, data[:20])  # the disk takes a part, then no more
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as kernel:
        kernel.setattr(os, call, fail)
        with pytest.raises(AuditError, match=f"{os.strerror(number)}; nothing that must be audited"):
            log.write(USER_LOGOUT, {"user": "b"})
    assert files(log)[0].read_bytes() == before
    log.write(USER_LOGOUT, {"user": "c"})
    assert log.verify() == Intact(2, line_hash(lines(log)[-1]))


def test_a_file_size_limit_leaves_no_half_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, CLUSTER, lambda: START)
    log.write(USER_LOGOUT, {"user": "a"})
    size = files(log)[0].stat().st_size
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))
        try:
            log.write(USER_LOGOUT, {"user": "b"})
        except AuditError:
            os._exit(42)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
    assert files(log)[0].stat().st_size == size


@contextlib.contextmanager
def small_file_system(directory: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", directory], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True, timeout=30)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_file_system_refuses_and_the_chain_goes_on_when_there_is_space(tmp_path: Path) -> None:
    with small_file_system(tmp_path):
        log = AuditLog(tmp_path / "audit", CLUSTER, lambda: START)
        count = 0
        with contextlib.suppress(AuditError):
            for count in range(10_000):  # noqa: B007 - how many went in is the result
                log.write(USER_LOGOUT, {"user": "x" * 300})
        assert 10 < count < 1000
        with pytest.raises(AuditError, match="No space left on device"):
            log.write(USER_LOGOUT, {"user": "x" * 300})
        assert log.verify() == Intact(count, line_hash(lines(log)[-1]))
        subprocess.run(["mount", "-o", "remount,size=64k", tmp_path], check=True, timeout=30)
        log.write(USER_LOGOUT, {"user": "later"})
        assert log.verify() == Intact(count + 1, line_hash(lines(log)[-1]))


def test_a_directory_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("")
    log = AuditLog(tmp_path / "audit", CLUSTER, lambda: START)
    with pytest.raises(AuditError, match="cannot write"):
        log.write(USER_LOGOUT, {"user": "a"})
    assert list(log.entries()) == []


def test_a_file_that_cannot_be_read_is_one_clear_error(log: AuditLog) -> None:
    log.write(USER_LOGOUT, {"user": "a"})
    (log._directory / "audit-2026-11-21.log").mkdir()
    with pytest.raises(AuditError, match="cannot read the audit log"):
        list(log.entries())
    with pytest.raises(AuditError, match="cannot read the audit log"):
        log.verify()


# --- many writers --------------------------------------------------------------------------------------------------


def _write_many(directory: Path, who: str, count: int) -> None:
    log = AuditLog(directory, CLUSTER, lambda: datetime.now(UTC))
    for number in range(count):
        log.write(USER_LOGOUT, {"user": f"{who}-{number}"})


def test_processes_and_threads_write_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_write_many, args=(tmp_path, f"p{number}", 100)) for number in range(3)]
    for child in children:
        child.start()
    threads = [threading.Thread(target=_write_many, args=(tmp_path, f"t{number}", 100)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    log = AuditLog(tmp_path, CLUSTER, lambda: START)
    found = log.verify()
    assert isinstance(found, Intact)
    assert (found.count, found.recovered) == (600, 0)
    assert len({event["user"] for event in log.entries()}) == 600


# --- reading -------------------------------------------------------------------------------------------------------


def test_entries_are_filtered_by_time_kind_code_and_user(log: AuditLog, clock: Clock) -> None:
    write_days(log, clock, 1, 1, 1)
    log.write(USER_LOGIN, {"user": "25-0", "method": "local", "success": True, "addr.remote": "127.0.0.1:1"})

    def users(**filters: object) -> list[str]:
        return [event["user"] for event in log.entries(**filters)]  # type: ignore[arg-type]  # handed on

    assert users() == ["22-0", "23-0", "24-0", "25-0"]
    assert users(since=START + timedelta(days=1)) == ["23-0", "24-0", "25-0"]
    assert users(since=START + timedelta(days=1, milliseconds=1)) == ["24-0", "25-0"]
    assert users(since=START + timedelta(days=3)) == ["25-0"]
    assert users(kinds=["user.login"]) == ["25-0"]
    assert users(kinds=["SK002I", "T1000W"]) == ["22-0", "23-0", "24-0"]
    assert users(user="23-0") == ["23-0"]
    assert users(user="nobody") == []


def test_reading_passes_over_damage_and_half_lines(log: AuditLog) -> None:
    log.write(USER_LOGOUT, {"user": "a"})
    with files(log)[0].open("ab") as file:
        file.write(b'garbage\n[1]\n{"user": "half"}')
    (log._directory / "audit-9999-99-99.log").write_text("\n")
    assert [event["user"] for event in log.entries(since=START)] == ["a"]


def test_a_log_that_was_never_written_is_empty(log: AuditLog) -> None:
    assert list(log.entries()) == []
    assert not log._directory.exists()
