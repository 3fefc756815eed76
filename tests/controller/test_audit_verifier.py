from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.audit import AuditLog
from controller.audit_verifier import ANEW, AuditVerifier, Verification
from controller.policy.chain import GENESIS, Intact, line_hash
from protocol.events import CLUSTER_CREATE, USER_LOGOUT
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
def verifier(log: AuditLog, clock: Clock) -> AuditVerifier:
    return AuditVerifier(log, clock)


def write(log: AuditLog, clock: Clock, *counts: int) -> None:
    """Write so many events a day."""
    for day, count in enumerate(counts):
        clock.now += timedelta(days=bool(day))
        for number in range(count):
            log.write(USER_LOGOUT, {"user": f"{clock.now:%d}-{number}"})


def swap(path: Path, before: bytes, after: bytes) -> None:
    """Change a file in place, as an editor that keeps the inode does."""
    data = path.read_bytes()
    assert before in data
    with path.open("r+b") as file:
        file.write(data.replace(before, after))


def settle(verifier: AuditVerifier) -> Verification:
    while (found := verifier.look()).state == "checking":
        pass
    return found


def test_an_intact_log_is_said_to_be_so_as_the_whole_check_says_it(
    log: AuditLog, verifier: AuditVerifier, clock: Clock
) -> None:
    write(log, clock, 3, 2)
    found, whole = verifier.look(), log.verify()
    assert isinstance(whole, Intact)
    assert (found.state, found.lines, found.days, found.last_hash) == ("intact", whole.count, 2, whole.last_hash)
    assert (found.at, found.problem, found.checked) == (clock.now, "", found.total)
    assert json.loads(json.dumps(found.to_dict()))["state"] == "intact"


def test_only_what_was_added_is_read_and_it_is_found_broken_where_that_does_not_fit(
    log: AuditLog, verifier: AuditVerifier, clock: Clock
) -> None:
    write(log, clock, 2)
    assert verifier.look().lines == 2
    write(log, clock, 3)
    assert verifier.look().lines == 5
    with log.files()[-1].open("ab") as file:
        file.write(b'{"prev": "' + b"0" * 64 + b'"}\n')
    found = verifier.look()
    assert (found.state, found.lines) == ("broken", 6)
    assert "line 6: it does not follow line 5" in found.problem


def test_a_new_day_is_gone_on_with(log: AuditLog, verifier: AuditVerifier, clock: Clock) -> None:
    write(log, clock, 2)
    verifier.look()
    clock.now += timedelta(days=1)
    write(log, clock, 2, 1)
    assert (verifier.look().state, verifier.look().days, verifier.look().lines) == ("intact", 3, 5)


Harm = Callable[[AuditLog], None]


def _change(log: AuditLog) -> None:
    swap(log.files()[0], b"22-1", b"22-7")


def _replace(log: AuditLog) -> None:
    path = log.files()[-1]
    path.with_suffix(".new").write_bytes(path.read_bytes().replace(b"23-0", b"23-7"))
    path.with_suffix(".new").replace(path)


def _remove(log: AuditLog) -> None:
    log.files()[0].unlink()


def _insert(log: AuditLog) -> None:
    log.files()[0].with_name("audit-2026-11-01.log").write_bytes(b'{"prev": "' + GENESIS.encode() + b'"}\n')


@pytest.mark.parametrize("harm", [_change, _replace, _remove, _insert])
def test_what_was_changed_behind_the_place_is_found_at_the_next_look(
    log: AuditLog, verifier: AuditVerifier, clock: Clock, harm: Harm
) -> None:
    write(log, clock, 3, 3)
    assert verifier.look().state == "intact"
    harm(log)
    assert settle(verifier).state == "broken"
    write(log, clock, 1)
    assert settle(verifier).state == "broken"


def test_a_line_changed_in_place_before_more_is_added_is_found_when_all_is_looked_at_anew(
    log: AuditLog, verifier: AuditVerifier, clock: Clock
) -> None:
    write(log, clock, 3)
    assert verifier.look().state == "intact"
    swap(log.files()[0], b"22-0", b"22-7")
    write(log, clock, 1)  # which hides it: the file has grown
    assert verifier.look().state == "intact"
    clock.now += ANEW
    assert settle(verifier).state == "broken"


