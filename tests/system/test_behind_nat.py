"""A device behind a gateway that lets nobody in: it dials out, and is worked on through that."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.harness.namespaces import Internet
from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.running_program import RunningProgram

pytestmark = [pytest.mark.system, pytest.mark.netns]
_LISTEN = """
import socket, sys
door = socket.create_server((sys.argv[1], 0))
print("listening on", door.getsockname()[1], flush=True)
while True:
    door.accept()[0].close()
"""


@pytest.fixture
def service(net: Internet) -> Iterator[int]:
    """Something on the device that listens: its port."""
    command = [*net.device.prefix, sys.executable, "-c", _LISTEN, net.device.address]
    program = RunningProgram("service on the device", command)
    try:
        yield int(program.await_line(r"listening on (\d+)")[1])
    finally:
        program.stop()
        program.await_silence()


def test_device_that_nobody_can_reach_joins_and_is_worked_on(
    net: Internet, far_cluster: RealCluster, service: int
) -> None:
    cluster = far_cluster
    assert not net.controller.can_reach(net.device.address, service)
    assert net.gateway.can_reach(net.device.address, service), "the service is there all the same"
    assert net.device.can_reach(net.controller.address, 3080)
    alice = Person("alice", cluster.folder / "home of alice")
    alice.home.mkdir()
    link = cluster.invite("alice")
    assert link.startswith(f"https://{net.controller.address}:3080/web/invite/")
    page = net.controller.call(lambda: cluster.accept(link.replace(net.controller.address, "127.0.0.1"), alice))
    assert page.status == 200
    agent = cluster.start_agent("kiosk", "site=harbour", prefix=net.device.prefix)
    login = ["login", f"--proxy={net.controller.address}:3080", "--user=alice", f"--ca-pin={cluster.pin}"]
    done = cluster.tsh(alice, *login, typed=f"{alice.password}\n{alice.next_code()}\n".encode())
    assert done.returncode == 0, done.stderr
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@kiosk", "cat /proc/net/fib_trie; cat", typed=b"typed at home")
    assert done.returncode == 0, done.stderr
    assert net.device.address.encode() in done.stdout, "it ran on the device, in the device's own network"
    assert done.stdout.endswith(b"typed at home")
    event = cluster.await_event("session.end", server_id=agent.node_id)
    assert event["user"] == "alice"
    assert str(event["addr.remote"]).startswith(f"{net.controller.address}:"), "the person's address, not the gateway's"
