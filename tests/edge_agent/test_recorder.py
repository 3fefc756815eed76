"""Real programs under the recorder, and a real spool: what is on record."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path

import pytest

from edge_agent.child import Ended
from edge_agent.recorder import Recorder
from protocol import limits
from protocol.recording.cast import Event
from tests.harness.recording_room import MIB, PATIENCE, Room, recording_room
from tests.harness.simulated_controller import SimulatedController


async def sealed(room: Room) -> None:
    async with asyncio.timeout(PATIENCE):
        await room.studio.wait_until_sealed()


# --- what is on record ------------------------------------------------------------------------------------------------


async def test_both_streams_are_on_record_apart_and_the_exit_status(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        played, _ = await room.record("echo out; echo err >&2; exit 3")
    assert (played.text("o"), played.text("e"), played.told("x")) == ("out\n", "err\n", ["3"])
    assert played.seals[-1].reason == "final"
    assert played.events[0] == Event(0, "j", "alice")


async def test_the_signal_that_ended_the_program_is_on_record(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        played, _ = await room.record("kill -TERM $$")
    assert played.told("x") == ["SIGTERM"]


async def test_whose_session_it_was_stands_in_the_first_line(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        played, _ = await room.record("true", size=(117, 31))
        granted = room.identity.granted
    assert (played.first.width, played.first.height, played.first.command) == (117, 31, "true")
    assert played.first.env == {"TERM": "xterm", "SHELL": "/bin/sh"}
    assert played.first.said == {
        "session": played.header.session,
        "kind": "ssh",
        "user": "alice",
        "login": "pi",
        "node": granted.node_id,
        "node_name": granted.name,
        "cluster": granted.cluster_name,
        "interactive": True,
    }
    assert (played.header.node, played.header.node_name, played.header.cluster) == (
        granted.node_id,
        granted.name,
        granted.cluster_name,
    )
    assert played.first.timestamp == played.header.corrected // 1000
    assert abs(played.header.corrected - own_controller.recording_terms().time) < 60_000  # type: ignore[union-attr]  # this one records


@pytest.mark.parametrize("size", [None, (80, 24)], ids=["pipes", "terminal"])
async def test_all_that_was_printed_is_on_record_byte_for_byte(
    own_controller: SimulatedController, tmp_path: Path, size: tuple[int, int] | None
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        played, witness = await room.record("seq 400000; printf 'grüß 渡り鳥 \\033[1m\\007'", size=size)
    assert len(witness.output_bytes) > 2 * MIB
    assert played.text("o") == witness.output_bytes.decode()


async def test_bytes_that_are_no_text_are_marked_as_such(own_controller: SimulatedController, tmp_path: Path) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        played, witness = await room.record("head -c 300000 /dev/urandom; printf '\\303'", size=(80, 24))
    assert played.text("o") == witness.output_bytes.decode(errors="replace")
    assert played.text("o").endswith("\N{REPLACEMENT CHARACTER}")


async def test_a_new_size_is_on_record_where_it_came(own_controller: SimulatedController, tmp_path: Path) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        recorder = await room.recorder(size=(80, 24))
        session, witness = room.start(recorder, "stty size; read line; stty size", size=(80, 24))
        await witness.wait_for(b"24 80")
        session.resize((132, 43, 0, 0))
        session.feed(b"\n")
        await witness.over.wait()
        await sealed(room)
        played = room.play(recorder.subject.session)
    codes = [(event.code, event.data) for event in played.events]
    assert ("r", "132x43") in codes
    before, after = codes[: codes.index(("r", "132x43"))], codes[codes.index(("r", "132x43")) :]
    assert "24 80" in "".join(data for code, data in before if code == "o")
    assert "43 132" in "".join(data for code, data in after if code == "o")


@pytest.mark.parametrize("asked", [False, True])
async def test_input_is_on_record_only_where_the_cluster_asks_for_it(
    own_controller: SimulatedController, tmp_path: Path, asked: bool
) -> None:
    own_controller.record_input = asked
    async with recording_room(own_controller, tmp_path / "spool") as room:
        recorder = await room.recorder()
        session, witness = room.start(recorder, "read -r secret; echo done")
        session.feed(b"insecure-")
        session.feed(b"password\n")
        await witness.over.wait()
        await sealed(room)
        played = room.play(recorder.subject.session)
    assert played.text("i") == ("insecure-password\n" if asked else "")
    assert played.text("o") == "done\n"


async def test_who_joins_and_leaves_is_on_record(own_controller: SimulatedController, tmp_path: Path) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        recorder = await room.recorder()
        recorder.joined("bob")
        recorder.left("bob")
        recorder.ended(Ended(0))
        await sealed(room)
        played = room.play(recorder.subject.session)
    assert [(event.code, event.data) for event in played.events] == [
        ("j", "alice"),
        ("j", "bob"),
        ("l", "bob"),
        ("x", "0"),
    ]


async def test_a_program_that_is_left_running_has_no_end_on_record(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        recorder = await room.recorder()
        recorder.ended(Ended(None))
        await sealed(room)
        played = room.play(recorder.subject.session)
    assert played.told("x") == []
    assert played.seals[-1].reason == "final"


async def test_nothing_that_was_printed_or_run_lies_on_the_disk_in_the_clear(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        played, _ = await room.record("echo plain-marker-$((6*7))")
        (path,) = room.spool.directory.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        data = path.read_bytes()
    assert "plain-marker-42" in played.text("o")
    for clear in (b"plain-marker", b"alice", b'"o"'):
        assert clear not in data


async def test_each_recording_has_a_key_of_its_own(own_controller: SimulatedController, tmp_path: Path) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        (one, _), (two, _) = await room.record("echo same"), await room.record("echo same")
    assert one.header.key is not None
    assert two.header.key is not None
    assert one.header.key.sealed != two.header.key.sealed


# --- when it is on the disk -------------------------------------------------------------------------------------------


async def test_output_is_safe_on_the_disk_while_the_session_goes_on(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        grew = asyncio.Event()
        room.spool.on_change = grew.set
        recorder = await room.recorder()
        session, witness = room.start(recorder, "echo early; read line")
        await witness.wait_for(b"early")
        first = room.spool.path(recorder.subject.session).stat().st_size
        async with asyncio.timeout(PATIENCE):
            while room.spool.waiting()[0].size <= first:
                grew.clear()
                await grew.wait()
        (waits,) = room.spool.waiting()
        assert waits.is_live
        assert waits.size == waits.path.stat().st_size
        assert not session.is_over
        session.feed_end()
        await witness.over.wait()
        await sealed(room)
        assert [one.is_live for one in room.spool.waiting()] == [False]


async def test_what_was_recorded_is_sealed_in_time_while_the_session_goes_on(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        recorder = await room.recorder()
        session, witness = room.start(recorder, "while echo tick; do sleep 0.2; done")
        await witness.wait_for(b"tick\n" * 55)  # some 11 s
        session.hang_up(grace=0.1)
        await witness.over.wait()
        await sealed(room)
        played = room.play(recorder.subject.session)
    reasons = [one.reason for one in played.seals]
    assert reasons[0] == "running"
    assert played.seals[0].at < limits.RECORDING_SEAL.total_seconds() * 1000
    assert reasons[-1] == "final"


async def test_the_thread_ends_with_the_last_recording(own_controller: SimulatedController, tmp_path: Path) -> None:
    def threads() -> int:
        return sum(thread.name.startswith("recorder") for thread in threading.enumerate())

    async with recording_room(own_controller, tmp_path / "spool") as room:
        await room.record("true")
        async with asyncio.timeout(PATIENCE):
            while threads():  # noqa: ASYNC110 - it ends by itself, and tells nobody
                await asyncio.sleep(0.01)
        await room.record("true")


@pytest.mark.parametrize("kind", ["output", "input"])
async def test_a_session_waits_for_a_disk_that_is_behind_and_nothing_is_lost(
    own_controller: SimulatedController, tmp_path: Path, kind: str
) -> None:
    own_controller.record_input = True
    async with recording_room(own_controller, tmp_path / "spool") as room:
        stuck = threading.Event()
        recorder = await room.recorder()
        room.studio.submit(lambda: stuck.wait(PATIENCE))  # as a disk that does not answer: there is but one thread
        if kind == "output":
            await hold_output(room, recorder, stuck)
        else:
            await hold_input(room, recorder, stuck)


async def hold_output(room: Room, recorder: Recorder, stuck: threading.Event) -> None:
    session, witness = room.start(recorder, "seq 3000000")
    async with asyncio.timeout(PATIENCE):
        while recorder not in session._holders:
            witness.printed.clear()
            await witness.printed.wait()
    held_at = len(witness.output_bytes)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(witness.over.wait(), 0.5)
    assert len(witness.output_bytes) == held_at
    assert held_at < limits.RECORDING_PENDING_MAX + MIB
    stuck.set()
    async with asyncio.timeout(PATIENCE):
        await witness.over.wait()
    await sealed(room)
    assert room.play(recorder.subject.session).text("o") == witness.output_bytes.decode()


async def hold_input(room: Room, recorder: Recorder, stuck: threading.Event) -> None:
    session, witness = room.start(recorder, "wc -c")
    sent = 0
    async with asyncio.timeout(PATIENCE):
        while recorder not in session._holders:
            assert sent < 2 * limits.RECORDING_PENDING_MAX
            if not session.feed(b"x" * 32768):
                await asyncio.sleep(0)
            sent += 32768
    assert not session.feed(b"y")
    witness.fed.clear()
    stuck.set()
    async with asyncio.timeout(PATIENCE):
        await witness.fed.wait()  # it takes more
        assert session.feed(b"z")
        session.feed_end()
        await witness.over.wait()
    await sealed(room)
    assert witness.output_bytes.strip() == str(sent + 2).encode()
    assert room.play(recorder.subject.session).text("i") == "x" * sent + "yz"
