"""The bytes of a recording, fetched over real HTTPS by one who is patient, but not for ever."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from protocol import limits
from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.tape import Tape, short_tape
from tests.harness.tsh_program import TshProgram
from tsh.archive import Archive
from tsh.content import PATIENCE, DoorContent, FileContent
from tsh.error import TshError
from tsh.setting import Settings


@dataclass
class Clock:
    """A clock that goes on only while somebody pauses."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def archive(alice: TshProgram, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setenv("SKERRY_HOME", str(alice.home))
    return Archive(Settings())


def content(archive: Archive, tape: Tape, clock: Clock, *, keep: bool = True) -> DoorContent:
    return DoorContent(archive, tape.session, total=len(tape.content), keep=keep, clock=clock)


def test_an_outage_is_waited_out_for_longer_and_longer(proxy: SimulatedProxy, archive: Archive) -> None:
    tape, clock = short_tape(), Clock()
    proxy.recordings.show(tape)
    proxy.recordings.outages = 6
    fetched = content(archive, tape, clock)
    assert b"".join(fetched.pieces(clock.pause)) == tape.content
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert fetched.at(8, 100) == tape.content[8:108]
    fetched.close()
    archive.close()


def test_after_a_minute_it_is_given_up_with_what_to_do(proxy: SimulatedProxy, archive: Archive) -> None:
    tape, clock = short_tape(), Clock()
    proxy.recordings.show(tape, "arriving", size=100)
    fetched = content(archive, tape, clock)
    pieces = fetched.pieces(clock.pause)
    assert next(pieces) == tape.content[:100]
    proxy.recordings.outages = 1_000
    with pytest.raises(TshError, match=r"after 100 B of .* no more came for 60 seconds: cannot reach .*play it again"):
        next(pieces)
    assert PATIENCE < clock.now < PATIENCE + 10
    fetched.close()
    archive.close()


def test_a_slow_link_is_asked_for_less_at_a_time(proxy: SimulatedProxy, archive: Archive) -> None:
    tape, clock = Tape(), Clock()
    tape.records.append(bytes(6 * limits.RECORDING_PIECE_MAX))
    proxy.recordings.show(tape)
    fetched = content(archive, tape, clock, keep=False)
    pieces = fetched.pieces(clock.pause)
    for _ in range(8):
        next(pieces)
    quick = [size for _, size in proxy.recordings.asked]
    assert quick == [8_192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 524_288]
    fetched._clock = lambda: clock.now + 3.0 * len(proxy.recordings.asked)
    for _ in range(2):
        next(pieces)
    assert [size for _, size in proxy.recordings.asked][8:] == [524_288, 262_144]
    fetched.close()
    archive.close()


def test_what_arrives_live_is_asked_for_twice_a_second(proxy: SimulatedProxy, archive: Archive) -> None:
    tape, clock = short_tape(), Clock()
    shown = proxy.recordings.show(tape, "arriving", size=100)
    fetched = content(archive, tape, clock)
    pieces = fetched.pieces(clock.pause)
    assert [next(pieces), next(pieces), next(pieces)] == [tape.content[:100], b"", b""]
    assert clock.pauses == [0.5]
    shown.content, shown.state = tape.content, "complete"
    assert b"".join(pieces) == tape.content[100:]
    assert (fetched.held, fetched.total, fetched.state) == (len(tape.content), len(tape.content), "complete")
    fetched.close()
    archive.close()


def test_no_room_for_what_is_kept_says_which_folder(
    proxy: SimulatedProxy, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, clock = Tape(), Clock()
    tape.records += [bytes(limits.RECORDING_PIECE_MAX)] * 20
    proxy.recordings.show(tape)
    fetched = content(archive, tape, clock)
    monkeypatch.setattr("tempfile.tempdir", "/proc/self/no-such")
    with pytest.raises(TshError, match=r"cannot keep it in /proc/self/no-such \(No such file.* TMPDIR"):
        for _ in fetched.pieces(clock.pause):
            pass
    assert fetched.held == 8 * 1024 * 1024 // limits.RECORDING_PIECE_MAX * limits.RECORDING_PIECE_MAX - 8_192
    fetched.close()
    archive.close()


def test_a_file_is_read_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8192)
    file = FileContent(path)
    assert b"".join(file.pieces(lambda _: None)) == path.read_bytes()
    assert file.at(255, 3) == b"\xff\x00\x01"
    assert (file.held, file.total) == (2_097_152, 2_097_152)
    file.close()
