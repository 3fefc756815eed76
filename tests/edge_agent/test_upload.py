from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.child import Children
from edge_agent.courier import Address
from edge_agent.policy.upload import RecordingSettings, Window
from edge_agent.spool import REFUSED, Spool
from edge_agent.upload import Uploader
from protocol import events
from protocol.events import EventKind, Json
from protocol.names import SessionId
from protocol.recording import framing
from tests.harness.simulated_uploads import Fault, SimulatedUploads

USUAL = RecordingSettings()


def at(hour: int, minute: int = 0, second: int = 0) -> int:
    """Return a time of the day at this machine's place, in milliseconds since 1970."""
    return int(datetime(2026, 11, 22, hour, minute, second).timestamp() * 1000)  # noqa: DTZ001 - the place's own


NOON = at(12)


def made_up(size: int, seed: int = 0) -> bytes:
    """Return a recording of at least `size` bytes, as far as an uploader looks into it."""
    noise, position = random.Random(seed), framing.START  # noqa: S311 - hides nothing
    records = [framing.MAGIC]
    while position.offset < size:
        body = noise.randbytes(min(4000, max(1, size - position.offset)))
        record, position = framing.add("D", body, position)
        records.append(record)
    return b"".join(records)


def new_session() -> SessionId:
    return SessionId(str(uuid.uuid4()))


class Device:
    """A spool, and what sessions on the device do to it."""

    def __init__(self, directory: Path) -> None:
        self.spool = Spool(directory / "spool", quota=2**40, min_free=0)
        self.spool.open()
        self.reported: list[tuple[str, Mapping[str, Json]]] = []

    def keep(self, data: bytes, modified: int = 1000, session: SessionId | None = None) -> SessionId:
        """Have a recording that ended at `modified`."""
        session = session or new_session()
        with os.fdopen(self.spool.create(session), "wb") as file:
            file.write(data)
        self.spool.grew(len(data))
        os.utime(self.spool.path(session), (modified, modified))
        self.spool.ended(session)
        self.spool.on_change()
        return session

    def start(self) -> tuple[SessionId, int]:
        """Begin a recording."""
        session = new_session()
        return session, self.spool.create(session)

    def write(self, session: SessionId, fd: int, data: bytes) -> None:
        os.write(fd, data)
        os.fdatasync(fd)
        self.spool.synced(session, os.fstat(fd).st_size)
        self.spool.on_change()

    def end(self, session: SessionId, fd: int) -> None:
        os.close(fd)
        self.spool.ended(session)
        self.spool.on_change()

    def report(self, kind: EventKind, fields: Mapping[str, Json]) -> None:
        events.check_event(kind, {"server_id": "6f", "server_hostname": "gw-1", **fields})
        self.reported.append((kind.code, fields))

    def span(self) -> tuple[datetime, datetime]:
        now = datetime.now(UTC)
        return now, now

    def files(self) -> list[str]:
        return sorted(path.name for path in self.spool.directory.iterdir())


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[SimulatedUploads]:
    directory = tmp_path / "controller"
    directory.mkdir()
    simulated = SimulatedUploads(directory).start()
    yield simulated
    simulated.stop()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@contextlib.asynccontextmanager
