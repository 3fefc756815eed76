from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controller.process import Process, Program, lifeline

ROOT = Path(__file__).parents[2]
PATIENCE = timedelta(seconds=20)
READY = "from controller.role import say_ready, hold_lifeline; import signal, sys, os; "


@pytest.fixture
def life() -> Iterator[int]:
    with lifeline() as fd:
        yield fd


def python(code: str, *sockets: int, **variables: str) -> Program:
    return Program("test", (sys.executable, "-c", code), sockets, lambda: {"PYTHONPATH": str(ROOT), **variables})


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def run(program: Program, life: int) -> tuple[bool, str]:
    process = await Process.start(program, life)
    async with asyncio.timeout(PATIENCE.total_seconds()):
        return await process.wait_ready(), await process.wait()


async def test_a_process_says_when_it_is_ready_and_how_it_ended(life: int) -> None:
    assert await run(python(READY + "say_ready(); say_ready(); sys.exit(3)"), life) == (True, "exit status 3")


async def test_a_process_that_ends_without_a_word_was_never_ready(life: int) -> None:
    assert await run(python("raise SystemExit(0)"), life) == (False, "exit status 0")


async def test_a_signal_that_killed_a_process_is_named(life: int) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert await run(python(code), life) == (False, "killed by SIGKILL")


async def test_a_signal_without_a_name_is_told_by_its_number(life: int) -> None:
    code = "import os; os.kill(os.getpid(), 35)"
    assert await run(python(code), life) == (False, "killed by signal 35")


async def test_a_program_that_is_no_role_is_handed_nothing_of_ours(life: int) -> None:
    ours = "any(name.startswith('SKERRY_') for name in os.environ)"
    code = f"import os, sys; sys.exit({ours} + len(os.listdir('/proc/self/fd')))"
    program = Program("agent", (sys.executable, "-c", code), is_role=False)
    process = await Process.start(program, life)
    assert await process.wait() == "exit status 4"  # standard streams, and the folder it lists


async def test_a_process_gets_its_sockets_and_variables_and_a_session_of_its_own(life: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        code = READY + (
            "import socket; s = socket.socket(fileno=int(os.environ['DOOR'])); say_ready(); "
            "c, _ = s.accept(); c.sendall(str(os.getsid(0) == os.getpid()).encode()); c.close()"
        )
        process = await Process.start(python(code, door.fileno(), DOOR=str(door.fileno())), life)
        assert await process.wait_ready()
        reader, writer = await asyncio.open_connection(*door.getsockname())
        assert await reader.read() == b"True"
        writer.close()
        await writer.wait_closed()
        assert await process.wait() == "exit status 0"


async def test_a_process_that_ends_when_asked_is_not_killed(life: int) -> None:
    code = READY + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); say_ready(); signal.pause()"
    process = await Process.start(python(code), life)
    assert await process.wait_ready()
    await process.end(PATIENCE)
    assert await process.wait() == "exit status 7"


async def test_a_process_that_does_not_end_when_asked_is_killed_when_patience_is_over(
    life: int, caplog: pytest.LogCaptureFixture
) -> None:
    code = READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); say_ready()\nwhile True: signal.pause()"
    process = await Process.start(python(code), life)
    assert await process.wait_ready()
    await process.end(timedelta(seconds=0.2))
    assert await process.wait() == "killed by SIGKILL"
    assert "test did not end within 0 s: killed" in caplog.text


async def test_ending_a_process_that_has_ended_does_nothing(life: int) -> None:
    process = await Process.start(python(""), life)
    assert await process.wait() == "exit status 0"
    await process.end(PATIENCE)
    assert not await process.wait_ready()


async def test_no_descriptor_is_left_of_a_process_however_it_went(life: int) -> None:
    await run(python(""), life)  # the first run opens what the event loop keeps
    before = descriptors()
    for _ in range(3):
        await run(python(READY + "say_ready()"), life)
        process = await Process.start(python(READY + "signal.pause()"), life)
        waiting = asyncio.ensure_future(process.wait_ready())  # noqa: TID251 - cancelled and awaited right here
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await process.end(PATIENCE)
    assert descriptors() == before


async def test_a_program_that_is_not_there_is_an_error_and_leaves_no_descriptor(life: int) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        await Process.start(Program("test", ("/nonexistent/program",)), life)
    assert descriptors() == before


