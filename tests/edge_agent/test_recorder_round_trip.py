"""Whatever a tap can be told is on record, and is read again."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.child import Ended
from edge_agent.recorder import Recorder, Subject
from protocol.names import SessionId
from tests.harness.recording_room import PATIENCE, Played, recording_room
from tests.harness.simulated_controller import SimulatedController

UINT32 = st.integers(0, 2**32 - 1)
BYTES = st.binary(max_size=50) | st.sampled_from([b"\0", b"\xf0\x9f\x98", b'[0.000,"j","mallory"]\n', b"\x1b[2J"])
OUTPUT = st.builds(lambda data, size: data * size, BYTES, st.sampled_from([1, 2, 100, 5000]))
SAID = st.one_of(
    st.tuples(st.just("o"), OUTPUT),
    st.tuples(st.just("e"), OUTPUT),
    st.tuples(st.just("r"), st.tuples(UINT32, UINT32, UINT32, UINT32)),
    st.tuples(st.just("j"), st.text(max_size=20).map(lambda text: text.encode(errors="replace").decode())),
)
SUBJECTS = st.tuples(st.text(max_size=50), st.none() | st.tuples(UINT32, UINT32), st.text(max_size=20))


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedController]:
    directory = tmp_path_factory.mktemp("controller")
    simulated = SimulatedController(directory).start()
    yield simulated
    simulated.stop()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(about=SUBJECTS, said=st.lists(SAID, max_size=8))
def test_whatever_a_tap_is_told_is_read_again(
    controller: SimulatedController,
    about: tuple[str, tuple[int, int] | None, str],
    said: list[tuple[str, Any]],
) -> None:
    played = asyncio.run(record(controller, about, said))
    for code in "oe":
        whole = b"".join(data for kind, data in said if kind == code)
        if not any(event.data.split(" ")[1] == code for event in played.events if event.code == "b"):
            assert played.text(code) == whole.decode(errors="replace")
    sizes = [f"{min(size[0], 65535)}x{min(size[1], 65535)}" for kind, size in said if kind == "r"]
    assert played.told("r") == sizes
    assert played.told("j") == ["alice", *(user for kind, user in said if kind == "j" and user)]
    assert (played.told("x"), played.seals[-1].reason) == (["0"], "final")
    assert played.first.command == about[0].encode(errors="replace").decode()
    columns, rows = about[1] or (played.first.width, played.first.height)
    assert (played.first.width, played.first.height) == (min(columns, 65535), min(rows, 65535))


async def record(
    controller: SimulatedController, about: tuple[str, tuple[int, int] | None, str], said: list[tuple[str, Any]]
) -> Played:
    command, size, term = about
    with tempfile.TemporaryDirectory() as directory:
        async with recording_room(controller, Path(directory) / "spool") as room:
            subject = Subject(SessionId(str(uuid.uuid4())), "alice", "pi", command, size, term, "/bin/sh")
            recorder = await room.studio.begin(subject)
            assert isinstance(recorder, Recorder)
            for what in said:
                match what:
                    case ("o" | "e") as code, bytes(data):
                        recorder.output(data, "error" if code == "e" else "output")
                    case "r", terminal:
                        recorder.resized(terminal)
                    case _, str(user):
                        recorder.joined(user)
            recorder.ended(Ended(0))
            async with asyncio.timeout(PATIENCE):
                await room.studio.wait_until_sealed()
            return room.play(subject.session)
