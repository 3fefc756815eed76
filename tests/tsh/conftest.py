"""A cluster's end that `tsh` can be run against, and a person signed in to it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.simulated_proxy import OTP, PASSWORD, SimulatedProxy, running
from tests.harness.tsh_program import TshProgram

ME = getpass.getuser()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedProxy]:
    proxy = SimulatedProxy(tmp_path_factory.mktemp("cluster"), logins=(ME, "nobody-here"))
    proxy.add_node("web1", env="staging", site="north")
    proxy.add_node("web2", env="prod")
    proxy.add_node("web3", env="prod")
    with running(proxy):
        yield proxy


@pytest.fixture
def proxy(cluster: SimulatedProxy) -> SimulatedProxy:
    """The cluster, behaving well and remembering nothing."""
    cluster.lifetime = timedelta(hours=12)
    cluster.signed_out = False
    for memory in (cluster.refusals, cluster.impostors, cluster.requests, cluster.channels, cluster.traps):
        memory.clear()
    cluster.sessions.clear()
    cluster.recordings.forget()
    cluster.factors.forget()
    return cluster


def login_arguments(proxy: SimulatedProxy) -> list[str]:
    return ["login", f"--proxy=127.0.0.1:{proxy.web_port}", "--user=alice", f"--ca-pin={proxy.pin}"]


@pytest.fixture(scope="module")
def signed_in(cluster: SimulatedProxy, tmp_path_factory: pytest.TempPathFactory) -> TshProgram:
    program = TshProgram(tmp_path_factory.mktemp("homes") / "alice")
    done = program.run(*login_arguments(cluster), typed=f"{PASSWORD}\n{OTP}\n".encode())
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture
def alice(proxy: SimulatedProxy, signed_in: TshProgram, tmp_path: Path) -> TshProgram:
    """Somebody who is signed in, with a home that the test may spoil."""
    assert proxy.web_port
    return signed_in.copied_to(tmp_path / "tsh")


@pytest.fixture
def newcomer(tmp_path: Path) -> TshProgram:
    """Somebody who is signed in nowhere."""
    return TshProgram(tmp_path / "tsh")
