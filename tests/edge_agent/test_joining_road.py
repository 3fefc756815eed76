"""Joining on the whole road: OpenSSH's client, through the tunnel and by the node's own door, and what MQTT is told."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pexpect
import pytest

from protocol.joining import MODE_VARIABLE, SESSION_VARIABLE
from protocol.live_sessions import LiveSessions
from tests.harness.road import OWN, Agent, Shell, join_arguments
from tests.harness.simulated_broker import SimulatedBroker
from tests.harness.simulated_controller import Person, SimulatedController

pytestmark = pytest.mark.system


class Device:
    """An agent with a door of its own, and both ways to it."""

    def __init__(self, controller: SimulatedController, start_agent: Callable[..., Agent], folder: Path) -> None:
        settings = folder / "edge_agent.yaml"
        settings.write_text('listen_addr: "127.0.0.1:0"\n')
        self.controller = controller
        self.agent = start_agent(
            controller, *join_arguments(controller, "shared", folder / "data"), "-c", str(settings)
        )
        self.node_id = controller.wait_for_node("shared")
        line = self.agent.wait_for_line("people on this device's network reach it at ")
        self.doors = {
            "tunnel": Shell(controller, controller.door_to(self.node_id), self.node_id),
            "lan": Shell(controller, int(line.rpartition(":")[2]), self.node_id),
        }

    def person(self, name: str) -> Person:
        return self.controller.person(name, (OWN,))

    def open(self, person: Person, door: str, *arguments: str, size: tuple[int, int] = (24, 80)) -> pexpect.spawn:
        command = self.doors[door].command(person, "-tt", *arguments)
        # The options stand before the host, which is the last word but those of the remote command.
        return pexpect.spawn(command[0], command[1:], dimensions=size, timeout=30, echo=False)

    def join(self, person: Person, door: str, session: str, mode: str, **more: tuple[int, int]) -> pexpect.spawn:
        command = self.doors[door].command(person)
        said = f"SetEnv={SESSION_VARIABLE}={session} {MODE_VARIABLE}={mode}"
        size = more.get("size", (24, 80))
        return pexpect.spawn(command[0], ["-tt", "-o", said, *command[1:]], dimensions=size, timeout=30, echo=False)


@pytest.fixture
def device(
    own_controller: SimulatedController, broker: SimulatedBroker, start_agent: Callable[..., Agent], tmp_path: Path
) -> Device:
    assert broker.port
    return Device(own_controller, start_agent, tmp_path)


def only(live: LiveSessions) -> bool:
    return len(live.sessions) == 1


@pytest.mark.parametrize(("own", "other"), [("tunnel", "lan"), ("lan", "tunnel")])
def test_a_session_begun_by_one_door_is_joined_by_the_other(
    device: Device, broker: SimulatedBroker, own: str, other: str
) -> None:
    alice = device.open(device.person("alice"), own, "stty -echo; echo ready; exec cat", size=(30, 100))
    alice.expect("ready")
    live = broker.wait_for_live(device.node_id, only).sessions[0]
    assert (live.login, live.size, [party.user for party in live.parties]) == (OWN, (100, 30), ["alice"])
    bob = device.join(device.person("bob"), other, live.session, "peer", size=(20, 90))
    bob.expect("ready")  # what was there before
    bob.expect(r"Skerry: bob joined as peer \(2 here\)")
    alice.expect(r"Skerry: bob joined as peer \(2 here\)")
    told = broker.wait_for_live(device.node_id, lambda live: only(live) and len(live.sessions[0].parties) == 2)
    assert told.sessions[0].size == (90, 20)
    assert [(party.user, party.mode) for party in told.sessions[0].parties] == [("alice", "peer"), ("bob", "peer")]
    bob.sendline("typed by bob")
    alice.expect("typed by bob")
    since = len(broker.heard.live)
    bob.close()
    alice.expect("Skerry: bob left")
    broker.wait_for_live(device.node_id, lambda live: len(live.sessions[0].parties) == 1, since=since)
    alice.sendeof()
    alice.expect(pexpect.EOF)
    broker.wait_for_live(device.node_id, lambda live: live == LiveSessions(), since=since)
    ended = device.controller.wait_for_event("T2004I")
    assert ended.fields["participants"] == ["alice", "bob"]


def test_an_observer_with_openssh_leaves_with_ctrl_c_and_status_nought(device: Device, broker: SimulatedBroker) -> None:
    alice = device.open(device.person("alice"), "tunnel", "stty -echo; echo ready; exec cat")
    alice.expect("ready")
    session = broker.wait_for_live(device.node_id, only).sessions[0].session
    bob = device.join(device.person("bob"), "tunnel", session, "observer")
    bob.expect("bob joined as observer")
    bob.send("\x03")
    bob.expect(pexpect.EOF)
    bob.close()
    assert bob.exitstatus == 0
    alice.expect("Skerry: bob left")
    alice.close()


def test_sessions_without_a_terminal_are_told_of_and_nothing_is_told_twice(
    device: Device, broker: SimulatedBroker
) -> None:
    first = broker.wait_for_live(device.node_id, lambda live: live == LiveSessions())
    assert first == LiveSessions()
    since = len(broker.heard.live)
    device.doors["tunnel"].run(device.person("alice"), "read -r line; echo $line", text=b"x\n")
    process = pexpect.spawn(*_split(device.doors["tunnel"].command(device.person("alice"), "echo up; exec cat")))
    process.expect("up")
    told = broker.wait_for_live(
        device.node_id, lambda live: any("cat" in session.command for session in live.sessions), since=since
    )
    assert (told.sessions[-1].size, told.sessions[-1].recorded) == (None, True)
    process.close()
    broker.wait_for_live(device.node_id, lambda live: live == LiveSessions(), since=since)
    said = [live for node, live in broker.heard.live if node == device.node_id]
    assert all(one != next_one for one, next_one in pairwise(said))


def test_after_a_crash_the_broker_s_old_list_is_replaced(
    own_controller: SimulatedController,
    device: Device,
    broker: SimulatedBroker,
    tmp_path: Path,
    start_agent: Callable[..., Agent],
) -> None:
    alice = device.open(device.person("alice"), "tunnel", "echo ready; exec cat")
    alice.expect("ready")
    broker.wait_for_live(device.node_id, only)
    device.agent.process.kill()
    device.agent.wait()
    since = len(broker.heard.live)
    start_agent(own_controller, "--controller", own_controller.address, "--data-dir", str(tmp_path / "data"))
    broker.wait_for_live(device.node_id, lambda live: live == LiveSessions(), since=since)
    alice.close()


def _split(command: list[str]) -> tuple[str, list[str]]:
    return command[0], command[1:]
