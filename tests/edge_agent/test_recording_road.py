"""Recording, end to end on the device: OpenSSH's client, a real agent process, and what it leaves in its spool."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from edge_agent.identity import DataDirectory
from edge_agent.node import SPOOL
from protocol.names import parse_session_id
from protocol.recording.reader import Reader
from tests.harness.recording_room import Played, play
from tests.harness.road import OWN, Agent, Shell, join_arguments
from tests.harness.simulated_controller import Person, SimulatedController
from tests.harness.tiny_disk import empty, fill, tiny_disk

pytestmark = pytest.mark.system
StartAgent = Callable[..., Agent]


class Device:
    """An agent, a way to it, and its spool."""

    def __init__(self, controller: SimulatedController, start_agent: StartAgent, data: Path, *more: str) -> None:
        self.controller = controller
        self.data = data
        self.arguments = [*join_arguments(controller, data.name, data), *more]
        self._start = start_agent
        self.agent = start_agent(controller, *self.arguments)
        self.node_id = controller.wait_for_node(data.name)
        self.shell = Shell(controller, controller.door_to(self.node_id), self.node_id)
        self.person: Person = controller.person("alice", (OWN,))

    def start_again(self) -> None:
        count = self.controller.tunnel_count
        self.agent = self._start(self.controller, "--controller", self.controller.address, "--data-dir", str(self.data))
        self.controller.wait_for(lambda: self.controller.tunnel_count > count, "the tunnel once more")
        self.controller.wait_for_node(self.data.name)

    def recording(self, session: object) -> Path:
        return self.data / SPOOL / f"{parse_session_id(session)}.skr"

    def signer(self) -> bytes:
        identity = DataDirectory(self.data).load()
        assert identity
        return identity.signing_key().public_key().public_bytes_raw()

    def play(self, session: object) -> Played:
        return play(self.recording(session).read_bytes(), self.signer(), self.controller.recording_key)

    def wait_until_ended(self, session: object) -> None:
        def ended() -> bool:
            reader = Reader(self.signer())
            for _ in reader.feed(self.recording(session).read_bytes()):
                pass
            return reader.has_ended

        self.controller.wait_for_looking(ended, "the last seal")


def start_of(controller: SimulatedController) -> object:
    return controller.wait_for_event("T2000I").fields["sid"]


@pytest.fixture
def device(own_controller: SimulatedController, start_agent: StartAgent, tmp_path: Path) -> Device:
    return Device(own_controller, start_agent, tmp_path / "device")


def test_a_command_is_on_record_with_both_streams_and_its_exit_status(device: Device) -> None:
    result = device.shell.run(device.person, "echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.returncode) == (b"out\n", b"err\n", 3)
    sid = device.controller.wait_for_event("T2004I").fields["sid"]
    device.wait_until_ended(sid)
    played = device.play(sid)
    assert (played.text("o"), played.text("e"), played.told("x")) == ("out\n", "err\n", ["3"])
    assert played.first.command == "echo out; echo err >&2; exit 3"
    assert (played.first.said["user"], played.first.said["login"]) == ("alice", OWN)
    assert played.seals[-1].reason == "final"


def test_all_that_a_terminal_showed_is_on_record_and_nothing_of_what_was_typed_blindly(device: Device) -> None:
    command = device.shell.command(device.person)
    child = pexpect.spawn(command[0], command[1:], dimensions=(24, 80), timeout=15, echo=False)
    with (device.data / "screen").open("wb") as screen:
        child.logfile_read = screen
        child.sendline("PS1='ready> '; stty -echo; echo silent-$((40+2))")
        child.expect("silent-42")
        child.sendline("read -r secret; stty echo; echo loud-$((40+3))")
        child.sendline("insecure-password")
        child.expect("loud-43")
        child.setwinsize(40, 100)
        child.sendline("exit 9")
        child.expect(pexpect.EOF)
    child.close()
    sid = device.controller.wait_for_event("T2004I").fields["sid"]
    device.wait_until_ended(sid)
    played = device.play(sid)
    assert played.text("o").encode() == (device.data / "screen").read_bytes()
    assert ("100x40" in played.told("r"), played.told("x")) == (True, ["9"])
    assert "insecure-password" not in played.text("oei")
    assert played.first.said["interactive"] is True


def test_nothing_of_a_session_lies_in_the_data_directory_in_the_clear(device: Device) -> None:
    device.shell.run(device.person, "echo plain-$((40+2))-marker")
    sid = device.controller.wait_for_event("T2004I").fields["sid"]
    device.wait_until_ended(sid)
    assert "plain-42-marker" in device.play(sid).text("o")
    for path in device.data.rglob("*"):
        assert path.is_dir() or b"plain-42-marker" not in path.read_bytes(), path


def test_a_file_transfer_is_not_recorded_but_audited(device: Device) -> None:
    command = ["sftp", *device.shell.options(device.person), "-P", str(device.shell.port), "-b", "-"]
    done = subprocess.run([*command, f"{OWN}@127.0.0.1"], input=b"pwd\n", capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    device.controller.wait_for_event("T3001I", name="sftp")
    assert list((device.data / SPOOL).iterdir()) == []


def test_an_agent_that_stops_ends_its_recordings_in_good_order(device: Device) -> None:
    running = subprocess.Popen(
        device.shell.command(device.person, "echo begun; exec sleep 60"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert running.stdout
    assert running.stdout.readline() == b"begun\n"
    assert device.agent.stop() == 0
    running.communicate(timeout=15)
    (path,) = (device.data / SPOOL).iterdir()
    played = device.play(path.stem)
    assert played.text("o") == "begun\n"
    assert " is stopping; this session ends" in played.text("e")
    assert played.told("x") == ["SIGHUP"]
    assert played.seals[-1].reason == "final"


def test_an_agent_that_was_killed_seals_what_it_had_as_interrupted_when_it_is_back(device: Device) -> None:
    running = subprocess.Popen(
        device.shell.command(device.person, "seq 1000; exec sleep 60"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    sid = start_of(device.controller)
    path = device.recording(sid)
    begun = path.stat().st_size
    device.controller.wait_for_looking(lambda: path.stat().st_size > begun, "output on the disk")
    device.agent.process.send_signal(signal.SIGKILL)
    device.agent.wait()
    running.communicate(timeout=15)
    with path.open("ab") as file:
        file.write(b"D\0\0")  # as if it had been writing
    device.start_again()
    device.wait_until_ended(sid)
    played = device.play(sid)
    assert played.text("o").split() == [str(number) for number in range(1, 1001)]
    assert played.seals[-1].reason == "interrupted"
    assert device.shell.run(device.person, "echo served").stdout == b"served\n"


@pytest.fixture
def tiny_data(tmp_path: Path) -> Iterator[Path]:
    with tiny_disk(tmp_path / "tiny", 3 * 1024 * 1024) as place:
        yield place


def check_refusal_is_told(controller: SimulatedController) -> None:
    """Check that the audit log hears who was refused, and why: as a session that was, and as a command that failed."""
    rejected = controller.wait_for_event("SK037W").fields
    assert (rejected["user"], rejected["login"], rejected["check"]) == ("alice", OWN, "D3")
    assert rejected["reason"] == "cannot be recorded: no space left on the device"
    failed = controller.wait_for_event("T3002E").fields
    assert failed["exitError"] == "cannot be recorded: no space left on the device (D3)"
    assert failed["sid"] == rejected["sid"]


@pytest.mark.parametrize("mode", ["strict", "best_effort"])
def test_a_data_directory_on_a_full_disk(
    own_controller: SimulatedController, start_agent: StartAgent, tiny_data: Path, tmp_path: Path, mode: str
) -> None:
    own_controller.mode = "strict" if mode == "strict" else "best_effort"
    config = tmp_path / "edge_agent.yaml"
    config.write_text("recording: {min_free: 0}\n")
    device = Device(own_controller, start_agent, tiny_data / "full", "--config", str(config))
    fill(tiny_data)
    result = device.shell.run(device.person, "echo hello")
    if mode == "strict":
        assert result.returncode == 255
        assert result.stdout == b""
        assert result.stderr == (
            b"Skerry: this session cannot be recorded (no space left on the device) and this cluster requires it; "
            b"the session ends\n"
        )
        check_refusal_is_told(own_controller)
    else:
        assert (result.returncode, result.stdout) == (0, b"hello\n")
        gap = own_controller.wait_for_event("SK031W")
        assert (gap.fields["user"], gap.fields["login"]) == ("alice", OWN)
    empty(tiny_data)
    # It fills up in the middle of a session, and that is told on the terminal.
    child = pexpect.spawn(
        device.shell.command(device.person)[0],
        [
            *device.shell.command(device.person)[1:],
            "-tt",
            "stty -echo; echo up; read line; head -c 3500000 /dev/urandom | base64 -w 0; echo the-end",
        ],
        timeout=30,
    )
    child.expect("up")
    child.sendline("go")
    if mode == "strict":
        child.expect("Skerry: this session cannot be recorded ")
        child.expect("and this cluster requires it; the session ends")
        child.expect(pexpect.EOF)
    else:
        child.expect("the-end")
        child.expect(pexpect.EOF)
    child.close()
    own_controller.wait_for_event("SK031W", sid=start_of(own_controller))
    for path in (tiny_data / "full" / SPOOL).iterdir():
        path.unlink()
    assert device.shell.run(device.person, "echo recovered").stdout == b"recovered\n"
    (path,) = (tiny_data / "full" / SPOOL).iterdir()
    device.wait_until_ended(path.stem)
    assert device.play(path.stem).text("o") == "recovered\n"


def test_a_device_that_joined_before_there_was_recording_learns_how_and_records(
    own_controller: SimulatedController, start_agent: StartAgent, tmp_path: Path
) -> None:
    own_controller.mode = None
    device = Device(own_controller, start_agent, tmp_path / "old")
    device.agent.wait_for_line("cannot ask the controller for its policy and the time")
    assert device.shell.run(device.person, "echo unrecorded").stdout == b"unrecorded\n"
    assert list((device.data / SPOOL).iterdir()) == []
    own_controller.mode = "strict"
    device.agent.stop()
    device.start_again()
    own_controller.wait_for_looking((device.data / "recording_terms.json").exists, "the terms")
    device.shell.run(device.person, "echo recorded")
    (path,) = (device.data / SPOOL).iterdir()
    device.wait_until_ended(path.stem)
    assert device.play(path.stem).text("o") == "recorded\n"
