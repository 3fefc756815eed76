"""The controller's unit on a booted Debian: what it may, and what becomes of it when it hangs, is reloaded or ended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.harness.device_bed.bed import bed
from tests.harness.device_bed.device import Device
from tests.harness.device_bed.fleet import SETTINGS, WEB, Fleet
from tests.harness.open_session import open_session

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(1200)]
SERVICE = "skerry-controller.service"
PATIENCE = 120.0
KEY = "/etc/skerry/master-key"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with bed() as made:
        fleet = Fleet(made)
        fleet.install_controller()
        yield fleet


@pytest.fixture
def host(fleet: Fleet) -> Device:
    return fleet.controller


def main_pid(host: Device) -> int:
    return int(host.unit(SERVICE, "MainPID")["MainPID"])


def processes(host: Device) -> dict[str, int]:
    told = json.loads(host.run("controller", "debug", "processes", "--format=json").stdout)
    return {each["name"]: each["pid"] for each in told}


def settle(host: Device, **sections: object) -> None:
    host.write("/etc/skerry/controller.yaml", json.dumps({**SETTINGS, **sections}))


def test_systemd_finds_nothing_wrong_with_it(host: Device) -> None:
    done = host.run("systemd-analyze", "verify", "--man=no", SERVICE)
    assert SERVICE not in done.stdout + done.stderr


def test_it_is_up_when_every_role_is_and_nothing_of_it_runs_as_root(host: Device) -> None:
    told = host.unit(SERVICE, "ActiveState", "SubState", "StatusText", "NRestarts")
    assert told == {
        "ActiveState": "active",
        "SubState": "running",
        "StatusText": "cluster skerry: 5 of 5 processes run",
        "NRestarts": "0",
    }
    found = processes(host)
    assert set(found) == {"broker", "proxy", "web", "api", "presence"}
    for pid in (main_pid(host), *found.values()):
        status = host.path(f"/proc/{pid}/status").read_text(encoding="ascii")
        skerry = host.run("id", "-u", "skerry").stdout.strip()
        assert re.search(r"^Uid:\s+(\d+)\s", status, re.MULTILINE)[1] == skerry  # type: ignore[index]  # it is there
        assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    owners = host.run("find", "/var/lib/skerry", "!", "-user", "skerry").stdout
    assert owners == ""


def test_a_reload_takes_up_the_log_level_and_ends_nothing(host: Device) -> None:
    before = main_pid(host), processes(host)
    with host.following(SERVICE) as journal:
        settle(host, teleport={"data_dir": "/var/lib/skerry", "log": {"severity": "DEBUG"}})
        host.run("systemctl", "reload", SERVICE)
        journal.await_line("the settings are read again: the log level is DEBUG", PATIENCE)
        settle(host)
        host.run("systemctl", "reload", SERVICE)
        journal.await_line("the settings are read again: the log level is INFO", PATIENCE)
    assert (main_pid(host), processes(host)) == before
    assert host.unit(SERVICE, "ActiveState") == {"ActiveState": "active"}


def test_what_root_does_with_tctl_leaves_nothing_that_the_service_cannot_use(host: Device) -> None:
    for arguments in (("users", "add", "joe", "root"), ("tokens", "add", "--type=node"), ("lock", "--user=joe")):
        host.run("tctl", *arguments)
    assert host.run("find", "/var/lib/skerry", "!", "-user", "skerry").stdout == ""
    assert host.run("find", "/var/lib/skerry", "-perm", "/077", "!", "-type", "l").stdout == ""


def test_the_master_key_may_be_root_s_and_come_as_a_credential(host: Device) -> None:
    settle(host, auth_service={"cluster_name": "skerry", "master_key_file": KEY})
    host.run("install", "-o", "root", "-m", "600", "/var/lib/skerry/master.key", KEY)
    host.run("rm", "/var/lib/skerry/master.key")
    host.run("systemctl", "restart", SERVICE, timeout=PATIENCE)
    assert "joe" in host.run("tctl", "users", "ls").stdout
    assert not host.path("/var/lib/skerry/master.key").exists()
    host.run("mv", KEY, "/var/kept-key")
    done = host.run("tctl", "users", "ls", check=False)
    assert done.returncode == 1
    assert "has lost its master key" in done.stderr
    done = host.run("systemctl", "restart", SERVICE, check=False, timeout=PATIENCE)
    assert done.returncode != 0
    assert "has lost its master key" in host.journal(SERVICE)
    # And back again: what is in the data directory counts where no credential is handed over.
    host.run("install", "-o", "skerry", "-g", "skerry", "-m", "600", "/var/kept-key", "/var/lib/skerry/master.key")
    settle(host)
    host.run("systemctl", "restart", SERVICE, timeout=PATIENCE)
    assert "joe" in host.run("tctl", "users", "ls").stdout


def test_a_role_that_hangs_is_begun_anew_by_the_supervisor_and_a_supervisor_that_does_by_systemd(host: Device) -> None:
    before, supervisor = processes(host), main_pid(host)
    with host.following(SERVICE) as journal:
        host.run("kill", "-STOP", str(before["proxy"]))
        journal.await_line(r"proxy has not answered for \d+ s: it hangs, and is ended", PATIENCE)
        journal.await_line(r"proxy started, pid \d+", PATIENCE)
        assert main_pid(host) == supervisor
        host.run("kill", "-STOP", str(supervisor))
        journal.await_line("Watchdog timeout", PATIENCE)
        journal.await_line(r"Started .*controller", PATIENCE)
    assert main_pid(host) != supervisor
    assert not set(before.values()) & set(processes(host).values())


def test_an_end_waits_for_a_session_as_long_as_it_may(fleet: Fleet, host: Device) -> None:
    proxy = {"public_addr": WEB, "drain_timeout": "90s"}  # longer than the unit's own TimeoutStopSec
    settle(host, proxy_service=proxy)
    host.run("systemctl", "restart", SERVICE, timeout=PATIENCE)
    kiosk = fleet.bed.device("kiosk")
    kiosk.boot()
    fleet.join(kiosk)
    fleet.await_online("kiosk")
    fleet.sign_in()
    with host.following(SERVICE) as journal:
        with open_session(fleet.alice, "root@kiosk", prefix=fleet.office) as session:
            host.run("systemctl", "stop", "--no-block", SERVICE)
            journal.await_line("1 sessions, which may end within 90 s", PATIENCE)
            assert session.echo("still here") == "still here"
            assert host.unit(SERVICE, "ActiveState") == {"ActiveState": "deactivating"}
        journal.await_line(r"Stopped .*controller", PATIENCE)
    assert host.unit(SERVICE, "Result", "ActiveState") == {"Result": "success", "ActiveState": "inactive"}
