"""What the tests of recordings share."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.harness.namespaces import Internet, internet
from tests.harness.real_cluster import Person, RealCluster
from tests.harness.recordings import Archive


@pytest.fixture
def chance() -> random.Random:
    """Randomness whose seed is shown where the test fails; SKERRY_TEST_SEED sets it."""
    seed = int(os.environ.get("SKERRY_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SKERRY_TEST_SEED={seed}")
    return random.Random(seed)  # noqa: S311 - to be repeated, not to be secret


@pytest.fixture
def alice(cluster: RealCluster) -> Person:
    """A person who is signed in to the fresh cluster."""
    person = cluster.add_user("alice")
    cluster.sign_in(person)
    return person


@pytest.fixture
def archive(cluster: RealCluster) -> Archive:
    """What the fresh cluster keeps."""
    return Archive(cluster)


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
