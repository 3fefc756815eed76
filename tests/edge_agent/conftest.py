"""One simulated controller and one real agent for the tests that only look, and makers for those that break things."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.harness.road import OWN, Agent, Shell, join_arguments
from tests.harness.simulated_broker import SimulatedBroker
from tests.harness.simulated_controller import CLUSTER, Person, SimulatedController
from tests.harness.throwaway_login import login_name, throwaway_login


@pytest.fixture(scope="session")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedController]:
    simulated = SimulatedController(tmp_path_factory.mktemp("controller")).start()
    yield simulated
    simulated.stop()


@pytest.fixture
def own_controller(tmp_path: Path) -> Iterator[SimulatedController]:
    """A controller that the test may break."""
    directory = tmp_path / "controller"
    directory.mkdir()
    simulated = SimulatedController(directory).start()
    yield simulated
    simulated.stop()


@pytest.fixture
def broker(own_controller: SimulatedController, tmp_path: Path) -> Iterator[SimulatedBroker]:
    """A broker that the controller names to whoever joins."""
    simulated = SimulatedBroker(tmp_path / "broker", own_controller.tls_ca, CLUSTER).start()
    own_controller.mqtt_address = f":{simulated.port}"
    yield simulated
    simulated.close()


@pytest.fixture
def start_agent() -> Iterator[Callable[..., Agent]]:
    """Start agents that end with the test."""
    started: list[Agent] = []

    def start(controller: SimulatedController, *arguments: str, environment: Mapping[str, str] | None = None) -> Agent:
        started.append(Agent(controller, *arguments, environment=environment))
        return started[-1]

    yield start
    for agent in started:
        agent.stop()


@pytest.fixture(scope="session")
def agent(controller: SimulatedController, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent that has joined, its tunnel up."""
    data = tmp_path_factory.mktemp("agent") / "data"
    running = Agent(controller, *join_arguments(controller, "shared-node", data), "--labels", "env=staging")
    controller.wait_for_node("shared-node")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def shell(controller: SimulatedController, agent: Agent) -> Shell:  # noqa: ARG001 - it must be running
    node_id = controller.wait_for_node("shared-node")
    return Shell(controller, controller.door_to(node_id), node_id)


@pytest.fixture(scope="session")
def person(controller: SimulatedController) -> Person:
    return controller.person("alice", (OWN, "nobody", "ghost"))


@pytest.fixture(scope="session", autouse=True)
def own_login() -> Iterator[None]:
    """Have `OWN` exist."""
    if os.geteuid() != 0:
        yield
        return
    with throwaway_login(OWN, "-m"):
        yield


@pytest.fixture(scope="session")
def other_login() -> Iterator[str]:
    """A user with a home and one more group, for as long as the tests run."""
    with throwaway_login(login_name("a"), "-m", "-G", "games") as name:
        yield name


@pytest.fixture(scope="session")
def homeless_login() -> Iterator[str]:
    """A user whose home is not there."""
    with throwaway_login(login_name("b"), "-M", "-d", "/nonexistent") as name:
        yield name
