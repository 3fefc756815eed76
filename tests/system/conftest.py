"""Clusters of real processes: one that a worker's tests share and leave as they find it, and fresh ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.namespaces import Internet, internet
from tests.harness.real_cluster import Agent, Person, RealCluster


@dataclass
class Harbour:
    """The shared cluster: alice is signed in, two devices are online."""

    cluster: RealCluster
    alice: Person
    edge_1: Agent
    edge_2: Agent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the programs said where a test fails."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            cluster = value.cluster if isinstance(value, Harbour) else value
            for made in cluster if isinstance(cluster, list) else [cluster]:
                if isinstance(made, RealCluster):
                    report.sections += [(f"log of {name}", text[-6000:]) for name, text in made.logs()]
    return report


@pytest.fixture(scope="session")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    cluster = RealCluster(tmp_path_factory.mktemp("harbour"))
    try:
        cluster.start()
        alice = cluster.add_user("alice")
        cluster.sign_in(alice)
        edge_1 = cluster.start_agent("edge-1", "env=staging,site=harbour")
        edge_2 = cluster.start_agent("edge-2", "env=staging,site=lighthouse")
        yield Harbour(cluster, alice, edge_1, edge_2)
    finally:
        cluster.close()


@pytest.fixture
def clusters() -> Iterator[list[RealCluster]]:
    """What `make_cluster` made."""
    made: list[RealCluster] = []
    try:
        yield made
    finally:
        for cluster in made:
            cluster.close()


@pytest.fixture
def make_cluster(tmp_path: Path, clusters: list[RealCluster]) -> Callable[..., RealCluster]:
    """Make clusters that the test may break; not started yet."""

    def make(sections: Mapping[str, Mapping[str, Any]] | None = None, **options: Any) -> RealCluster:  # noqa: ANN401
        folder = tmp_path / f"cluster {len(clusters)}"
        folder.mkdir()
        cluster = RealCluster(folder, sections, **options)
        clusters.append(cluster)
        return cluster

    return make


@pytest.fixture
def cluster(make_cluster: Callable[..., RealCluster]) -> RealCluster:
    """A fresh controller, started."""
    return make_cluster().start()


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


@pytest.fixture
def far_cluster(net: Internet, make_cluster: Callable[..., RealCluster]) -> RealCluster:
    """A controller on the usual ports of a host of its own, started."""
    proxy = {
        "listen_addr": "0.0.0.0:3023",
        "tunnel_listen_addr": "0.0.0.0:3024",
        "web_listen_addr": "0.0.0.0:3080",
        "public_addr": f"{net.controller.address}:3080",
        "requests_per_minute": 1_000_000,
    }
    sections: Mapping[str, Mapping[str, Any]] = {
        "proxy_service": proxy,
        "auth_service": {"cluster_name": "harbour", "listen_addr": "0.0.0.0:3025"},
        "mqtt": {"listen_addr": "0.0.0.0:8883"},
    }
    cluster = make_cluster(sections, prefix=net.controller.prefix, host="0.0.0.0")  # noqa: S104 - of its own namespace
    return cluster.start()


@pytest.fixture
def far_alice(net: Internet, far_cluster: RealCluster) -> Person:
    """A person who is signed in to the controller on a host of its own, and works there."""
    cluster = far_cluster
    person = Person("alice", cluster.folder / "home of alice")
    person.home.mkdir()
    link = cluster.invite("alice").replace(net.controller.address, "127.0.0.1")
    assert net.controller.call(lambda: cluster.accept(link, person)).status == 200
    login = ["login", f"--proxy={net.controller.address}:3080", "--user=alice", f"--ca-pin={cluster.pin}"]
    done = cluster.tsh(person, *login, typed=f"{person.password}\n{person.next_code()}\n".encode())
    assert done.returncode == 0, done.stderr
    return person
