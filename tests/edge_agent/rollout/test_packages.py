"""Upgrades and removal where Debian's package is what is installed: dpkg is the real one, in the made device's root."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.operations.device import look_at_versions
from edge_agent.policy.layout import packaged_unit
from tests.edge_agent.rollout.made_device import MadeDevice
from tests.harness.made_tree import make_tree

pytestmark = pytest.mark.system
QUICK = ("--stay", "1s", "--wait", "30s")
Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """Makes packages of the agent."""

    def make(version: str, behaviour: str = "good", *, name: str = "skerry-agent", more: str = "") -> str:
        files = tmp_path / f"files-{version}"
        tree = make_tree(files / "usr/lib/skerry/agent", version.replace("~rc", "rc"), behaviour)
        unit = files / "lib/systemd/system/skerry-agent.service"
        unit.parent.mkdir(parents=True)
        unit.write_text(packaged_unit((tree / "systemd/skerry-agent.service").read_text()))
        (files / "usr/bin").mkdir()
        (files / "usr/bin/edge-agent").symlink_to("../lib/skerry/agent/bin/edge-agent")
        (files / "DEBIAN").mkdir()
        (files / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\n"
            f"{more}Description: the agent, made by hand\n"
        )
        made = tmp_path / f"{name}_{version}_all.deb"
        command = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(files), str(made)]
        subprocess.run(command, check=True, capture_output=True)
        return str(made)

    return make


@pytest.fixture
def packaged(device: MadeDevice, package: Package) -> MadeDevice:
    """A device on which the package of 1.0 is installed, and runs."""
    for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"):
        (device.root / name).mkdir(parents=True)
    (device.root / "var/lib/dpkg/status").touch()
    dpkg(device, "--install", package("1.0"))
    Path(device.layout.data).mkdir(mode=0o700)
    device.systemctl("enable", "skerry-agent.service")
    device.systemctl("start", "skerry-agent.service")
    device.wait_for(lambda: device.runs("1.0"), "version 1.0 to run")
    return device


def dpkg(device: MadeDevice, *words: str) -> str:
    command = ["dpkg", f"--root={device.root}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def version_of(device: MadeDevice) -> str:
    return Path(device.layout.package_tree, "VERSION").read_text().strip()


def kept(device: MadeDevice) -> list[str]:
    return sorted(path.name for path in Path(device.layout.packages).iterdir())


def test_a_package_takes_another_s_place_and_a_broken_one_gives_way_to_the_one_that_was_kept(
    packaged: MadeDevice, package: Package
) -> None:
    done = packaged.run("upgrade", package("1.1"), *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr + packaged.said()
    assert "the package of 1.0 was not kept: its files are, as the way back" in done.stdout
    assert "Version: 1.1" in dpkg(packaged, "--status", "skerry-agent")
    assert kept(packaged) == ["skerry-agent_1.1_all.deb"]
    done = packaged.run("upgrade", package("1.2", "dies"), *QUICK)
    assert done.returncode == 4, done.stdout + done.stderr + packaged.said()
    assert "Version: 1.1" in dpkg(packaged, "--status", "skerry-agent")
    assert version_of(packaged) == "1.1"
    assert packaged.runs("1.1")
    assert kept(packaged) == ["skerry-agent_1.1_all.deb"]
    done = packaged.run("upgrade", package("1.3"), *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr + packaged.said()
    assert kept(packaged) == ["skerry-agent_1.1_all.deb", "skerry-agent_1.3_all.deb"]


def test_where_the_package_was_not_kept_its_files_are_the_way_back(packaged: MadeDevice, package: Package) -> None:
    done = packaged.run("upgrade", package("1.1", "dies"), *QUICK)
    assert done.returncode == 4, done.stdout + done.stderr + packaged.said()
    assert version_of(packaged) == "1.0"
    assert "# of version 1.0" in Path(packaged.layout.package_unit).read_text()
    assert packaged.runs("1.0")
    assert kept(packaged) == []
    versions = look_at_versions(packaged.layout, "")
    assert (versions.installed, versions.package) == ("1.0", "1.1")  # which the doctor tells


@pytest.mark.parametrize("phase", ["switched", "watching"])
def test_a_power_cut_while_a_package_is_unpacked_is_mended_at_the_next_start(
    packaged: MadeDevice, package: Package, phase: str
) -> None:
    assert packaged.run("upgrade", package("1.1"), *QUICK, "--detach").returncode == 0
    packaged.wait_for(lambda: packaged.kept().get("phase") in {phase, "done"}, phase)
    packaged.systemctl("power-cut")
    packaged.systemctl("boot")
    packaged.wait_for(lambda: packaged.kept()["state"] == "done", "the end")
    packaged.wait_for(lambda: not Path(packaged.layout.upgrade_unit).exists(), "its end")
    assert "Version: 1.1" in dpkg(packaged, "--status", "skerry-agent")
    assert packaged.runs("1.1")


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda make, _: make("1.1", "unable"), "does not run: ERROR: edge-agent: broken"),
        (lambda make, _: make("1.1", name="other"), "is not the package skerry-agent"),
        (lambda _, tmp: broken(tmp), "dpkg-deb broken.deb: "),
    ],
)
def test_a_package_that_is_no_good_is_refused_and_nothing_is_changed(
    packaged: MadeDevice, package: Package, tmp_path: Path, make: Callable[[Package, Path], str], line: str
) -> None:
    source, before = make(package, tmp_path), packaged.footprint()
    done = packaged.run("upgrade", source)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stdout + done.stderr
    assert line in done.stderr
    assert packaged.footprint() == before


def test_a_package_that_was_kept_before_stays_so_where_the_upgrade_to_it_is_not_prepared(
    packaged: MadeDevice, package: Package, tmp_path: Path
) -> None:
    for version in ("1.1", "1.2"):
        assert packaged.run("upgrade", package(version), *QUICK).returncode == 0
    assert kept(packaged) == ["skerry-agent_1.1_all.deb", "skerry-agent_1.2_all.deb"]
    link = tmp_path / "link.deb"
    link.symlink_to(Path(packaged.layout.packages, "skerry-agent_1.1_all.deb"))
    unit = Path(packaged.layout.upgrade_unit)
    unit.with_name(f".{unit.name}.new").mkdir()  # so that the unit cannot be written
    done = packaged.run("upgrade", str(link))
    assert done.returncode == 1, done.stdout + done.stderr
    assert kept(packaged) == ["skerry-agent_1.1_all.deb", "skerry-agent_1.2_all.deb"]


def broken(folder: Path) -> str:
    path = folder / "broken.deb"
    path.write_bytes(b"!<arch>\n")
    return str(path)


def test_an_archive_is_not_for_a_device_with_the_package(packaged: MadeDevice, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "made", "1.1")
    done = packaged.run("upgrade", str(tree))
    assert done.returncode == 1
    assert "was installed from a Debian package: give a .deb of the new version" in done.stderr
    done = packaged.run("install", "--tree", str(tree), "--controller", "127.0.0.1:9", "--token", "x" * 32)
    assert done.returncode == 1
    assert "version 1.0 is installed from the Debian package skerry-agent" in done.stderr


def test_a_purge_takes_the_package_with_it(packaged: MadeDevice) -> None:
    done = packaged.run("remove", "--purge")
    assert done.returncode == 0, done.stderr
    assert dpkg(packaged, "--list") == ""
    for place in (packaged.layout.package_tree, packaged.layout.data, packaged.layout.packages):
        assert not Path(place).exists()


def test_a_package_that_is_removed_has_its_service_stopped_first(packaged: MadeDevice) -> None:
    pid = packaged.pid
    assert packaged.is_alive(pid)
    done = packaged.run("remove")
    assert done.returncode == 0, done.stderr
    assert not packaged.is_alive(pid)
    assert not Path(packaged.layout.package_tree).exists()


def test_a_release_candidate_is_come_to_known_again_and_gone_back_to(packaged: MadeDevice, package: Package) -> None:
    candidate = package("1.1~rc1")
    done = packaged.run("upgrade", candidate, *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr + packaged.said()
    assert packaged.record()["to"] == "1.1rc1"
    assert packaged.runs("1.1rc1")
    again = packaged.run("upgrade", candidate, *QUICK)
    assert (again.returncode, again.stdout) == (0, "version 1.1rc1 runs already: nothing was changed\n")
    done = packaged.run("upgrade", package("1.1", "dies"), *QUICK)
    assert done.returncode == 4, done.stdout + done.stderr + packaged.said()
    assert "Version: 1.1~rc1" in dpkg(packaged, "--status", "skerry-agent")
    assert packaged.runs("1.1rc1")


def test_while_another_program_is_at_work_with_dpkg_the_switch_waits_and_nobody_is_cut(
    packaged: MadeDevice, package: Package
) -> None:
    source, before = package("1.1"), packaged.pid
    with Path(packaged.root, "var/lib/dpkg/lock-frontend").open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        assert packaged.run("upgrade", source, *QUICK, "--detach").returncode == 0
        packaged.wait_for(lambda: "at work with dpkg" in packaged.kept().get("doing", ""), "its wait for dpkg")
        assert packaged.kept()["phase"] == "draining"
        assert packaged.pid == before
    packaged.wait_for(lambda: packaged.kept()["state"] == "done", "the upgrade")
    assert packaged.runs("1.1")


def test_a_package_that_dpkg_does_not_take_cuts_nobody_and_the_reason_is_dpkg_s(
    packaged: MadeDevice, package: Package
) -> None:
    before = packaged.pid
    done = packaged.run("upgrade", package("1.1", more="Pre-Depends: nothing-like-it\n"), *QUICK)
    assert done.returncode == 4, done.stdout + done.stderr + packaged.said()
    assert "dpkg: error processing archive" in packaged.record()["reason"]
    assert "pre-dependency problem" in packaged.record()["reason"]
    assert (packaged.pid, version_of(packaged)) == (before, "1.0")
