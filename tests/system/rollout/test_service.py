"""The agent as a service: it comes back from whatever happens to it, and binds nobody who works through it."""

from __future__ import annotations

import signal

import pytest

from tests.harness.device_bed.bed import Bed
from tests.harness.device_bed.device import Device
from tests.harness.device_bed.fleet import Fleet

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(900)]
AGENT = "skerry-agent.service"


@pytest.fixture(scope="module")
def edge_1(device_bed: Bed, fleet: Fleet) -> Device:
    """A device that has joined; its disk is a small one."""
    device = device_bed.device("edge-1", size="600m").boot()
    fleet.join(device, "--labels=site=harbour")
    return device


def main_pid(device: Device) -> int:
    return int(device.unit(AGENT, "MainPID")["MainPID"])


def test_person_s_root_may_write_and_sudo_works_though_the_agent_is_in_a_sandbox(fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    agent = f"--target={main_pid(edge_1)}"
    assert edge_1.run("nsenter", agent, "--mount", "touch", "/etc/by-the-agent", check=False).returncode != 0
    assert fleet.ssh("root@edge-1", "touch /etc/by-root /usr/by-root && ls /etc/by-root") == "/etc/by-root\n"
    assert fleet.ssh("ubuntu@edge-1", "touch by-ubuntu && sudo sh -c 'id -un; touch /usr/by-sudo'") == "root\n"
    assert edge_1.shell("ls /usr/by-root /usr/by-sudo ~ubuntu/by-ubuntu").returncode == 0
    assert fleet.ssh("root@edge-1", "mount -t tmpfs none /mnt && umount /mnt && echo done") == "done\n"


def test_what_a_person_left_running_survives_a_restart_of_the_agent(fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    left = fleet.ssh("ubuntu@edge-1", "nohup sleep 1000 >nohup.out 2>&1 & echo $!").strip()
    before = main_pid(edge_1)
    edge_1.run("systemctl", "restart", AGENT)
    assert main_pid(edge_1) != before
    assert edge_1.run("ps", "-o", "user=,args=", left).stdout.split() == ["ubuntu", "sleep", "1000"]
    edge_1.run("kill", left)
    fleet.await_online("edge-1")


def test_hung_agent_is_ended_by_the_watchdog_and_started_again(fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    before = main_pid(edge_1)
    with edge_1.following(AGENT) as journal:
        edge_1.run("kill", f"-{signal.SIGSTOP.name}", str(before))
        journal.await_line("Watchdog timeout", timeout=120)
        journal.await_line("Started ", timeout=120)
    assert main_pid(edge_1) not in {0, before}
    assert edge_1.unit(AGENT, "NRestarts")["NRestarts"] != "0"
    fleet.await_node("edge-1", lambda node: node["status"] == "online")
    assert fleet.ssh("root@edge-1", "hostname") == "edge-1\n"


def test_rebooted_device_comes_back_by_itself(fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    before = edge_1.run("cat", "/proc/sys/kernel/random/boot_id", "/etc/machine-id").stdout
    edge_1.reboot()
    assert edge_1.boots > 1, before
    fleet.await_online("edge-1")
    assert fleet.ssh("root@edge-1", "hostname") == "edge-1\n"


def test_device_whose_power_was_cut_comes_back_by_itself(fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    edge_1.cut_power()
    fleet.await_node("edge-1", lambda node: node["status"] != "online")
    edge_1.boot()
    fleet.await_online("edge-1")
    assert fleet.ssh("root@edge-1", "hostname") == "edge-1\n"


def test_device_whose_disk_is_full_is_reached_and_its_agent_can_be_started(fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    edge_1.shell("dd if=/dev/zero of=/var/ballast bs=64k 2>/dev/null || true; sync")
    assert edge_1.shell("head -c 100000 /dev/zero >/var/more", check=False).returncode != 0, "it is not full"
    assert fleet.ssh("root@edge-1", "df -h / >/dev/null && echo here") == "here\n"
    before = main_pid(edge_1)
    edge_1.run("systemctl", "restart", AGENT)
    assert main_pid(edge_1) not in {0, before}
    fleet.await_online("edge-1")
    assert fleet.ssh("root@edge-1", "rm /var/ballast /var/more && echo mended") == "mended\n"
    assert edge_1.unit(AGENT, "ActiveState")["ActiveState"] == "active"
    assert fleet.ssh("ubuntu@edge-1", "echo there is space >note && cat note") == "there is space\n"


def test_rebooted_controller_comes_back_by_itself_and_its_devices_with_it(fleet: Fleet, edge_1: Device) -> None:
    fleet.await_online("edge-1")
    fleet.controller.reboot()
    assert fleet.controller.unit("skerry-controller.service", "ActiveState")["ActiveState"] == "active"
    fleet.await_online("edge-1")
    assert edge_1.is_on
    assert fleet.ssh("root@edge-1", "hostname") == "edge-1\n"


def test_nothing_has_failed_on_any_of_them(device_bed: Bed, fleet: Fleet, edge_1: Device) -> None:
    assert fleet.controller in device_bed.devices.values()
    assert edge_1.run("systemctl", "--failed", "--no-legend").stdout == ""
    assert fleet.controller.run("systemctl", "--failed", "--no-legend").stdout == ""
