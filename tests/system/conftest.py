"""Clusters of real processes: one that a worker's tests share and leave as they find it, and fresh ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