SUPERVISOR = """
import asyncio, sys
from controller.process import Process, Program, lifeline
CHILD = '''
from controller.role import hold_lifeline, say_ready
import os, signal
# A handler may come in the middle of print's own write: it writes past the buffer.
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"ended"), os._exit(0)))
hold_lifeline()
print("up", flush=True)
say_ready()
while True: signal.pause()
'''
async def main():
    with lifeline() as life:
        process = await Process.start(Program("child", (sys.executable, "-c", CHILD)), life)
        assert await process.wait_ready()
        print("ready", flush=True)
        await process.wait()
asyncio.run(main())
"""


def end_with_its_supervisor(code: str) -> None:
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}) as supervisor:
        assert supervisor.stdout
        assert {supervisor.stdout.readline(), supervisor.stdout.readline()} == {"up\n", "ready\n"}
        supervisor.send_signal(signal.SIGKILL)
        assert supervisor.wait(10) == -signal.SIGKILL
        # The pipe's end comes when the last who holds it, the child, is gone too.
        assert supervisor.stdout.read() == "ended"


def test_a_role_ends_when_its_supervisor_is_killed() -> None:
    end_with_its_supervisor(SUPERVISOR)


def test_a_program_that_is_no_role_ends_with_its_supervisor_too() -> None:
    code = SUPERVISOR.replace("CHILD)), life)", "CHILD), is_role=False), life)").replace(
        "assert await process.wait_ready()", "pass"
    )
    end_with_its_supervisor(code)


def test_without_a_supervisor_a_role_neither_waits_nor_ends() -> None:
    code = READY + "hold_lifeline(); say_ready(); print('still here')"
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, text=True, env={"PYTHONPATH": str(ROOT)}, timeout=20) == "still here\n"


async def test_a_program_runs_where_and_as_whom_it_is_told(life: int, tmp_path: Path) -> None:
    lines: list[str] = []
    root = os.geteuid() == 0
    user = (pwd.getpwnam("nobody").pw_uid, 65534) if root else None
    code = "import os, sys; print(os.geteuid(), os.getegid(), os.getgroups(), os.listdir(), file=sys.stderr)"
    (tmp_path / "here").touch()
    if user is not None:
        os.chown(tmp_path, *user)  # what lies above it is closed to them
    program = Program(
        "test", ("/usr/bin/env", "python3", "-c", code), is_role=False, directory=tmp_path, user=user, log=lines.append
    )
    process = await Process.start(program, life)
    await process.relay_log()
    assert await process.wait() == "exit status 0"
    assert lines[0].endswith("['here']")
    assert not root or lines == [f"{user[0]} {user[1]} [] ['here']" if user else ""]


async def test_what_a_program_logs_is_handed_on_by_lines_and_in_pieces_where_they_are_long(life: int) -> None:
    lines: list[str] = []
    code = (
        "import sys; w = sys.stderr.buffer.write; "
        "w(b'one\\n\\xfftwo\\n'); w(b'x' * 1_000_000); w(b'\\nand an end without a line')"
    )
    process = await Process.start(Program("test", (sys.executable, "-c", code), is_role=False, log=lines.append), life)
    await process.relay_log()
    assert await process.wait() == "exit status 0"
    assert lines[:2] == ["one", "\ufffdtwo"]
    assert sum(len(line) for line in lines[2:-1]) == 1_000_000
    assert max(map(len, lines)) < 1_000_000
    assert lines[-1] == "and an end without a line"


async def test_a_program_reads_its_configuration_again_when_it_is_told(life: int) -> None:
    lines: list[str] = []
    code = (
        "import signal, sys; signal.signal(signal.SIGHUP, lambda *_: (print('again', file=sys.stderr), sys.exit()));"
        "print('up', file=sys.stderr, flush=True); signal.pause()"
    )

    def take(line: str) -> None:
        lines.append(line)
        if line == "up":
            process.reload()

    process = await Process.start(Program("test", (sys.executable, "-c", code), is_role=False, log=take), life)
    await process.relay_log()
    assert await process.wait() == "exit status 0"
    assert lines == ["up", "again"]
    process.reload()  # it has ended: nothing to do
