"""Fetching in the background, while somebody else reads."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from protocol.recording.cast import CastHeader, Event
from protocol.recording.fault import RecordingError
from tests.harness.tape import Tape, short_tape
from tsh.content import Content, FileContent, Pause
from tsh.recording import Block, CastFile, Recording, SealedRecording
from tsh.reel import Reel
from tsh.scene import Scene

MEGABYTE = 1024 * 1024
PATIENCE = 20


@dataclass
class MadeUp:
    """A recording of blocks of one megabyte and one second each, that come as the test lets them.

    Attributes:
        came: for each block, which one was being played when it was asked for.
    """

    count: int
    content: Content
    edge_after: int = -1
    bad: int = -1
    note: str = ""
    length: int = 0
    reel: Reel | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    came: list[int] = field(default_factory=list)

    def blocks(self, pause: Pause) -> Iterator[Block | None]:
        for number in range(self.count):
            if number == self.edge_after:
                yield None
                pause(0)
                assert self.go_on.wait(PATIENCE)
            assert self.reel
            self.came.append(self.reel._wanted_block)
            yield Block(number, number * 1000, number * MEGABYTE, MEGABYTE, b"")
        raise RecordingError("F12", self.count, "cut off")

    def lines(self, block: Block) -> bytes:
        return b"".join(item.line() for item in self.open(block))

    def open(self, block: Block) -> list[CastHeader | Event]:
        if block.number == self.bad:
            raise RecordingError("O1", block.number, "does not open")
        return [Event(block.begin, "o", str(block.number))]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FileContent]:
    path = tmp_path / "file"
    path.touch()
    content = FileContent(path)
    yield content
    content.close()


def reel_of(made_up: MadeUp) -> Reel:
    made_up.reel = Reel(made_up)
    return made_up.reel


def await_change(reel: Reel) -> None:
    ready, _, _ = select.select([reel.changes], [], [], PATIENCE)
    assert ready
    reel.hear()


def await_progress(reel: Reel, progress: str) -> None:
    while reel.progress != progress:
        await_change(reel)


def test_no_more_is_fetched_ahead_than_is_allowed(file: FileContent) -> None:
    made_up = MadeUp(60, file)
    reel = reel_of(made_up)
    with reel.fetched():
        for block in range(40):
            while reel.count <= block:
                await_change(reel)
            reel.want(block, 0.0)
        reel.want(59, 0.0)
        await_progress(reel, "over")
    assert reel.count == 60
    assert [number for number, played in enumerate(made_up.came) if number - played > 17] == []


def test_as_much_as_somebody_goes_forward_is_fetched(file: FileContent) -> None:
    made_up = MadeUp(60, file)
    reel = reel_of(made_up)
    with reel.fetched():
        reel.want(0, 50_000.0)
        while reel.count <= 50:
            await_change(reel)
    assert max(made_up.came) == 0


def test_it_tells_of_the_edge_and_of_what_comes_after(file: FileContent) -> None:
    made_up = MadeUp(3, file, edge_after=2)
    reel = reel_of(made_up)
    with reel.fetched():
        await_progress(reel, "edge")
        assert reel.count == 2
        made_up.go_on.set()
        await_progress(reel, "over")
    assert reel.count == 3
    assert str(reel.fault) == "record 3: cut off (F12)"


def test_a_block_that_does_not_open_is_the_end(file: FileContent) -> None:
    reel = reel_of(MadeUp(5, file, bad=3))
    with reel.fetched():
        await_progress(reel, "over")
    assert [event.data for block in range(3) for event in reel.events(block)] == ["0", "1", "2"]
    assert reel.events(3) == ()
    assert (reel.count, str(reel.fault)) == (3, "record 3: does not open (O1)")


def test_what_comes_after_a_block_that_does_not_open_is_not_there(file: FileContent) -> None:
    made_up = MadeUp(5, file, edge_after=4, bad=1)
    reel = reel_of(made_up)
    with reel.fetched() as _:
        await_progress(reel, "edge")
        reel.events(1)
        made_up.go_on.set()
    assert (reel.count, reel.progress) == (1, "over")


@pytest.mark.parametrize("encrypted", [True, False])
def test_blocks_can_be_opened_again_in_any_order(tmp_path: Path, encrypted: bool) -> None:
    from protocol.recording import cipher
    from protocol.recordings import RecordingKey

    tape = short_tape(recipient=("0d9f0c9e-6f6c-4a53-8f0e-0a3d5c1f2b11", cipher.generate()[1]) if encrypted else None)
    path = tmp_path / "session.skr"
    path.write_bytes(tape.content)
    content = FileContent(path)
    recording: Recording = SealedRecording(content, RecordingKey(tape.key, tape.signer))
    reel = Reel(recording)
    with reel.fetched():
        await_progress(reel, "over")
    assert reel.fault is None
    assert [[event.data for event in reel.events(block)] for block in (3, 1, 2, 0)] == [
        ["0"],
        ["$ echo grüß\r\n"],
        ["grüß\r\n"],
        [],
    ]
    assert reel.header is not None
    assert (reel.header.width, reel.length, reel.begin(2)) == (80, 2000, 1500)
    content.close()


def test_it_knows_how_large_blocks_are_unpacked_and_what_the_screen_was_like(tmp_path: Path) -> None:
    tape = Tape().head().output(500, "y\r\n" * 20_000).output(1000, "\x1b[?1049h").events(Event(1500, "r", "90x30"))
    path = tmp_path / "session.skr"
    path.write_bytes(tape.seal("final", 2000).content)
    content = FileContent(path)
    reel = Reel(SealedRecording(content, None))
    with reel.fetched():
        await_progress(reel, "over")
    assert path.stat().st_size < 10_000
    assert 60_000 < reel.size(1) < 120_000
    assert [reel.scene(block) for block in range(5)] == [
        Scene(),
        Scene(),
        Scene(),
        Scene(alternate=True),
        Scene(alternate=True, size=(90, 30)),
    ]
    assert reel.arrived == (path.stat().st_size,) * 2
    content.close()


def test_an_empty_cast_has_a_header_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "session.cast"
    path.write_text('{"version": 2, "width": 90, "height": 24}')
    content = FileContent(path)
    reel = Reel(CastFile(content))
    with reel.fetched():
        await_progress(reel, "over")
    assert (reel.count, reel.fault) == (1, None)
    assert reel.events(0) == []
    assert reel.header is not None
    assert reel.header.width == 90
    content.close()