def test_a_log_that_is_put_back_is_intact_again(log: AuditLog, verifier: AuditVerifier, clock: Clock) -> None:
    write(log, clock, 3, 3)
    verifier.look()
    swap(log.files()[0], b"22-1", b"22-7")
    assert settle(verifier).state == "broken"
    swap(log.files()[0], b"22-7", b"22-1")
    assert settle(verifier).state == "intact"


def test_a_long_log_is_checked_piece_by_piece_and_says_how_far_it_is(log: AuditLog, clock: Clock) -> None:
    write(log, clock, 20, 20)
    verifier = AuditVerifier(log, clock, most=2_000)
    seen = []
    while (found := verifier.look()).state == "checking":
        seen.append(found)
    assert len(seen) > 3
    assert [each.checked for each in seen] == sorted({each.checked for each in seen})
    assert all(0 < each.checked < each.total for each in seen)
    assert (found.state, found.lines) == ("intact", 40)


def test_while_all_is_looked_at_anew_the_last_finding_stands(log: AuditLog, clock: Clock) -> None:
    write(log, clock, 40)
    verifier = AuditVerifier(log, clock, most=1_000)
    first = settle(verifier)
    clock.now += ANEW
    again = first.last_hash
    seen = [verifier.look() for _ in range(5)]
    assert {(each.state, each.lines, each.last_hash) for each in seen} == {("intact", 40, again)}
    swap(log.files()[0], b"22-30", b"22-77")  # what shows that it does not hold ends that
    assert verifier.look().state == "checking"
    assert settle(verifier).state == "broken"


def test_a_torn_end_is_no_break_and_the_line_that_tells_of_it_is_counted(
    log: AuditLog, verifier: AuditVerifier, clock: Clock
) -> None:
    write(log, clock, 2)
    with log.files()[-1].open("ab") as file:
        file.write(b'{"event":"user.log')
    assert (verifier.look().state, verifier.look().lines) == ("intact", 2)
    write(log, clock, 1)
    found = verifier.look()
    assert (found.state, found.lines, found.recovered) == ("intact", 4, 1)


def test_a_log_that_was_emptied_is_broken_where_it_is_known_how_it_began(log: AuditLog, clock: Clock) -> None:
    assert AuditVerifier(log, clock).look().state == "intact"
    assert "emptied or removed" in AuditVerifier(log, clock, CLUSTER_CREATE).look().problem
    log.write(CLUSTER_CREATE, {"cluster_name": "harbour", "ca_pin": "sha256:00"})
    assert AuditVerifier(log, clock, CLUSTER_CREATE).look().state == "intact"


def test_a_log_that_cannot_be_read_is_said_so_and_is_looked_at_again(
    log: AuditLog, verifier: AuditVerifier, clock: Clock
) -> None:
    write(log, clock, 2)
    (path,) = log.files()
    aside = path.with_suffix(".aside")
    path.rename(aside)
    path.mkdir()
    found = verifier.look()
    assert (found.state, found.lines) == ("unreadable", 0)
    assert "cannot read the audit log" in found.problem
    path.rmdir()
    aside.rename(path)
    assert verifier.look().state == "intact"


def test_threads_that_look_while_others_write_find_it_intact(log: AuditLog, clock: Clock) -> None:
    verifier = AuditVerifier(log, clock, most=3_000)
    found: list[Verification] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            found.append(verifier.look())

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for each in lookers:
        each.start()
    other = AuditLog(log.files()[0].parent if log.files() else log._directory, ClusterName("harbour"), clock)
    for number in range(60):
        (log, other)[number % 2].write(USER_LOGOUT, {"user": f"u{number}"})
    done.set()
    for each in lookers:
        each.join()
    assert {each.state for each in found} <= {"intact", "checking"}
    last = settle(verifier)
    assert (last.state, last.lines) == ("intact", 60)
    assert last.last_hash == line_hash(log.files()[-1].read_bytes().splitlines()[-1])


def test_another_process_checks_for_itself(log: AuditLog, verifier: AuditVerifier, clock: Clock) -> None:
    write(log, clock, 5)
    assert verifier.look().lines == 5
    child = os.fork()
    if child == 0:
        os._exit(0 if verifier.look().lines == 5 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
