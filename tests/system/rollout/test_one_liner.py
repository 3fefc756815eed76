"""One line brings a device in; what is wrong is one line as well, and leaves the device as it was; so does removal."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.harness.built_packages import package
from tests.harness.device_bed.bed import Bed
from tests.harness.device_bed.device import Device
from tests.harness.device_bed.fleet import Fleet
from tests.harness.faketime import LIBRARIES, MEND, environment_at

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(900)]
# What a running device writes by itself.
ITS_OWN = (
    "/var/log/journal",
    "/var/log/wtmp",
    "/var/log/lastlog",
    "/var/tmp/systemd-private",
    "/var/lib/systemd",
    "/tmp",
)
PIN = re.compile(r"sha256:[0-9a-f]{64}")


@pytest.fixture(scope="module")
def edge_1(device_bed: Bed, fleet: Fleet) -> Device:
    """A fresh device, which knows nothing of the controller but its name."""
    assert fleet.controller.is_on
    return device_bed.device("edge-1", size="700m").boot()


@pytest.fixture
def refused(edge_1: Device) -> Callable[[str, str], None]:
    """Run a line that must be refused: it says why, in one line, and leaves the device as it was."""

    def run(line: str, why: str) -> None:
        before = edge_1.footprint(*ITS_OWN)
        done = edge_1.run("bash", "-c", line, timeout=120, check=False)
        said = done.stderr.splitlines()
        assert done.returncode == 1, f"{done.stdout}{done.stderr}"
        assert len(said) == 1, done.stderr
        assert re.match(f"ERROR: .*{why}", said[0]), done.stderr
        after = edge_1.footprint(*ITS_OWN)
        assert {name: what for name, what in after.items() if before.get(name) != what} == {}
        assert not set(before) - set(after)

    return run


Refused = Callable[[str, str], None]


def test_wrong_pin_is_refused(fleet: Fleet, refused: Refused) -> None:
    refused(PIN.sub(f"sha256:{'0' * 64}", fleet.one_liner()), "pin")


def test_web_door_with_another_key_than_announced_is_not_even_asked_for_the_script(
    fleet: Fleet, edge_1: Device
) -> None:
    line = re.sub(r"sha256//\S{10}", "sha256//AAAAAAAAAA", fleet.one_liner())
    before = edge_1.footprint(*ITS_OWN)
    done = edge_1.run("bash", "-o", "pipefail", "-c", line, timeout=120, check=False)
    assert done.returncode != 0
    assert "public key" in done.stderr
    assert edge_1.footprint(*ITS_OWN) == before


def test_token_that_was_never_made_is_refused(fleet: Fleet, refused: Refused) -> None:
    refused(re.sub(r"--token \S+", "--token 00000000000000000000000000000000", fleet.one_liner()), "token")


def test_expired_token_is_refused(fleet: Fleet, edge_1: Device, refused: Refused) -> None:
    line = fleet.one_liner("--ttl=1s")
    edge_1.run("sleep", "1.5")  # the token's own time
    refused(line, "token")


def test_full_disk_is_refused(fleet: Fleet, edge_1: Device, refused: Refused) -> None:
    edge_1.shell("fallocate -l 640M /var/ballast")
    try:
        refused(fleet.one_liner(), "space")
    finally:
        edge_1.run("rm", "/var/ballast")


def test_device_without_python_is_refused(fleet: Fleet, edge_1: Device, refused: Refused) -> None:
    edge_1.shell("mkdir /usr/aside; mv /usr/bin/python3* /usr/aside/")
    try:
        refused(fleet.one_liner(), "Python")
    finally:
        edge_1.shell("mv /usr/aside/* /usr/bin/; rmdir /usr/aside")


def test_machine_that_there_is_no_archive_for_is_refused(fleet: Fleet, edge_1: Device, refused: Refused) -> None:
    edge_1.write(
        "/usr/local/bin/uname", '#!/bin/sh\n[ "$1" = -m ] && echo riscv64 || exec /usr/bin/uname "$@"\n', 0o755
    )
    try:
        refused(fleet.one_liner(), "riscv64")
    finally:
        edge_1.run("rm", "/usr/local/bin/uname")


def test_installation_that_was_cut_off_is_gone_on_with(fleet: Fleet, edge_1: Device) -> None:
    line = fleet.one_liner("--ttl=10m")
    program = edge_1.start("bash", "-c", line)
    program.await_line("joining the cluster", timeout=120)
    edge_1.cut_power()
    program.await_end()
    edge_1.boot()
    again = fleet.one_liner()
    done = edge_1.run("bash", "-c", again, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert "online as edge-1" in done.stdout
    fleet.await_online("edge-1")
    assert fleet.ssh("root@edge-1", "hostname") == "edge-1\n"


def test_it_says_so_only_once_the_controller_has_the_device_online(fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    edge_1.run("edge-agent", "remove", "--purge", timeout=120)
    fleet.tctl("nodes", "rm", "edge-1")
    done = edge_1.run("bash", "-c", fleet.one_liner("--labels=site=harbour"), timeout=300)
    assert done.stdout.splitlines()[-1].endswith("online as edge-1 in the cluster skerry")
    assert fleet.ssh("root@edge-1", "hostname") == "edge-1\n"  # at once; the listing is written a moment later
    fleet.await_online("edge-1")
    assert fleet.nodes()["edge-1"]["labels"] == {"site": "harbour"}
    assert "installed" in edge_1.run("cat", "/var/log/skerry-install.log").stdout
    assert "skerry-install" not in edge_1.run("ls", "/var/tmp").stdout


def test_spent_token_is_refused_on_another_device(device_bed: Bed, fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    token = fleet.token()["token"]
    line = re.sub(r"--token \S+", f"--token {token}", fleet.one_liner())
    edge_1.run("edge-agent", "remove", "--purge", timeout=120)
    edge_1.run("bash", "-c", line, timeout=300)
    other = device_bed.device("edge-2").boot()
    before = other.footprint(*ITS_OWN)
    done = other.run("bash", "-c", line, timeout=120, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "token" in done.stderr
    assert other.footprint(*ITS_OWN) == before


def test_removal_leaves_nothing(fleet: Fleet, device_bed: Bed) -> None:
    device = device_bed.device("edge-3").boot()
    before = device.footprint(*ITS_OWN)
    fleet.join(device)
    assert fleet.ssh("ubuntu@edge-3", "id -un") == "ubuntu\n"
    assert len(device.footprint(*ITS_OWN)) > len(before) + 100
    device.run("edge-agent", "remove", "--purge", timeout=120)
    assert device.footprint(*ITS_OWN) == before
    assert device.shell("ls /run | grep -c skerry || true").stdout.strip() == "0"
    assert device.run("systemctl", "list-units", "--all", "--no-legend", "skerry*").stdout == ""
    assert "edge_agent" not in device.run("ps", "-e", "-o", "args").stdout


def test_purge_of_the_debian_package_leaves_nothing(fleet: Fleet, device_bed: Bed) -> None:
    device = device_bed.devices["edge-3"]
    deb = package("agent-deb-amd64")
    its_own = (*ITS_OWN, "/var/lib/dpkg", "/var/log/apt", "/var/log/dpkg.log", "/var/cache/apt", "/var/lib/apt")
    before = device.footprint(*its_own)
    device.put(deb, f"/var/cache/{deb.name}")
    device.shell(f"apt-get -qq install -y /var/cache/{deb.name}; rm /var/cache/{deb.name}", timeout=300)
    token = fleet.token("--labels=site=island")
    settings = f"controller: {token['controller']}\nca_pin: {token['ca_pin']}\nnodename: edge-4\n"
    device.write("/etc/skerry/edge_agent.yaml", settings)
    device.write("/etc/skerry/join-token", token["token"], 0o600)
    device.run("systemctl", "start", "skerry-agent")
    fleet.await_online("edge-4")
    assert fleet.ssh("root@edge-4", "hostname") == "edge-3\n"
    device.shell("apt-get -qq purge -y skerry-agent", timeout=120)
    after = device.footprint(*its_own)
    assert {name: what for name, what in after.items() if before.get(name) != what} == {}
    assert "edge_agent" not in device.run("ps", "-e", "-o", "args").stdout


def test_device_whose_clock_is_wrong_by_years_joins_and_comes_online(fleet: Fleet, device_bed: Bed) -> None:
    device = device_bed.devices["edge-3"]
    device.put(LIBRARIES[0], "/usr/lib/libfaketime.so.1")
    device.put(MEND, "/usr/lib/mend")
    wrong = environment_at(datetime(2016, 2, 29, tzinfo=UTC))
    wrong |= {"LD_PRELOAD": "/usr/lib/libfaketime.so.1", "PYTHONPATH": "/usr/lib/mend"}
    clock = " ".join(f"{name}={value}" for name, value in wrong.items())
    device.write("/etc/systemd/system/skerry-agent.service.d/clock.conf", f"[Service]\nEnvironment={clock}\n")
    device.run("bash", "-c", f"{fleet.one_liner()} --nodename edge-5", timeout=300)
    fleet.await_online("edge-5")
    assert fleet.ssh("root@edge-5", "hostname") == "edge-3\n"
    year = device.shell(
        "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID skerry-agent)/environ | grep ^FAKETIME="
    ).stdout
    assert year.strip() == f"FAKETIME={wrong['FAKETIME']}"