async def uploading(
    device: Device, address: Address, settings: RecordingSettings = USUAL, children: Children | None = None
) -> AsyncIterator[Uploader]:
    watch = children or Children(asyncio.get_running_loop())
    uploader = Uploader(
        device.spool,
        lambda: address,
        watch,
        settings,
        times=lambda: (NOON, NOON),
        span=device.span,
        report=device.report,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(uploader.run())
        yield uploader
        uploader.stop()
    if children is None:
        watch.close()


async def until(uploads: SimulatedUploads, look: object, what: str) -> None:
    assert callable(look)
    await asyncio.to_thread(uploads.wait_for, look, what)


async def eventually(look: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not look():  # noqa: ASYNC110 - files and log lines set no event
            await asyncio.sleep(0.02)


async def emptied(device: Device) -> None:
    await eventually(lambda: not device.spool.waiting())


def worker_of(uploader: Uploader) -> int:
    process = uploader._worker._process
    assert process is not None
    return process.pid


async def test_what_waits_arrives_whole_and_is_removed(device: Device, uploads: SimulatedUploads) -> None:
    data = {device.keep(recording): recording for recording in (made_up(100), made_up(300_000), made_up(2_000_000))}
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert {session: bytes(held) for session, held in uploads.held.items()} == data
    assert uploads.connections == 1


async def test_a_live_recording_arrives_as_it_grows_and_ends_with_it(device: Device, uploads: SimulatedUploads) -> None:
    data, session_and_file = made_up(9000), device.start()
    session, _ = session_and_file
    async with uploading(device, uploads.address()):
        for begin in range(0, len(data), 3000):
            device.write(*session_and_file, data[begin : begin + 3000])
            await until(uploads, lambda begin=begin: len(uploads.held.get(session, b"")) >= begin + 1, "the next piece")
        await until(uploads, lambda: uploads.held[session] == data, "all there is")
        assert session not in uploads.whole
        assert device.spool.waiting()
        device.end(*session_and_file)
        await emptied(device)
    assert uploads.held[session] == data
    assert uploads.count("HEAD") == 0


async def test_a_live_recording_goes_before_a_backlog(device: Device, uploads: SimulatedUploads) -> None:
    device.keep(made_up(3_000_000))
    session, file = device.start()
    gate = threading.Event()
    uploads.break_once(Fault("PATCH", hold=gate))
    async with uploading(device, uploads.address()):
        await until(uploads, lambda: uploads.count("POST") == 1, "the first upload")
        device.write(session, file, made_up(500))
        gate.set()
        await until(uploads, lambda: session in uploads.held, "the live one")
        assert not uploads.whole
        device.end(session, file)
        await emptied(device)


async def test_several_live_recordings_take_turns(device: Device, uploads: SimulatedUploads) -> None:
    live = [device.start() for _ in range(3)]
    for session, file in live:
        device.write(session, file, made_up(1_000_000))
    async with uploading(device, uploads.address()):
        await until(uploads, lambda: uploads.count("PATCH") >= 9, "pieces of all")
        pieces = [one.session for one in uploads.seen if one.method == "PATCH"][:9]
        assert all(len(set(pieces[turn : turn + 3])) == 3 for turn in (0, 3, 6))
        for session, file in live:
            device.end(session, file)
        await emptied(device)


@pytest.mark.parametrize("seed", range(3))
async def test_an_upload_goes_on_at_the_byte_wherever_it_was_cut(
    device: Device, uploads: SimulatedUploads, seed: int
) -> None:
    dice, data = random.Random(seed), made_up(400_000, seed)  # noqa: S311 - hides nothing
    session = device.keep(data)
    for _ in range(6):
        lost, cut = Fault("PATCH", loses_answer=True), Fault("PATCH", cut_after=dice.randrange(3000))
        uploads.break_once(dice.choice([lost, cut]))
    async with uploading(device, uploads.address()) as uploader:
        await eventually(lambda: (uploader.hurry(), not device.spool.waiting())[1])  # type: ignore[func-returns-value]  # by and by
    taken = [one for one in uploads.seen if one.method == "PATCH" and one.status == 204]
    assert uploads.held[session] == data
    assert sum(one.size for one in taken) <= len(data)


async def test_the_worker_may_be_killed_at_any_time(device: Device, uploads: SimulatedUploads) -> None:
    data = made_up(400_000)
    session = device.keep(data)
    async with uploading(device, uploads.address()) as uploader:
        for method in ("HEAD", "POST", "PATCH", "PATCH", "PATCH"):
            gate = threading.Event()
            uploads.break_once(Fault(method, hold=gate))
            await until(uploads, lambda gate=gate: gate in uploads.holding, "a request on its way")
            os.kill(worker_of(uploader), signal.SIGKILL)
            gate.set()
        await emptied(device)
    assert uploads.held[session] == data


async def test_an_agent_that_begins_anew_asks_where_each_upload_stands(
    device: Device, uploads: SimulatedUploads
) -> None:
    data = made_up(300_000)
    session = device.keep(data)
    uploads.held[session] = bytearray(data[:123_456])
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert uploads.held[session] == data
    assert next(one.offset for one in uploads.seen if one.method == "PATCH") == 123_456
    assert uploads.count("POST") == 0


async def test_what_the_controller_has_whole_is_removed_without_sending_it_again(
    device: Device, uploads: SimulatedUploads
) -> None:
    data = made_up(9_000_000)
    session = device.keep(data)
    uploads.held[session] = bytearray(data)
    uploads.whole.add(session)
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert [one.method for one in uploads.seen] == ["HEAD"]


@pytest.mark.parametrize("offset", ["-1", "many", "", "9" * 30, "1_000", "\u0661"])
async def test_a_controller_that_lies_about_the_offset_holds_up_that_recording_alone(
    device: Device, uploads: SimulatedUploads, offset: str, caplog: pytest.LogCaptureFixture
) -> None:
    liar, other = device.keep(made_up(5000), modified=2000), device.keep(made_up(5000, 1), modified=1000)
    header = {"Upload-Offset": offset.encode().decode("latin-1")}
    uploads.break_once(Fault("HEAD", liar, status=200, headers=header, times=10_000))
    async with uploading(device, uploads.address()):
        await until(uploads, lambda: other in uploads.whole, "the other one")
        await until(uploads, lambda: uploads.count("HEAD", liar) >= 2, "another look")
        uploads.mend()
        await emptied(device)
    assert uploads.whole == {liar, other}
    assert [record.levelname for record in caplog.records if liar in record.message] == ["WARNING"]


async def test_what_the_controller_holds_more_of_than_the_device_is_put_aside_and_told(
    device: Device, uploads: SimulatedUploads
) -> None:
    data = made_up(5000)
    shrunk, other = device.keep(made_up(3000), modified=2000), device.keep(made_up(5000, 1), modified=1000)
    uploads.held[shrunk] = bytearray(data)
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert uploads.whole == {other}
    assert device.files() == [f"{shrunk}{REFUSED}"]
    assert uploads.count("HEAD", shrunk) == 1
    ((code, fields),) = device.reported
    assert (code, fields["sid"]) == ("SK035W", shrunk)
    assert f"the controller holds {len(data)} bytes" in str(fields["reason"])


async def test_a_recording_whose_hash_differs_is_kept_and_told(
    device: Device, uploads: SimulatedUploads, caplog: pytest.LogCaptureFixture
) -> None:
    other = device.keep(made_up(5000), modified=1000)
    differing = device.keep(made_up(5000, 1), modified=2000)
    uploads.held[differing] = bytearray(made_up(5000, 2))
    uploads.whole.add(differing)
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert uploads.whole == {differing, other}
    assert device.files() == [f"{differing}{REFUSED}"]
    assert "its hash differs" in caplog.text
    ((code, fields),) = device.reported
    assert (code, fields["sid"]) == ("SK035W", differing)
    assert "its hash differs" in str(fields["reason"])


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH"])
@pytest.mark.parametrize("status", [410, 413, 422])
async def test_a_refused_recording_stays_and_the_next_one_goes_through(
    device: Device, uploads: SimulatedUploads, method: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = made_up(1500)
    refused, other = device.keep(data, modified=2000), device.keep(made_up(5000, 1), modified=1000)
    uploads.break_once(Fault(method, refused, status=status, times=10_000))
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert uploads.whole == {other}
    assert (device.spool.directory / f"{refused}{REFUSED}").read_bytes() == data
    assert [record.levelname for record in caplog.records if refused in record.message] == ["ERROR"]
    ((code, fields),) = device.reported
    assert (code, fields["sid"], fields["bytes"]) == ("SK035W", refused, len(data))


async def test_a_live_recording_that_is_refused_is_put_aside_when_it_ends(
    device: Device, uploads: SimulatedUploads
) -> None:
    session, file = device.start()
    uploads.break_once(Fault("PATCH", status=422))
    async with uploading(device, uploads.address()):
        device.write(session, file, made_up(500))
        await until(uploads, lambda: uploads.count("PATCH", status=422), "the refusal")
        device.write(session, file, made_up(500))
        assert device.files() == [f"{session}.skr"]
        device.end(session, file)
        await emptied(device)
    assert device.files() == [f"{session}{REFUSED}"]
    assert uploads.count("PATCH") == 1


@pytest.mark.parametrize("status", [409, 423, 460])
async def test_after_a_conflict_the_agent_asks_where_it_stands(
    device: Device, uploads: SimulatedUploads, status: int
) -> None:
    data = made_up(100_000)
    session = device.keep(data)
    uploads.break_once(Fault("PATCH", status=status))
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert uploads.held[session] == data
    assert [one.method for one in uploads.seen[:5]] == ["HEAD", "POST", "PATCH", "HEAD", "PATCH"]


@pytest.mark.parametrize("status", [503, 507, 429])
async def test_a_controller_that_asks_for_it_is_left_alone(
    device: Device, uploads: SimulatedUploads, status: int
) -> None:
    sessions = [device.keep(made_up(1000, seed)) for seed in range(3)]
    uploads.break_once(Fault("HEAD", status=status, headers={"Retry-After": "1000000"}))
    async with uploading(device, uploads.address()) as uploader:
        await until(uploads, lambda: uploads.count("HEAD") == 1, "the first try")
        await eventually(lambda: uploader._failures)
        steps = uploader._turn
        for wake in (uploader.wake, uploader.hurry):
            wake()
            await eventually(lambda: not uploader._changed.is_set())  # it has taken note, and acted
            assert uploader._turn == steps
        assert 2000 < uploader._rest_until - time.monotonic() < 3700
    assert len(uploads.seen) == 1
    assert {one.session for one in device.spool.waiting()} == set(sessions)


async def test_an_upload_goes_on_as_soon_as_the_link_is_known_to_be_back(
    device: Device, uploads: SimulatedUploads, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "skerry.agent")
    data = made_up(1000)
    session = device.keep(data)
    uploads.break_once(Fault("HEAD", status=503, times=10_000))
    async with uploading(device, uploads.address()) as uploader:
        await eventually(lambda: (uploader.hurry(), uploads.count("HEAD") > 9)[1])  # type: ignore[func-returns-value]  # tries
        uploads.mend()
        uploader.hurry()
        await emptied(device)
    assert uploads.held[session] == data
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_what_breaks_the_controller_does_not_hold_up_the_others(
    device: Device, uploads: SimulatedUploads
) -> None:
    poison, other = device.keep(made_up(5000), modified=2000), device.keep(made_up(500_000, 1), modified=1000)
    uploads.break_once(Fault("PATCH", poison, status=500, times=10_000))
    async with uploading(device, uploads.address()):
        await until(uploads, lambda: other in uploads.whole, "the other one")


def refused(uploads: SimulatedUploads) -> set[str]:
    """Return whose uploads were refused."""
    return {one.session for one in uploads.seen if one.status == 403}


async def test_what_a_person_put_there_or_took_away_is_noticed_while_something_waits(
    device: Device, uploads: SimulatedUploads
) -> None:
    waits, gone = device.keep(made_up(1000)), device.keep(made_up(1000))
    uploads.break_once(Fault("HEAD", waits, status=403, times=10_000))
    uploads.break_once(Fault("HEAD", gone, status=403, times=10_000))
    async with uploading(device, uploads.address()) as uploader:
        await until(uploads, lambda: refused(uploads) == {waits, gone}, "both tries")
        device.spool.path(gone).unlink()
        came = new_session()
        device.spool.path(came).write_bytes(made_up(1000, 1))
        uploader._rescan_at = 0.0  # as when a minute has passed
        uploader.wake()
        await until(uploads, lambda: came in uploads.whole, "what came")
        await eventually(lambda: {one.session for one in device.spool.waiting()} == {waits})
        await eventually(lambda: len(uploader._agenda) == 1)


async def test_a_device_that_has_no_thread_to_give_tries_again(
    device: Device, uploads: SimulatedUploads, caplog: pytest.LogCaptureFixture
) -> None:
    session, gate = device.keep(made_up(1000)), threading.Event()
    uploads.break_once(Fault("HEAD", hold=gate))
    async with uploading(device, uploads.address()):
        await eventually(lambda: gate in uploads.holding)  # the server has its thread
        threading.stack_size(1 << 47)  # more than there can be
        try:
            gate.set()
            await eventually(lambda: "its file cannot be removed" in caplog.text)
        finally:
            threading.stack_size(0)
        await emptied(device)
    assert session in uploads.whole
    assert device.files() == []


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_what_has_ended_goes_in_the_order_that_is_set(
    device: Device, uploads: SimulatedUploads, order: str
) -> None:
    by_age = [device.keep(made_up(3000, seed), modified=1000 + seed) for seed in range(5)]
    async with uploading(device, uploads.address(), RecordingSettings(upload_order=order)):  # type: ignore[arg-type]  # one of the two
        await emptied(device)
    begun = [one.session for one in uploads.seen if one.method == "POST"]
    assert begun == (by_age if order == "oldest" else by_age[::-1])


async def test_nothing_is_sent_while_the_window_is_closed(
    device: Device, uploads: SimulatedUploads, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "skerry.agent")
    device.keep(made_up(1000))
    session, file = device.start()
    data = made_up(3000)
    clock = [at(21, 59, 59)]
    midnight = at(0)  # by the device's own clock, which was never set
    children = Children(asyncio.get_running_loop())
    settings = RecordingSettings(upload_window=Window(22 * 60, 6 * 60))
    asked: list[int] = []

    def times() -> tuple[int, int]:
        asked.append(clock[0])
        return midnight, clock[0]

    uploader = Uploader(
        device.spool, uploads.address, children, settings, times=times, span=device.span, report=device.report
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(uploader.run())
        for piece in (data[:1000], data[1000:2000], data[2000:]):
            so_far = len(asked)
            device.write(session, file, piece)
            await eventually(lambda so_far=so_far: len(asked) > so_far)  # type: ignore[misc]  # it has looked, and acted
            assert uploader._worker._process is None
        clock[0] = at(22)
        await until(uploads, lambda: len(uploads.held.get(session, b"")) > 0, "what waited")
        device.end(session, file)
        await emptied(device)
        uploader.stop()
    children.close()
    assert [record.message for record in caplog.records] == ["2 recordings wait for the upload window 22:00-06:00"]


async def test_the_end_of_a_session_is_sent_before_the_agent_stops(device: Device, uploads: SimulatedUploads) -> None:
    device.keep(made_up(50_000_000))
    session, file = device.start()
    data = made_up(5000)
    async with uploading(device, uploads.address(), RecordingSettings(upload_order="oldest")) as uploader:
        device.write(session, file, data[:3000])
        await until(uploads, lambda: len(uploads.held.get(session, b"")) == 3000, "the beginning")
        device.write(session, file, data[3000:])
        device.end(session, file)
        uploader.stop()
    assert uploads.held[session] == data
    assert session in uploads.whole
    assert len(device.files()) == 1


async def test_an_agent_that_stops_says_what_it_leaves_for_later(
    device: Device, uploads: SimulatedUploads, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "skerry.agent")
    device.keep(made_up(50_000))
    async with uploading(device, uploads.address(), RecordingSettings(upload_rate=4000)) as uploader:
        await until(uploads, lambda: uploads.count("PATCH") >= 1, "the first piece")
        uploader.stop()
    told = "1 recording waits: what is under way is sent for a few seconds more, the rest after the next start"
    assert [record.message for record in caplog.records].count(told) == 1


async def test_an_agent_that_stops_leaves_no_worker_behind(device: Device, uploads: SimulatedUploads) -> None:
    device.keep(made_up(1000))
    async with uploading(device, uploads.address()) as uploader:
        await emptied(device)
        pid = worker_of(uploader)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_server_that_is_not_the_controller_s_is_told_nothing(
    device: Device, uploads: SimulatedUploads, caplog: pytest.LogCaptureFixture
) -> None:
    device.keep(made_up(1000))
    async with uploading(device, uploads.address(name="api.elsewhere")):
        await eventually(lambda: "certificate is not good" in caplog.text)
    assert uploads.seen == []
    assert device.spool.waiting()


async def test_a_file_that_cannot_be_read_holds_up_no_other(
    device: Device, uploads: SimulatedUploads, caplog: pytest.LogCaptureFixture
) -> None:
    torn = device.keep(made_up(5000)[:-3], modified=2000)
    other = device.keep(made_up(5000, 1), modified=1000)
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert other in uploads.whole
    assert device.files() == [f"{torn}{REFUSED}"]
    assert "ends in the middle of a record" in caplog.text
    ((code, fields),) = device.reported
    assert (code, fields["sid"]) == ("SK035W", torn)


async def test_a_large_upload_is_logged_when_it_begins_and_ends(
    device: Device, uploads: SimulatedUploads, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "skerry.agent")
    large = device.keep(made_up(12 * 2**20))
    device.keep(made_up(5000, 1))
    async with uploading(device, uploads.address()):
        await emptied(device)
    assert [record.message for record in caplog.records] == [
        f"uploading recording {large}: 12 MiB to go",
        f"recording {large} has been uploaded (12 MiB)",
    ]
