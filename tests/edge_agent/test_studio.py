"""What becomes of sessions that cannot be recorded, on real disks that are full; and of what a crash left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from edge_agent.child import Ended
from edge_agent.party import Party
from edge_agent.policy.spool import explain, stalled
from protocol import limits
from protocol.decision import Refused
from protocol.events import EventKind, Json
from protocol.recording import frame, framing, seal
from protocol.secret import Secret
from tests.harness.inner_door import inner_client
from tests.harness.recording_room import MIB, PATIENCE, Room, recording_room
from tests.harness.road import OWN
from tests.harness.simulated_controller import SimulatedController
from tests.harness.tiny_disk import empty, fill, remount, tiny_disk

TINY = 640 * 1024
# More than fits there, and what it ends with.
THE_LAST = b"the last of it\n"
FLOOD = f"head -c 3000000 /dev/urandom | base64; echo {THE_LAST.decode().strip()}"
PAGE = 4096
SEAL_SIZE = framing.PREFIX.size + seal.SIZE


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    with tiny_disk(tmp_path / "tiny", TINY) as place:
        yield place


async def sealed(room: Room) -> None:
    async with asyncio.timeout(PATIENCE):
        await room.studio.wait_until_sealed()


# --- where it cannot be recorded --------------------------------------------------------------------------------------


async def test_off_records_nothing_and_says_nothing(own_controller: SimulatedController, tmp_path: Path) -> None:
    own_controller.mode = "off"
    async with recording_room(own_controller, tmp_path / "spool") as room:
        assert await room.studio.begin(room.subject()) is None
        assert room.reported == []
        assert room.spool.usage() == 0


async def test_no_session_begins_while_it_is_not_known_how_the_cluster_records(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    own_controller.mode = None
    async with recording_room(own_controller, tmp_path / "spool") as room:
        found = await room.studio.begin(room.subject())
    assert isinstance(found, Refused)
    assert found.check == "D1"


async def test_a_full_disk_refuses_sessions_where_they_must_be_recorded_until_there_is_space(
    own_controller: SimulatedController, tiny: Path
) -> None:
    async with recording_room(own_controller, tiny / "spool") as room:
        fill(tiny)
        found = await room.studio.begin(room.subject())
        assert isinstance(found, Refused)
        assert "no space left on the device" in found.reason
        assert room.reported == []  # nothing was done that is not on record
        assert room.spool.usage() == 0
        empty(tiny)
        played, _ = await room.record("echo there is room again")
    assert played.text("o") == "there is room again\n"


async def test_a_full_disk_lets_sessions_go_on_unrecorded_where_they_may_and_the_audit_log_hears_of_it(
    own_controller: SimulatedController, tiny: Path
) -> None:
    own_controller.mode = "best_effort"
    async with recording_room(own_controller, tiny / "spool") as room:
        fill(tiny)
        subject = room.subject()
        assert await room.studio.begin(subject) is None
        ((name, fields),) = room.reported
        assert name == "recording.gap"
        assert (fields["sid"], fields["user"], fields["login"]) == (subject.session, "alice", "pi")
        assert "no space left on the device" in str(fields["reason"])
        empty(tiny)
        played, _ = await room.record("echo there is room again")
    assert played.text("o") == "there is room again\n"


async def test_a_disk_that_fills_up_ends_the_session_where_it_must_be_recorded(
    own_controller: SimulatedController, tiny: Path
) -> None:
    async with recording_room(own_controller, tiny / "spool") as room:
        recorder = await room.recorder()
        told: list[str] = []
        session, witness = room.start(recorder, FLOOD + "; read line; echo done")

        def dismiss(text: str) -> None:
            told.append(text)
            session.hang_up(grace=0.1, spare=False)

        recorder.dismiss = dismiss
        async with asyncio.timeout(PATIENCE):
            await witness.over.wait()
        await sealed(room)
        played = room.play(recorder.subject.session)
        ((name, fields),) = room.reported
        assert (name, fields["sid"], fields["reason"]) == (
            "recording.gap",
            recorder.subject.session,
            "no space left on the device",
        )
        assert told == [explain(Refused("no space left on the device", "D3"))]
        assert played.seals[-1].reason == "stopped"
        assert witness.output_bytes.decode().startswith(played.text("o"))
        # Nothing is said twice, nor forgotten: but for what the program printed after it was told to end.
        assert 0 < int(str(fields["bytes"])) <= len(witness.output_bytes) - len(played.text("o"))


async def test_a_session_that_may_go_on_unrecorded_is_recorded_again_when_there_is_space(
    own_controller: SimulatedController, tiny: Path
) -> None:
    own_controller.mode = "best_effort"
    (tiny / "ballast").write_bytes(bytes(TINY // 2))
    async with recording_room(own_controller, tiny / "spool") as room:
        recorder = await room.recorder()
        session, witness = room.start(
            recorder, FLOOD + "; read line; echo unseen; echo end-of-it; read line; echo seen again", size=(80, 24)
        )
        heard: list[bool] = []
        recorder.changed = lambda: heard.append(recorder.is_recording)
        await until(lambda: bool(room.reported))
        session.feed(b"\n")
        session.resize((100, 40, 0, 0))
        await witness.wait_for(b"end-of-it")
        before = len(witness.output_bytes)
        empty(tiny)
        await until(lambda: not recorder._gathering.is_dropping and not recorder._is_busy)
        session.feed(b"\n")
        async with asyncio.timeout(PATIENCE):
            await witness.over.wait()
        await sealed(room)
        played = room.play(recorder.subject.session)
        missing = before - len(played.text("o").partition("\r\nseen again")[0])
        assert played.text("o").endswith("seen again\r\n")
        assert (heard[0], heard[-1]) == (False, True)
        assert "unseen" not in played.text("o")
        assert sum(int(text.removesuffix(" bytes not recorded")) for text in played.told("m")) == missing
        assert sum(int(str(fields["bytes"])) for _, fields in room.reported) == missing
        assert {fields["sid"] for _, fields in room.reported} == {recorder.subject.session}
        assert played.told("r") == ["100x40"]
        assert (played.told("x"), played.seals[-1].reason) == (["0"], "final")
        assert witness.how == Ended(0)


async def test_a_session_that_ends_unrecorded_still_has_its_end_told(
    own_controller: SimulatedController, tiny: Path
) -> None:
    own_controller.mode = "best_effort"
    async with recording_room(own_controller, tiny / "spool") as room:
        (tiny / "ballast").write_bytes(bytes(TINY // 2))
        recorder = await room.recorder()
        session, witness = room.start(recorder, FLOOD + "; read line; exit 3")
        await until(lambda: bool(room.reported) and not recorder._is_busy)
        await witness.wait_for(THE_LAST)
        empty(tiny)  # which nobody has noticed yet
        session.feed(b"\n")
        async with asyncio.timeout(PATIENCE):
            await witness.over.wait()
        await sealed(room)
        played = room.play(recorder.subject.session)
        missing = len(witness.output_bytes) - len(played.text("o"))
        assert played.told("m") == [f"{missing} bytes not recorded"]
        assert sum(int(str(fields["bytes"])) for _, fields in room.reported) == missing
        assert (played.told("x"), played.seals[-1].reason) == (["3"], "final")


async def test_a_disk_that_does_not_answer_ends_a_session_that_must_be_recorded(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    stuck = threading.Event()
    async with recording_room(own_controller, tmp_path / "spool", stall=0.3) as room:
        recorder = await room.recorder()
        told: list[str] = []
        room.studio.submit(lambda: stuck.wait(PATIENCE))  # as a disk that hangs: there is but one thread
        session, witness = room.start(recorder, "seq 1000000; read line; echo done")

        def dismiss(text: str) -> None:
            told.append(text)
            session.hang_up(grace=0.1, spare=False)

        recorder.dismiss = dismiss
        try:
            async with asyncio.timeout(PATIENCE):
                await witness.over.wait()
            assert [fields["reason"] for _, fields in room.reported] == ["the device's disk does not answer"]
            await sealed(room)  # nobody waits for such a disk
            assert isinstance(await room.studio.begin(room.subject()), Refused)  # at once
        finally:
            stuck.set()
        await until(lambda: [one.is_live for one in room.spool.waiting()] == [False])
        assert told == [explain(stalled())]
        assert room.play(recorder.subject.session).seals[-1].reason == "stopped"


async def test_a_session_that_may_go_on_does_not_wait_for_a_disk_that_does_not_answer(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    own_controller.mode = "best_effort"
    stuck = threading.Event()
    async with recording_room(own_controller, tmp_path / "spool", stall=0.3) as room:
        recorder = await room.recorder()
        room.studio.submit(lambda: stuck.wait(PATIENCE))
        session, witness = room.start(recorder, "seq 1000000; read line; echo done")
        try:
            await witness.wait_for(b"\n1000000\n")
            assert [fields["reason"] for _, fields in room.reported] == ["the device's disk does not answer"]
            assert await room.studio.begin(room.subject()) is None
        finally:
            stuck.set()
        await until(lambda: not recorder._gathering.is_dropping and not recorder._is_busy)
        session.feed(b"\n")
        async with asyncio.timeout(PATIENCE):
            await witness.over.wait()
        await sealed(room)
        assert len(room.spool.waiting()) == 1
        played = room.play(recorder.subject.session)
    assert played.text("o").endswith("done\n")
    assert played.told("m") == [f"{len(witness.output_bytes) - len(played.text('o'))} bytes not recorded"]


async def test_a_recording_that_begins_too_late_for_its_session_is_put_away(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    stuck = threading.Event()
    async with recording_room(own_controller, tmp_path / "spool", stall=0.3) as room:
        room.studio.submit(lambda: stuck.wait(PATIENCE))
        try:
            found = await room.studio.begin(room.subject())  # it waits, while the disk may still answer in time
            assert isinstance(found, Refused)
            assert found.check == "D8"
        finally:
            stuck.set()
        await until(lambda: [one.is_live for one in room.spool.waiting()] == [False])
        played = room.play(room.spool.waiting()[0].session)
        assert (played.text("oei"), played.seals[-1].reason) == ("", "final")
        assert (await room.record("echo it answers again"))[0].text("o") == "it answers again\n"


async def test_much_to_do_is_no_disk_that_does_not_answer(own_controller: SimulatedController, tmp_path: Path) -> None:
    async with recording_room(own_controller, tmp_path / "spool", stall=0.5) as room:
        recorder = await room.recorder()
        for _ in range(10):
            room.studio.submit(lambda: time.sleep(0.2))
        _, witness = room.start(recorder, "echo patience")
        async with asyncio.timeout(PATIENCE):
            await witness.over.wait()
        await sealed(room)
        assert room.reported == []
        assert room.play(recorder.subject.session).text("o") == "patience\n"


async def test_a_slow_disk_is_told_of(
    own_controller: SimulatedController, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        recorder = await room.recorder()
        recorder.output(b"x", "output")
        room.studio.submit(lambda: time.sleep(limits.RECORDING_LOSS_MAX.total_seconds() + 0.5))
        await until(lambda: "the disk is slow" in caplog.text)
        recorder.ended(Ended(0))
        await sealed(room)
    assert str(recorder.subject.session) in caplog.text


async def test_a_session_is_not_silently_unrecorded_where_no_thread_can_be_started(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        threading.stack_size(1 << 47)  # more than there can be
        try:
            found = await room.studio.begin(room.subject())
        finally:
            threading.stack_size(0)
        assert isinstance(found, Refused)
        assert found.reason == "the device cannot start another thread"
        await room.record("true")


async def test_the_memory_of_recording_is_given_back_after_the_last_session(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        recorder = await room.recorder()
        recorder.output(b"something", "output")
        recorder.ended(Ended(0))
        await until(lambda: frame._compressors.cache_info().currsize == frame._dictionary.cache_info().currsize == 0)
        assert (await room.record("echo once more"))[0].text("o") == "once more\n"


async def put_in_order(room: Room, place: Path) -> None:
    """Give the disk space, and have the recording that could not even be sealed ended."""
    empty(place)
    async with asyncio.timeout(PATIENCE):
        while any(one.is_live for one in room.spool.waiting()):  # noqa: ASYNC110 - tried again after some seconds
            await asyncio.sleep(0.05)


async def test_a_recording_that_cannot_even_be_sealed_is_when_there_is_space_again(
    own_controller: SimulatedController, tiny: Path
) -> None:
    async with recording_room(own_controller, tiny / "spool") as room:
        recorder = await room.recorder()
        path = room.spool.path(recorder.subject.session)
        # Up to where the disk's block is all but full: not even a seal fits any more.
        while path.stat().st_size % PAGE < PAGE - SEAL_SIZE + 1:
            recorder._tape.write([(0, "r", b"80x24")], 0)
        fill(tiny)
        recorder.output(b"no room for it", "output")
        await sealed(room)
        assert recorder in room.studio._put_off
        assert [one.is_live for one in room.spool.waiting()] == [True]
        await put_in_order(room, tiny)
        played = room.play(recorder.subject.session)
        assert played.seals[-1].reason == "stopped"
        assert set(played.told("r")) == {"80x24"}
        assert len(room.reported) == 1


async def test_the_quota_is_kept_and_what_was_recorded_before_stays_whole(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    own_controller.mode = "best_effort"
    async with recording_room(own_controller, tmp_path / "spool", quota=MIB) as room:
        before, _ = await room.record("echo before")
        recorder = await room.recorder()
        _, witness = room.start(recorder, FLOOD)
        async with asyncio.timeout(PATIENCE):
            await witness.over.wait()
        await sealed(room)
        assert room.spool.usage() <= MIB + 1024  # a seal may pass it
        assert "iB of recordings wait" in str(room.reported[0][1]["reason"])
        assert room.play(before.header.session) == before
        played = room.play(recorder.subject.session)
        assert played.told("m") == [f"{len(witness.output_bytes) - len(played.text('o'))} bytes not recorded"]
        assert (played.told("x"), played.seals[-1].reason) == (["0"], "final")
        room.spool.remove(recorder.subject.session)  # as when it was uploaded
        assert (await room.record("echo after"))[0].text("o") == "after\n"


async def test_a_disk_that_is_read_only_refuses_and_serves_again_when_it_is_not(
    own_controller: SimulatedController, tiny: Path
) -> None:
    async with recording_room(own_controller, tiny / "spool") as room:
        remount(tiny, "ro")
        found = await room.studio.begin(room.subject())
        assert isinstance(found, Refused)
        assert found.reason == "the device's disk is read-only"
        remount(tiny, "rw")
        await room.record("true")


async def test_a_spool_that_is_no_directory_refuses(own_controller: SimulatedController, tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"in the way")
    async with recording_room(own_controller, tmp_path / "spool") as room:
        found = await room.studio.begin(room.subject())
        assert isinstance(found, Refused)
        assert found.check == "D5"
        assert (tmp_path / "spool").read_bytes() == b"in the way"


async def test_a_key_that_is_none_refuses_and_nothing_is_written_in_the_clear(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    own_controller._recording_public = b"insecure: no key at all"
    async with recording_room(own_controller, tmp_path / "spool") as room:
        found = await room.studio.begin(room.subject())
        assert isinstance(found, Refused)
        assert found.check == "D6"
        assert room.spool.usage() == 0


async def test_a_fault_that_nobody_thought_of_ends_the_recording_and_not_the_agent(
    own_controller: SimulatedController, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_controller.mode = "best_effort"
    async with recording_room(own_controller, tmp_path / "spool") as room:
        recorder = await room.recorder()
        recorder._take("j", b"\xff")  # as no caller does
        recorder.ended(Ended(0))
        await sealed(room)
        assert [fields["reason"] for _, fields in room.reported] == ["the recorder failed"]
        assert "UnicodeDecodeError" in caplog.text
        assert room.play(recorder.subject.session).seals[-1].reason == "stopped"
        await room.record("true")


@pytest.mark.parametrize("behind", ["login", "recording"])
@pytest.mark.parametrize("how", ["gone", "dismissed"])
async def test_a_session_that_is_over_before_it_was_prepared_runs_nothing(
    own_controller: SimulatedController, tmp_path: Path, how: str, behind: str
) -> None:
    one_thread, stuck = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(one_thread)  # in which logins are looked up
    done = tmp_path / "done"
    tmp_path.chmod(0o777)  # noqa: ASYNC240 - at once
    person = own_controller.person("alice", (OWN,))
    async with (
        recording_room(own_controller, tmp_path / "spool") as room,
        inner_client(own_controller, person, OWN, studio=room.studio) as connection,
    ):
        if behind == "login":
            one_thread.submit(stuck.wait, PATIENCE)
            await until(lambda: one_thread._work_queue.qsize() == 0)
        else:
            room.studio.submit(lambda: stuck.wait(PATIENCE))
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(run_quietly(connection, f"touch {done}"))
            if behind == "login":
                await until(lambda: one_thread._work_queue.qsize() == 1)
            else:
                await until(lambda: room.studio._jobs == 2)
            (party,) = (found for found in gc.get_objects() if isinstance(found, Party) and found._is_preparing)
            if how == "gone":
                connection.abort()
                await until(lambda: party._is_gone)
            else:
                party.dismiss("the agent is stopping", 0.1)
            stuck.set()
            await asked
        await until(lambda: not party._is_preparing and not any(one.is_live for one in room.spool.waiting()))
        played = [room.play(one.session) for one in room.spool.waiting()]
    said = [] if (how, behind) == ("gone", "login") else ["" if how == "gone" else "Skerry: the agent is stopping\n"]
    assert [one.text("oe") for one in played] == said
    assert not any(one.told("x") for one in played)
    assert not done.exists()


@pytest.mark.parametrize("how", ["asked for", "changed"])
async def test_a_terminal_of_any_size_is_recorded_and_played(
    own_controller: SimulatedController, tmp_path: Path, how: str
) -> None:
    person = own_controller.person("alice", (OWN,))
    size = (70_000, 2**32 - 1) if how == "asked for" else (80, 24)
    async with (
        recording_room(own_controller, tmp_path / "spool") as room,
        inner_client(own_controller, person, OWN, studio=room.studio) as connection,
    ):
        process = await connection.create_process("read line; stty size", term_type="xterm", term_size=size)
        if how == "changed":
            process.change_terminal_size(2**32 - 1, 70_000)
        process.stdin.write("\n")
        async with asyncio.timeout(PATIENCE):
            await process.wait()
        await sealed(room)
        (waits,) = room.spool.waiting()
        played = room.play(waits.session)
    assert "65535 65535" in played.text("o")
    assert (played.first.width, played.first.height) == ((65535, 65535) if how == "asked for" else (80, 24))
    assert played.told("r") == ([] if how == "asked for" else ["65535x65535"])


async def test_a_fault_while_the_program_is_started_leaves_no_recording_open(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    def report(kind: EventKind, fields: Mapping[str, Json]) -> None:
        raise RuntimeError(kind.name, fields)

    person = own_controller.person("alice", (OWN,))
    async with (
        recording_room(own_controller, tmp_path / "spool") as room,
        inner_client(own_controller, person, OWN, studio=room.studio, report=report) as connection,
    ):
        await run_quietly(connection, "exec sleep 60")
        await until(lambda: [one.is_live for one in room.spool.waiting()] == [False])
        await sealed(room)
        (waits,) = room.spool.waiting()
        assert room.play(waits.session).seals[-1].reason == "final"
        assert not room.studio._open


async def run_quietly(connection: asyncssh.SSHClientConnection, command: str) -> None:
    with suppress(asyncssh.Error, OSError):
        await connection.run(command)


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not ready():  # noqa: ASYNC110 - threads and the other end tell nobody
            await asyncio.sleep(0.01)


# --- after a crash ----------------------------------------------------------------------------------------------------


async def test_what_a_crash_left_is_put_in_order_and_what_was_lost_is_reported(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        (whole, _), (torn, _), (headless, _) = [await room.record("echo kept; echo lost") for _ in range(3)]
        torn_path, headless_path = (room.spool.path(one.header.session) for one in (torn, headless))
        os.truncate(torn_path, torn_path.stat().st_size - 10)
        os.truncate(headless_path, 20)
        room.studio.open()  # as after a start
        await room.studio.run()
        assert room.play(whole.header.session) == whole
        assert room.play(torn.header.session).seals[-1].reason == "interrupted"
        assert not headless_path.exists()
        ((name, fields),) = room.reported
        assert (name, fields["sid"], fields["bytes"]) == ("recording.gap", headless.header.session, 20)
        assert len(room.spool.waiting()) == 2


async def test_what_a_crash_left_can_be_uploaded_one_by_one(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        for _ in range(3):
            await room.record("true")
        room.studio.open()  # as after a start
        seen: list[int] = []
        room.spool.on_change = lambda: seen.append(len(room.spool.waiting()))
        await room.studio.run()
    assert seen == [1, 2, 3]


async def test_a_key_that_cannot_be_used_ends_neither_the_agent_nor_the_hope_for_what_was_left_behind(
    own_controller: SimulatedController, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with recording_room(own_controller, tmp_path / "spool") as room:
        await room.record("true")
        room.studio.open()
        good = room.studio._identity
        room.studio._identity = replace(good, host_private=Secret(b"insecure: no key at all"))
        async with asyncio.TaskGroup() as group:
            group.create_task(room.studio.run())
            await until(lambda: "cannot be put in order" in caplog.text)
            room.studio.stop()
        assert room.spool.left_behind == 1
