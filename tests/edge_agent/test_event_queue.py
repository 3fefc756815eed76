from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.event_queue import FILE, EventQueue
from protocol import limits
from protocol.events import Json
from protocol.messages import NodeEvent

UID = "00000000-0000-4000-8000-000000000001"


def put(queue: EventQueue, count: int = 1, **fields: Json) -> None:
    for _ in range(count):
        queue.append(NodeEvent(queue.next_sequence(), UID, "T3002I", "2026-11-22T10:00:00.000Z", fields))


def numbers(queue: EventQueue) -> list[int]:
    return [event.sequence for event in queue.batch()]


def test_events_survive_a_restart_with_their_numbers(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 3, command="ls")
    queue.close()
    again = EventQueue(tmp_path)
    assert numbers(again) == [1, 2, 3]
    assert again.batch()[0].fields == {"command": "ls"}
    assert again.next_sequence() == 4
    again.close()


def test_numbers_go_on_after_all_was_acknowledged_and_the_agent_restarted(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 3)
    queue.forget(3)
    assert len(queue) == 0
    queue.close()
    again = EventQueue(tmp_path)
    assert again.next_sequence() == 4
    again.close()


def test_only_what_is_acknowledged_is_forgotten(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 5)
    queue.forget(2)
    put(queue, 1)
    queue.close()
    again = EventQueue(tmp_path)
    assert numbers(again) == [3, 4, 5, 6]
    again.close()


def test_a_torn_last_line_costs_that_event_alone(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 3)
    queue.close()
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-10])
    again = EventQueue(tmp_path)
    assert numbers(again) == [1, 2]
    put(again)
    again.close()
    last = EventQueue(tmp_path)
    assert numbers(last) == [1, 2, 3]
    last.close()


@given(st.binary(max_size=400))
def test_no_file_content_stops_the_agent(garbage: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / FILE).write_bytes(garbage)
        queue = EventQueue(Path(name))
        before = len(queue)
        put(queue)
        assert len(queue) == before + 1
        queue.close()


def test_the_oldest_give_way_and_are_counted(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path, most=10)
    put(queue, 25)
    assert numbers(queue) == list(range(16, 26))
    assert queue.lost == 15
    put(queue, 100)
    queue.close()
    assert len((tmp_path / FILE).read_bytes().splitlines()) <= 2 * 10 + 2
    again = EventQueue(tmp_path, most=10)
    assert numbers(again) == list(range(116, 126))
    again.close()


def test_a_batch_fits_what_the_controller_reads(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 300)
    assert len(queue.batch()) == limits.EVENT_BATCH_MAX
    queue.forget(300)
    put(queue, 100, command="x" * 8000)
    body = json.dumps([event.to_dict() for event in queue.batch()])
    assert 100_000 < len(body) < limits.HTTP_BODY_MAX
    queue.close()


def test_an_event_beyond_all_bounds_is_counted_as_lost(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 1, command="x" * limits.AUDIT_LINE_MAX)
    assert (len(queue), queue.lost) == (0, 1)
    queue.close()


def test_the_one_that_is_refused_can_be_given_up(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 2)
    queue.drop(1)
    queue.drop(1)
    assert (numbers(queue), queue.lost) == ([2], 1)
    queue.close()


def test_a_counter_that_was_lost_with_the_disk_goes_on_beyond_the_controllers(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 70)
    assert queue.settle(50)
    assert numbers(queue) == list(range(51, 121))
    assert queue.next_sequence() == 121
    queue.close()


def test_a_counter_that_stood_still_goes_on_beyond_the_controllers(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 10)
    queue.close()
    again = EventQueue(tmp_path)
    put(again, 30)
    assert again.settle(25)
    assert numbers(again) == list(range(26, 66))
    again.close()


def test_a_counter_far_ahead_of_the_controllers_comes_back(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"base":999999999999}\n')
    queue = EventQueue(tmp_path)
    put(queue, 2)
    assert queue.settle(7)
    assert numbers(queue) == [8, 9]
    queue.close()


def test_a_counter_that_fits_is_left_alone(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path)
    put(queue, 5)
    queue.close()
    again = EventQueue(tmp_path)
    assert not again.settle(2)
    assert numbers(again) == [3, 4, 5]
    put(again, 3)
    assert not again.settle(7)
    assert numbers(again) == [8]
    again.close()


def test_how_many_were_lost_is_remembered_until_the_controller_knows(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path, most=10)
    put(queue, 25)
    put(queue, 1, command="x" * limits.AUDIT_LINE_MAX)
    queue.close()
    again = EventQueue(tmp_path, most=10)
    assert again.lost == 16
    again.forgive(15)
    again.close()
    last = EventQueue(tmp_path, most=10)
    assert last.lost == 1
    last.close()


def test_the_queue_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path, most_bytes=100_000)
    put(queue, 300, command="x" * 4000)
    assert numbers(queue) == list(range(277, 301))
    assert queue.lost == 276
    queue.close()


def test_of_a_file_that_is_too_large_the_counter_is_still_read(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as file:
        file.write(b'{"base":41,"lost":3}\n')
        file.truncate(3 * limits.EVENT_QUEUE_MAX_BYTES)
    queue = EventQueue(tmp_path)
    assert (len(queue), queue.lost, queue.next_sequence()) == (0, 3, 42)
    queue.close()


def test_without_a_disk_events_stay_in_memory(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path / "not there")
    put(queue, 2)
    assert numbers(queue) == [1, 2]
    assert "No such file" in queue.fault
    (tmp_path / "not there").mkdir()
    put(queue)
    assert queue.fault == ""
    queue.close()
    again = EventQueue(tmp_path / "not there")
    assert numbers(again) == [1, 2, 3]
    again.close()


def test_the_file_is_for_nobody_else(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        queue = EventQueue(tmp_path)
        put(queue)
        queue.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
