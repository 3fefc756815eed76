"""The Debian packages, installed by dpkg on a Debian of their own; where systemd does not run, and where it does."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.distribution.source import own_version
from tests.harness.built_packages import package
from tests.harness.device_bed.bed import bed
from tests.harness.device_bed.device import Device
from tests.harness.device_bed.disk import Disk
from tests.harness.device_bed.image import image

pytestmark = pytest.mark.timeout(900)  # the first to ask builds packages, and an image of a device

AGENT, CONTROLLER = "agent-deb-amd64", "controller-deb-amd64"
NEWER = "9.9.9"
WANTED = "/etc/systemd/system/multi-user.target.wants/skerry-agent.service"
IN_CHROOT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
# Where dpkg and apt keep books of what they did.
BOOKS = ("/var/lib/dpkg", "/var/log", "/var/cache", "/var/lib/apt", "/var/lib/systemd", "/proc", "/tmp", "/new")


class Debian:
    """A Debian in which nothing runs, as in an image that is being made."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        command = [*self.disk.prefix, "chroot", str(self.disk.root), *IN_CHROOT, "sh", "-euc", script]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    def do(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def path(self, inside: str) -> Path:
        return self.disk.seen / inside.lstrip("/")

    def bring(self, kind: str, version: str | None = None) -> str:
        file = package(kind, version)
        self.path("/new").mkdir(exist_ok=True)
        shutil.copy(file, self.path("/new"))
        return f"/new/{file.name}"

    def changed(self) -> dict[str, str]:
        """Return what differs from the image; not the folders that the two have in common."""
        found = {name: what for name, what in self.disk.changes() if not name.startswith(BOOKS)}
        return {name: what for name, what in found.items() if not (image() / name.lstrip("/")).is_dir()}


@pytest.fixture
def debian() -> Iterator[Debian]:
    disk = Disk(image(), "2g", "debian")
    try:
        yield Debian(disk)
    finally:
        disk.close()


def byte_code(debian: Debian) -> list[str]:
    return debian.do("find /usr/lib/skerry -name '*.pyc' 2>/dev/null || true").split()


def test_the_agent_s_package_comes_goes_and_leaves_nothing(debian: Debian) -> None:
    before = debian.changed()
    said = debian.do(f"dpkg -i {debian.bring(AGENT)}")
    assert "edge-agent install --controller HOST:3080 --token TOKEN --ca-pin sha256:PIN" in said
    assert debian.do("edge-agent version").startswith(f"Skerry v{own_version()} edge-agent")
    assert debian.do("dpkg --verify skerry-agent") == ""
    assert any("/edge_agent/" in name for name in byte_code(debian))
    assert not debian.path(WANTED).is_symlink()  # it would fail at every boot
    for page in ("devices.md", "operations.md", "clones.md"):
        assert debian.path(f"/usr/share/doc/skerry-agent/{page}").exists()
    debian.do("systemctl enable skerry-agent")  # as `edge-agent install` does

    debian.do("dpkg -r skerry-agent")
    assert not debian.path("/usr/lib/skerry").exists()
    assert debian.path("/etc/skerry/edge_agent.yaml").exists()

    debian.do("mkdir -p /var/lib/skerry-agent /var/cache/skerry")
    debian.do("touch /etc/skerry/join-token /var/lib/skerry-agent/identity.json /var/log/skerry-install.log")
    debian.do("dpkg -P skerry-agent")
    assert debian.changed() == before
    assert not debian.path("/var/cache/skerry").exists()
    assert not debian.path("/var/log/skerry-install.log").exists()


def test_a_device_whose_settings_were_there_first_has_the_service_from_its_next_boot_on(debian: Debian) -> None:
    debian.do("mkdir -p /var/lib/skerry-agent && echo '{}' >/var/lib/skerry-agent/identity.json")
    said = debian.do(f"dpkg -i {debian.bring(AGENT)}")
    assert "no controller yet" not in said
    assert debian.path(WANTED).is_symlink()


def test_a_package_whose_tree_is_gone_can_be_removed_and_takes_a_broken_off_upgrade_with_it(debian: Debian) -> None:
    debian.do(f"dpkg -i {debian.bring(AGENT)}")
    units = "/etc/systemd/system"
    debian.do("rm -r /usr/lib/skerry/agent")
    debian.do("mkdir -p /var/lib/skerry-agent && touch /var/lib/skerry-agent/upgrade.json")
    debian.do(f"touch {units}/skerry-agent-upgrade.service")
    debian.do(f"ln -s ../skerry-agent-upgrade.service {units}/multi-user.target.wants/")
    debian.do("dpkg -r skerry-agent")
    left = [name for name, what in debian.changed().items() if "upgrade" in name]
    assert left == []


