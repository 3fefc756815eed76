"""Nodes that wait for an administrator's approval, and devices that join again with the keys they have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.road import Agent, join_arguments
from tests.harness.simulated_controller import Answer, SimulatedController

pytestmark = pytest.mark.system
Start = Callable[..., Agent]


def granted_on_disk(data: Path) -> dict[str, object]:
    granted = json.loads((data / "identity.json").read_text())["granted"]
    assert isinstance(granted, dict)
    return granted


@pytest.fixture
def waiting(own_controller: SimulatedController, start_agent: Start, tmp_path: Path) -> Agent:
    """An agent that has joined as n1 and waits."""
    own_controller.renewals.needs_approval = True
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    node_id = next(iter(own_controller.wait_for(lambda: own_controller.renewals.nodes, "the join")))
    agent.wait_for_line(f"waiting for an administrator's approval: tctl nodes approve {node_id}")
    own_controller.wait_for(lambda: own_controller.renewals.requests, "the first time it asks")
    return agent


def test_a_node_that_waits_has_no_certificates_and_no_tunnel(
    own_controller: SimulatedController, waiting: Agent, tmp_path: Path
) -> None:
    found = granted_on_disk(tmp_path / "data")
    assert (found["pending"], found["host_certificate"], found["generation"]) == (True, "", 0)
    assert own_controller.tunnel_count == 0
    assert waiting.stop() == 0


def test_an_approved_node_comes_up_by_itself(
    own_controller: SimulatedController, waiting: Agent, tmp_path: Path
) -> None:
    own_controller.renewals.approve(next(iter(own_controller.renewals.nodes)))
    node_id = own_controller.wait_for_node("n1")
    found = granted_on_disk(tmp_path / "data")
    assert (found["pending"], found["node_id"], found["generation"]) == (False, node_id, 1)
    assert waiting.stop() == 0


def test_a_node_goes_on_waiting_after_it_was_started_again(
    own_controller: SimulatedController, waiting: Agent, start_agent: Start, tmp_path: Path
) -> None:
    assert waiting.stop() == 0
    again = start_agent(own_controller, "--data-dir", str(tmp_path / "data"))
    again.wait_for_line("waiting for an administrator's approval")
    own_controller.renewals.approve(next(iter(own_controller.renewals.nodes)))
    own_controller.wait_for_node("n1")
    assert again.stop() == 0
    assert len(own_controller.joins) == 1
    assert {request.attempt for request in own_controller.renewals.requests} == {
        own_controller.renewals.requests[0].attempt
    }


def test_a_node_that_is_rejected_says_so_and_ends(own_controller: SimulatedController, waiting: Agent) -> None:
    own_controller.renewals.refuses = True
    assert waiting.wait(30) == 1
    assert "an administrator has rejected, removed or locked it" in waiting.lines[-1]
    assert "edge-agent start --rejoin --token TOKEN" in waiting.lines[-1]


def test_a_node_that_was_rejected_meanwhile_is_not_told_to_wait(
    own_controller: SimulatedController, waiting: Agent, start_agent: Start, tmp_path: Path
) -> None:
    assert waiting.stop() == 0
    own_controller.renewals.refuses = True
    again = start_agent(own_controller, "--data-dir", str(tmp_path / "data"))
    assert again.wait(30) == 1
    assert "an administrator has rejected, removed or locked it" in again.lines[-1]
    assert not any("waiting for" in line for line in again.lines)


def test_a_controller_that_is_away_does_not_end_the_wait(own_controller: SimulatedController, waiting: Agent) -> None:
    own_controller.answer = Answer(503, "not now", {"Retry-After": "0"})
    waiting.wait_for_line("cannot ask whether this node is approved: not now")
    own_controller.answer = None
    own_controller.renewals.approve(next(iter(own_controller.renewals.nodes)))
    own_controller.wait_for_node("n1")
    assert waiting.stop() == 0


def test_a_no_that_nobody_vouches_for_does_not_end_the_wait(
    own_controller: SimulatedController, waiting: Agent, start_agent: Start, tmp_path: Path
) -> None:
    assert waiting.stop() == 0
    own_controller.renewals.rotate("tls", forgets=True)  # as any box on the way that speaks HTTPS
    own_controller.reopen()
    own_controller.renewals.refuses = True
    again = start_agent(own_controller, "--data-dir", str(tmp_path / "data"))
    line = again.wait_for_line("cannot ask whether this node is approved")
    assert "did not prove to be the controller's" in line
    own_controller.renewals.refuses = False
    own_controller.renewals.approve(next(iter(own_controller.renewals.nodes)))
    own_controller.wait_for_node("n1")
    assert again.stop() == 0


def test_a_disk_that_will_not_have_the_certificates_yet_does_not_end_the_wait(
    own_controller: SimulatedController, waiting: Agent, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "data" / ".identity.json.new"
    in_the_way.mkdir()
    own_controller.renewals.approve(next(iter(own_controller.renewals.nodes)))
    waiting.wait_for_line("cannot be written: Is a directory; it is tried again")
    in_the_way.rmdir()
    own_controller.wait_for_node("n1")
    found = granted_on_disk(tmp_path / "data")
    assert (found["pending"], found["generation"]) == (False, 1)
    assert waiting.stop() == 0


def test_a_disk_that_will_not_have_the_identity_ends_a_join_with_one_line(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / ".identity.json.new").mkdir()
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", data))
    assert agent.wait() == 1
    assert agent.lines[-1] == f"ERROR: {data}: cannot write the identity: Is a directory"
    assert not any("Traceback" in line for line in agent.lines)


# --- joining again ----------------------------------------------------------------------------------------------------


def test_a_device_that_joins_again_with_its_keys_is_the_same_node(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    node_id = own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    own_controller.wait_for(lambda: not own_controller.tunnels, "the end of the tunnel")
    again = start_agent(own_controller, *join_arguments(own_controller, "n2", tmp_path / "data"), "--rejoin")
    assert own_controller.wait_for_node("n2") == node_id
    assert b"--rejoin" not in Path(f"/proc/{again.process.pid}/cmdline").read_bytes()
    assert granted_on_disk(tmp_path / "data")["generation"] == 2
    assert again.stop() == 0


def test_a_device_whose_identity_was_lost_joins_with_the_keys_it_has(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    node_id = own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    own_controller.wait_for(lambda: not own_controller.tunnels, "the end of the tunnel")
    (tmp_path / "data" / "identity.json").unlink()
    again = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    assert own_controller.wait_for_node("n1") == node_id
    assert again.stop() == 0


def test_a_join_whose_answer_was_lost_is_repeated_with_the_same_key(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.answer = Answer(502, "the answer is lost")
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    agent.wait_for_line("not joined yet")
    agent.process.kill()
    agent.wait()
    keys = (tmp_path / "data" / "host_key").read_bytes()
    own_controller.answer = None
    again = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    own_controller.wait_for_node("n1")
    assert (tmp_path / "data" / "host_key").read_bytes() == keys
    sent = {json.loads(body)["ssh_public_key"] for body in own_controller.bodies if b"ssh_public_key" in body}
    assert len(sent) == 1
    assert again.stop() == 0


def test_joining_again_needs_a_token(own_controller: SimulatedController, start_agent: Start, tmp_path: Path) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    before = granted_on_disk(tmp_path / "data")
    again = start_agent(own_controller, "--data-dir", str(tmp_path / "data"), "--rejoin")
    assert again.wait() == 1
    assert again.lines[-1].startswith("ERROR: joining again needs a new token: say --token TOKEN")
    assert granted_on_disk(tmp_path / "data") == before


def test_a_refused_attempt_to_join_again_leaves_the_identity_as_it_was(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    before = granted_on_disk(tmp_path / "data")
    own_controller.answer = Answer(403, "the controller did not accept this token")
    again = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"), "--rejoin")
    assert again.wait() == 1
    assert granted_on_disk(tmp_path / "data") == before