def test_settings_of_one_s_own_outlive_an_upgrade_and_old_byte_code_does_not(debian: Debian) -> None:
    debian.do(f"dpkg -i {debian.bring(AGENT)}")
    settings = debian.path("/etc/skerry/edge_agent.yaml")
    settings.write_text("controller: skerry.example.com:3080\n", encoding="ascii")
    stale = debian.path("/usr/lib/skerry/agent/lib/shared/edge_agent/__pycache__/stale.cpython-311.pyc")
    stale.touch()
    debian.do(f"dpkg -i {debian.bring(AGENT, NEWER)}")
    assert debian.do("edge-agent version").startswith(f"Skerry v{NEWER} ")
    assert settings.read_text(encoding="ascii") == "controller: skerry.example.com:3080\n"
    assert byte_code(debian)
    assert not stale.exists()


def test_the_settings_that_come_along_choose_nothing(debian: Debian) -> None:
    debian.do(f"dpkg -i {debian.bring(AGENT)}")
    lines = debian.path("/etc/skerry/edge_agent.yaml").read_text(encoding="utf-8").splitlines()
    assert "#controller: controller.example.com:3080" in lines
    assert [line for line in lines if line.strip() and not line.lstrip().startswith("#")] == []
    refused = debian.run("edge-agent start")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


def test_another_python_has_the_agent_compiled_anew(debian: Debian) -> None:
    debian.do(f"dpkg -i {debian.bring(AGENT)}")
    debian.do("find /usr/lib/skerry -name __pycache__ -prune -exec rm -rf {} +")
    debian.do("dpkg-trigger --no-await --by-package=python3-minimal /usr/bin/python3 && dpkg --triggers-only --pending")
    assert any("/edge_agent/" in name for name in byte_code(debian))


def test_beside_an_agent_from_an_archive_the_package_is_refused(debian: Debian) -> None:
    debian.do("mkdir -p /opt/skerry/agent/0.1.0 && ln -s 0.1.0 /opt/skerry/agent/current")
    refused = debian.run(f"dpkg -i {debian.bring(AGENT)}")
    assert refused.returncode == 1
    assert "edge-agent remove" in refused.stderr
    assert not debian.path("/usr/lib/skerry").exists()


def test_the_controller_s_package_comes_unstarted_and_goes(debian: Debian) -> None:
    said = debian.do(f"apt-get install -y --no-install-recommends {debian.bring(CONTROLLER)}")
    assert "systemctl enable --now skerry-controller" in said
    for command in ("controller", "tctl", "tsh"):
        assert debian.do(f"{command} version").startswith(f"Skerry v{own_version()} ")
    assert not debian.path("/etc/systemd/system/multi-user.target.wants/skerry-controller.service").exists()
    owners = debian.do("stat -c '%n %a %U %G' /var/lib/skerry /etc/skerry/controller.yaml").splitlines()
    assert owners == ["/var/lib/skerry 700 skerry skerry", "/etc/skerry/controller.yaml 640 root skerry"]
    archives = {path.name for path in debian.path("/usr/share/skerry/agent-archives").iterdir()}
    assert archives == {f"skerry-agent-{own_version()}-linux-{machine}.tar.gz" for machine in ("amd64", "arm64")}
    checked = debian.do("setpriv --reuid skerry --regid skerry --init-groups controller status 2>&1 || true")
    assert "Traceback" not in checked

    debian.do("dpkg -P skerry-controller")
    left = [name for name in debian.changed() if "skerry" in name]
    assert left == []
    assert "skerry" not in debian.path("/etc/passwd").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [AGENT, CONTROLLER])
def test_a_package_says_of_itself_what_dpkg_wants_to_know(kind: str) -> None:
    fields = subprocess.check_output(["dpkg-deb", "--field", package(kind)], text=True)
    assert f"\nVersion: {own_version()}\n" in fields
    assert "python3 (>= 3.11), python3 (<< 3.14)" in fields
    assert "@" not in fields.replace("maintainers@", "")
    files = subprocess.check_output(["dpkg-deb", "--fsys-tarfile", package(kind)])
    with tarfile.open(fileobj=io.BytesIO(files)) as tar:
        unit = tar.extractfile(f"./lib/systemd/system/skerry-{kind.partition('-')[0]}.service")
        assert unit
        assert re.search(rb"^ExecStart=/usr/bin/", unit.read(), re.MULTILINE)


HOME = "/root"  # the device's


# --- where systemd runs ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with bed() as made:
        kiosk = made.device("kiosk")
        kiosk.boot()
        for version in (None, NEWER):
            kiosk.put(package(AGENT, version), f"{HOME}/")
        yield kiosk


def file_of(version: str) -> str:
    return f"{HOME}/skerry-agent_{version}_amd64.deb"


# Stands in for the agent with somebody's session in it: what is to be proven is dpkg's and systemd's part.
STAND_IN = """\
[Service]
Type=simple
WatchdogSec=0
ExecStart=
ExecStart=/bin/sh -c 'test -e {home}/began || {{ touch {home}/began; {command}; }}; exec sleep infinity'
ProtectSystem=no
ProtectHome=no
PrivateTmp=no
"""


def test_an_upgrade_asked_for_through_the_agent_itself_is_finished_before_the_agent_restarts(device: Device) -> None:
    device.run("dpkg", "-i", file_of(own_version()), timeout=300)
    assert device.unit("skerry-agent", "ActiveState", "UnitFileState") == {
        "ActiveState": "inactive",  # it knows no controller
        "UnitFileState": "disabled",
    }
    device.run("systemctl", "enable", "skerry-agent")  # as `edge-agent install` does
    command = f"dpkg -i {file_of(NEWER)} >{HOME}/said 2>&1"
    device.write(
        "/etc/systemd/system/skerry-agent.service.d/stand-in.conf", STAND_IN.format(command=command, home=HOME)
    )
    device.run("systemctl", "daemon-reload")
    with device.following("skerry-agent.service") as journal:
        device.run("systemctl", "start", "skerry-agent")
        journal.await_line("Stopped skerry-agent.service|Stopped Skerry agent", timeout=300)
    assert device.run("dpkg-query", "-W", "-f", "${Status} ${Version}", "skerry-agent").stdout == (
        f"install ok installed {NEWER}"
    )
    assert "follows when the package manager is done" in device.run("cat", f"{HOME}/said").stdout
    device.shell("until systemctl is-active --quiet skerry-agent; do sleep 0.2; done")


def test_an_upgrade_from_outside_restarts_the_agent_at_once_and_edge_agent_upgrade_does_so_itself(
    device: Device,
) -> None:
    before = device.unit("skerry-agent", "MainPID")
    device.run("env", "SKERRY_UPGRADE=1", "dpkg", "-i", file_of(own_version()), timeout=300)
    assert device.unit("skerry-agent", "MainPID") == before
    device.run("dpkg", "-i", file_of(NEWER), timeout=300)
    after = device.unit("skerry-agent", "MainPID", "ActiveState")
    assert after["MainPID"] != before["MainPID"]
    assert after["ActiveState"] == "active"


def test_a_device_that_has_joined_before_is_served_once_the_package_is_there(device: Device) -> None:
    device.run("dpkg", "-r", "skerry-agent", timeout=300)
    assert device.unit("skerry-agent", "ActiveState")["ActiveState"] == "inactive"
    device.write("/var/lib/skerry-agent/identity.json", "{}")
    device.run("dpkg", "-i", file_of(NEWER), timeout=300)
    assert device.unit("skerry-agent", "ActiveState")["ActiveState"] == "active"


def test_removed_by_its_own_command_it_is_stopped(device: Device) -> None:
    before = device.unit("skerry-agent", "MainPID")["MainPID"]
    assert before != "0"
    device.run("edge-agent", "remove", timeout=300)
    assert device.unit("skerry-agent", "ActiveState", "MainPID") == {"ActiveState": "inactive", "MainPID": "0"}
    device.shell(f"! test -e /proc/{before}")
    assert device.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "skerry-agent").stdout == "config-files"
    device.run("dpkg", "-i", file_of(NEWER), timeout=300)
    assert device.unit("skerry-agent", "ActiveState", "UnitFileState") == {
        "ActiveState": "active",
        "UnitFileState": "enabled",
    }


def test_a_removal_in_the_middle_of_an_upgrade_leaves_nobody_who_would_bring_it_back(device: Device) -> None:
    unit = "/etc/systemd/system/skerry-agent-upgrade.service"
    device.write(unit, "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
    device.run("systemctl", "enable", "--now", "skerry-agent-upgrade")
    device.run("dpkg", "-r", "skerry-agent", timeout=300)
    assert device.unit("skerry-agent-upgrade", "ActiveState", "LoadState") == {
        "ActiveState": "inactive",
        "LoadState": "not-found",
    }
    device.run("dpkg", "-i", file_of(NEWER), timeout=300)


def test_purged_it_is_stopped_and_nothing_of_it_is_left(device: Device) -> None:
    device.run("rm", "-r", "/etc/systemd/system/skerry-agent.service.d")
    device.run("dpkg", "-P", "skerry-agent", timeout=300)
    assert device.unit("skerry-agent", "LoadState")["LoadState"] == "not-found"
    left = device.footprint("/var/lib/dpkg", "/var/log/journal", HOME, "/var/log/dpkg.log", "/var/log/alternatives")
    assert [name for name in left if "skerry" in name] == []
