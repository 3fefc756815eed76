"""Upgrades of a made device: a version takes another's place, or does not, and what is cut off is gone on with."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edge_agent.rollout.archive import take
from edge_agent.rollout.fault import RolloutError
from tests.edge_agent.rollout.made_device import MadeDevice
from tests.harness.made_tree import make_tree, pack, write_manifest

pytestmark = pytest.mark.system
QUICK = ("--stay", "1s", "--wait", "20s")


@pytest.fixture
def upgraded_from(device: MadeDevice) -> MadeDevice:
    """A device on which version 1.0 runs."""
    device.have("1.0")
    return device


def archive(tmp_path: Path, version: str, behaviour: str = "good") -> str:
    return str(pack(make_tree(tmp_path / f"made-{version}", version, behaviour), tmp_path / f"{version}.tar.gz"))


def stands_on(device: MadeDevice, version: str) -> None:
    """See that everything is of one version, and that nothing of an upgrade is left but its record."""
    assert (device.current, device.unit_version) == (version, version)
    device.wait_for(lambda: device.runs(version), f"version {version} to run")
    assert not Path(device.layout.upgrade_unit).exists()
    assert not [path.name for path in Path(device.layout.trees).iterdir() if path.name.startswith(".")]
    asked = (device.root / "etc/systemd/system/multi-user.target.wants").iterdir()
    assert [path.name for path in asked] == ["skerry-agent.service"]


def test_a_new_version_takes_the_old_one_s_place_and_the_old_one_is_kept(
    upgraded_from: MadeDevice, tmp_path: Path
) -> None:
    device = upgraded_from
    done = device.run("upgrade", archive(tmp_path, "1.1"), *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr + device.said()
    assert done.stdout.splitlines()[-1] == "upgraded from 1.0 to 1.1: it runs and is online"
    stands_on(device, "1.1")
    assert device.versions() == ["1.0", "1.1"]
    record = device.record()
    assert (record["state"], record["from"], record["to"], record["reason"]) == ("done", "1.0", "1.1", "")
    assert record["began"]
    assert record["ended"]
    again = device.run("upgrade", archive(tmp_path, "1.2"), *QUICK)
    assert again.returncode == 0
    assert device.versions() == ["1.1", "1.2"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("dies", "version 1.1 does not start"),
        ("offline", "version 1.1 did not come online within 8s: offline as kiosk (tunnel down"),
        ("silent", "version 1.1 did not come online within 8s: the service is active"),
    ],
)
def test_a_version_that_is_no_good_gives_way_to_the_old_one(
    upgraded_from: MadeDevice, tmp_path: Path, behaviour: str, reason: str
) -> None:
    device = upgraded_from
    done = device.run(
        "upgrade", archive(tmp_path, "1.1", behaviour), "--stay", "1s", "--wait", "60s" if behaviour == "dies" else "8s"
    )
    assert done.returncode == 4, done.stdout + done.stderr + device.said()
    assert done.stdout.splitlines()[-1].startswith(f"went back to 1.0: {reason}")
    stands_on(device, "1.0")
    assert device.versions() == ["1.0"]
    record = device.record()
    assert record["state"] == "rolled_back"
    assert record["reason"].startswith(reason)


def test_a_device_that_was_offline_is_upgraded_by_what_can_be_seen(device: MadeDevice, tmp_path: Path) -> None:
    device.have("1.0", "offline")
    done = device.run("upgrade", archive(tmp_path, "1.1", "offline"), *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    stands_on(device, "1.1")


def test_a_service_that_does_not_run_is_not_started(device: MadeDevice, tmp_path: Path) -> None:
    device.have("1.0", is_running=False)
    done = device.run("upgrade", archive(tmp_path, "1.1"), *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was not started" in done.stdout
    assert device.current == "1.1"
    assert not device.runs("1.1")


def test_an_older_version_may_be_gone_back_to_and_it_is_said(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device = upgraded_from
    done = device.run("upgrade", archive(tmp_path, "0.9"), *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "version 0.9 is older than 1.0, which runs: this is a downgrade" in done.stdout.splitlines()
    stands_on(device, "0.9")
    back = device.run("upgrade", device.layout.tree("1.0"), *QUICK)
    assert back.returncode == 0, back.stdout + back.stderr
    stands_on(device, "1.0")


def test_the_same_version_changes_nothing(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device, before = upgraded_from, upgraded_from.footprint()
    pid = Path(device.layout.status).read_text().partition('"pid": ')[2].partition(",")[0]
    done = device.run("upgrade", archive(tmp_path, "1.0"))
    assert (done.returncode, done.stdout) == (0, "version 1.0 runs already: nothing was changed\n")
    assert device.footprint() == before
    assert f'"pid": {pid},' in Path(device.layout.status).read_text()
    assert device.record() == {"state": "none"}


# --- what is refused ------------------------------------------------------------------------------------------------


def escaping(tmp_path: Path, name: str, *, link: str | None = None) -> str:
    """An archive that would put something outside of its directory."""
    path = tmp_path / "escaping.tar.gz"
    tree = make_tree(tmp_path / "made", "1.1")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tree, "skerry-agent")
        entry = tarfile.TarInfo(name)
        if link:
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            tar.addfile(entry)
            entry = tarfile.TarInfo(f"{name}/file")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"evil"))
    return str(path)


def damaged(tmp_path: Path) -> str:
    path = Path(archive(tmp_path, "1.1"))
    path.write_bytes(path.read_bytes()[:-200])
    return str(path)


def changed(tmp_path: Path) -> str:
    tree = make_tree(tmp_path / "made", "1.1")
    (tree / "lib/shared/module.py").write_text("import evil\n")
    return str(pack(tree, tmp_path / "changed.tar.gz"))


def more(tmp_path: Path) -> str:
    tree = make_tree(tmp_path / "made", "1.1")
    (tree / "lib/shared/more.py").write_text("import evil\n")
    return str(pack(tree, tmp_path / "more.tar.gz"))


def misnamed(tmp_path: Path, version: str) -> str:
    tree = make_tree(tmp_path / "made", "1.1")
    (tree / "VERSION").write_text(version)
    write_manifest(tree)
    return str(pack(tree, tmp_path / "misnamed.tar.gz"))


def other(tmp_path: Path, **made: str) -> str:
    return str(pack(make_tree(tmp_path / "made", "1.1", **made), tmp_path / "other.tar.gz"))


def through_a_link(tmp_path: Path) -> str:
    """An archive whose link to Python is followed by a directory of the same name."""
    victim = directory(tmp_path / "victim")
    victim.chmod(0o700)
    path = tmp_path / "escaping.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("skerry-agent/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, str(victim)
        tar.addfile(link)
        entry = tarfile.TarInfo("skerry-agent/bin/python3")
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
    return str(path)


def long_winded(tmp_path: Path, kind: bytes, text: bytes) -> str:
    """An archive in which something stands before an entry."""
    path = tmp_path / "long.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo("././@LongLink")
        entry.type, entry.size = kind, len(text)
        tar.addfile(entry, io.BytesIO(text))
        tar.add(make_tree(tmp_path / "made", "1.1"), "skerry-agent")
    return str(path)


def linked(tmp_path: Path) -> str:
    tree = make_tree(tmp_path / "made", "1.1")
    (tree / "lib/shared/more.py").symlink_to("module.py")
    return str(pack(tree, tmp_path / "linked.tar.gz"))


def precompiled(tmp_path: Path) -> str:
    tree = make_tree(tmp_path / "made", "1.1")
    (tree / "lib/shared/__pycache__").mkdir()
    (tree / "lib/shared/__pycache__/module.cpython-311.pyc").write_bytes(b"other code")
    return str(pack(tree, tmp_path / "precompiled.tar.gz"))


REFUSED: dict[str, tuple[Callable[[Path], str], str]] = {
    "not there": (lambda tmp: str(tmp / "nothing.tar.gz"), "nothing.tar.gz is not there"),
    "damaged": (damaged, "is damaged, or no archive of the agent: "),
    "no archive": (lambda tmp: str(write(tmp / "a.tar.gz", b"text")), "is damaged, or no archive of the agent: "),
    "a file changed": (changed, "lib/shared/module.py is not what its MANIFEST says; take the archive anew"),
    "a file more": (more, "lib/shared/more.py is not what its MANIFEST says; take the archive anew"),
    "parent directory": (lambda tmp: escaping(tmp, "skerry-agent/../../evil"), "it would land outside"),
    "absolute": (lambda tmp: escaping(tmp, "/tmp/skerry-evil"), "it would land outside"),
    "a link out": (lambda tmp: escaping(tmp, "skerry-agent/l", link="/etc"), "it is a link that leads elsewhere"),
    "behind a link": (lambda tmp: escaping(tmp, "skerry-agent/l", link="lib"), "it lies behind a link"),
    "a directory over a link": (through_a_link, "'skerry-agent/bin/python3': it lies behind a link"),
    "a long name": (
        lambda tmp: long_winded(tmp, tarfile.GNUTYPE_LONGNAME, b"x" * 2**17),
        "what stands before an entry is too much",
    ),
    "a size of its own": (
        lambda tmp: long_winded(tmp, tarfile.XHDTYPE, b"18 size=0000000512\n"),
        "an entry is longer or shorter than it says",
    ),
    "a link more": (linked, "lib/shared/more.py is not what its MANIFEST says"),
    "byte code": (precompiled, "lib/shared/__pycache__/module.cpython-311.pyc is not what its MANIFEST says"),
    "another machine": (
        lambda tmp: other(tmp, architecture="riscv64"),
        "this version is made for riscv64, and this device",
    ),
    "an older Python's": (
        lambda tmp: other(tmp, python="3.9"),
        "this version runs on Python 3.9, and this device has 3.",
    ),
    "a newer Python's": (
        lambda tmp: other(tmp, python="3.99"),
        "this version runs on Python 3.99, and this device has 3.",
    ),
    "does not run": (lambda tmp: archive(tmp, "1.1", "unable"), "does not run: ERROR: edge-agent: broken"),
    "says another version": (lambda tmp: other(tmp, said="1.7"), "and its program says 1.7"),
    "a version with a path": (lambda tmp: misnamed(tmp, "../../evil"), "not a version"),
    "a package": (lambda tmp: str(write(tmp / "a.deb", b"")), "was installed from an archive: give a .tar.gz"),
    "an empty directory": (
        lambda tmp: str(directory(tmp / "d")),
        "is no version of the agent: it has no bin/edge-agent",
    ),
}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def directory(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_by_one_line_and_nothing_is_changed(
    upgraded_from: MadeDevice, tmp_path: Path, name: str
) -> None:
    make, line = REFUSED[name]
    source, before = make(tmp_path), upgraded_from.footprint()
    done = upgraded_from.run("upgrade", source)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stdout + done.stderr
    assert done.stderr.startswith("ERROR: ")
    assert line in done.stderr
    assert upgraded_from.footprint() == before
    assert not Path("/tmp/skerry-evil").exists()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("victim")} <= {0o700}


def test_a_file_with_another_hash_is_refused(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    source, before = archive(tmp_path, "1.1"), upgraded_from.footprint()
    done = upgraded_from.run("upgrade", source, "--sha256", "0" * 64)
    assert done.returncode == 1
    assert "is not what was announced: its SHA-256 is " in done.stderr
    assert upgraded_from.footprint() == before
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    assert upgraded_from.run("upgrade", source, "--sha256", digest, *QUICK).returncode == 0


def test_what_a_preparation_that_was_cut_off_left_is_taken_away(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    for name in (".upgrade", ".upgrade.x1y2z3"):
        make_tree(Path(upgraded_from.layout.trees, name, "unpacked"), "1.1")
    assert upgraded_from.run("upgrade", archive(tmp_path, "1.0")).returncode == 0
    assert upgraded_from.versions() == ["1.0"]


def test_what_was_checked_is_what_is_used_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    source, copy = write(tmp_path / "given.tar.gz", b"announced"), tmp_path / "copy"
    take(source, copy, hashlib.sha256(b"announced").hexdigest())
    write(source, b"another")
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (b"announced", 0o600)
    with pytest.raises(RolloutError, match="is not what was announced"):
        take(source, tmp_path / "second", hashlib.sha256(b"announced").hexdigest())
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RolloutError, match="it is no file"):
        take(tmp_path / "pipe", tmp_path / "third", "")


def test_a_device_without_an_agent_is_told_to_install_one(device: MadeDevice, tmp_path: Path) -> None:
    done = device.run("upgrade", archive(tmp_path, "1.1"))
    assert done.returncode == 1
    assert "no agent is installed here" in done.stderr


# --- people, and others ---------------------------------------------------------------------------------------------


def test_people_are_waited_for_but_whoever_asks_is_not(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device = upgraded_from
    device.sessions.write_text("mine theirs")
    environment = {"SSH_SESSION_ID": "mine"}
    device.wait_for(lambda: "theirs" in Path(device.layout.status).read_text(), "the sessions")
    begun = device.run("upgrade", archive(tmp_path, "1.1"), *QUICK, "--detach", more=environment)
    assert begun.returncode == 0, begun.stderr
    device.wait_for(lambda: device.kept().get("phase") == "draining", "the wait for people")
    assert device.kept()["doing"] == "waiting for 1 session to end, for 5m0s at most: theirs"
    assert device.current == "1.0"
    device.sessions.write_text("mine")
    device.wait_for(lambda: device.kept()["state"] == "done", "the upgrade")


def test_who_does_not_end_in_time_is_cut_and_that_is_said(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device = upgraded_from
    device.sessions.write_text("theirs")
    device.wait_for(lambda: "theirs" in Path(device.layout.status).read_text(), "the session")
    done = device.run("upgrade", archive(tmp_path, "1.1"), *QUICK, "--drain", "1s")
    assert done.returncode == 0, done.stdout + done.stderr
    log = Path(device.layout.log).read_text()
    assert "switching from 1.0 to 1.1; 1 session did not end within 1s and will be cut: theirs\n" in log


def test_a_second_upgrade_at_the_same_time_is_refused(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device = upgraded_from
    device.sessions.write_text("theirs")
    device.wait_for(lambda: "theirs" in Path(device.layout.status).read_text(), "the session")
    assert device.run("upgrade", archive(tmp_path, "1.1"), *QUICK, "--detach").returncode == 0
    device.wait_for(lambda: device.kept().get("phase") == "draining", "the wait for people")
    second = device.run("upgrade", archive(tmp_path, "1.2"), *QUICK)
    assert second.returncode == 1
    assert "installed, upgraded or removed already" in second.stderr or "goes on already (draining)" in second.stderr
    device.sessions.write_text("")
    device.wait_for(lambda: device.kept()["state"] == "done", "the first one")
    assert device.kept()["to"] == "1.1"


def test_the_upgrade_goes_on_where_whoever_watched_it_is_gone(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device = upgraded_from
    watching = device.begin("upgrade", archive(tmp_path, "1.1"), *QUICK)
    device.wait_for(device.kept, "the record")
    watching.send_signal(signal.SIGHUP)
    watching.communicate(timeout=60)
    device.wait_for(lambda: device.kept()["state"] == "done", "the upgrade")
    device.wait_for(lambda: not Path(device.layout.upgrade_unit).exists(), "its end")
    stands_on(device, "1.1")


@pytest.mark.parametrize("behaviour", ["unheard", "reconnecting"])
def test_a_version_without_the_tunnel_gives_way_though_the_old_one_was_not_quite_online(
    device: MadeDevice, tmp_path: Path, behaviour: str
) -> None:
    device.have("1.0", behaviour)
    done = device.run("upgrade", archive(tmp_path, "1.1", "offline"), "--stay", "1s", "--wait", "5s")
    assert done.returncode == 4, done.stdout + done.stderr + device.said()
    assert device.current == "1.0"


def test_where_systemd_does_not_say_how_the_service_is_nothing_is_begun(
    upgraded_from: MadeDevice, tmp_path: Path
) -> None:
    device, before = upgraded_from, upgraded_from.footprint()
    device.interpose('[ "$1" != show ] || { echo "Failed to connect to bus" >&2; exit 1; }')
    done = device.run("upgrade", archive(tmp_path, "1.1"), *QUICK)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stdout + done.stderr
    assert "Failed to connect to bus" in done.stderr
    assert device.footprint() == before


def test_where_systemd_does_not_say_for_a_while_the_switch_waits(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device, dumb = upgraded_from, tmp_path / "dumb"
    device.sessions.write_text("theirs")
    device.wait_for(lambda: "theirs" in Path(device.layout.status).read_text(), "the session")
    device.interpose(f'[ "$1" != show ] || [ ! -e {dumb} ] || {{ echo "Failed to connect to bus" >&2; exit 1; }}')
    assert device.run("upgrade", archive(tmp_path, "1.1"), *QUICK, "--detach").returncode == 0
    device.wait_for(lambda: device.kept().get("phase") == "draining", "the wait for people")
    dumb.touch()
    device.wait_for(lambda: "Failed to connect to bus" in device.kept()["doing"], "its wait for systemd")
    assert device.current == "1.0"
    dumb.unlink()
    device.sessions.write_text("")
    device.wait_for(lambda: device.kept()["state"] == "done", "the upgrade")


def test_who_is_ended_while_the_upgrade_begins_ends_once_it_has_begun(
    upgraded_from: MadeDevice, tmp_path: Path
) -> None:
    """It would stay prepared, with nobody to carry it through, and take people by surprise at the next start."""
    device = upgraded_from
    device.interpose(
        'case "$*" in "start --no-block skerry-agent-upgrade.service")\n'
        "kill -TERM $PPID; timeout 2 tail --pid=$PPID -f /dev/null && exit 1;; esac"
    )
    done = device.run("upgrade", archive(tmp_path, "1.1"), *QUICK)
    assert done.returncode == 128 + signal.SIGTERM, done.stdout + done.stderr
    device.wait_for(lambda: device.kept()["state"] == "done", "the upgrade")


def test_a_removal_breaks_an_upgrade_off_and_its_record_goes_too(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device = upgraded_from
    device.sessions.write_text("theirs")
    device.wait_for(lambda: "theirs" in Path(device.layout.status).read_text(), "the session")
    assert device.run("upgrade", archive(tmp_path, "1.1"), *QUICK, "--detach").returncode == 0
    device.wait_for(lambda: device.kept().get("phase") == "draining", "the wait for people")
    pid = device.pid
    done = device.run("remove")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not device.is_alive(pid)
    assert not Path(device.layout.trees).exists()
    assert not Path(device.layout.upgrade_unit).exists()
    assert device.record() == {"state": "none"}


# --- power cuts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["draining", "watching"])
def test_an_upgrade_that_a_power_cut_broke_off_is_gone_on_with(
    upgraded_from: MadeDevice, tmp_path: Path, phase: str
) -> None:
    device = upgraded_from
    device.sessions.write_text("theirs" if phase == "draining" else "")
    device.wait_for(lambda: ("theirs" in Path(device.layout.status).read_text()) == (phase == "draining"), "people")
    assert device.run("upgrade", archive(tmp_path, "1.1"), "--stay", "3s", "--wait", "30s", "--detach").returncode == 0
    device.wait_for(lambda: device.kept().get("phase") == phase, phase)
    device.systemctl("power-cut")
    device.sessions.write_text("")
    device.systemctl("boot")
    device.wait_for(lambda: device.kept()["state"] != "running", "the end")
    assert device.kept()["state"] == "done", device.said()
    device.wait_for(lambda: not Path(device.layout.upgrade_unit).exists(), "its end")
    stands_on(device, "1.1")


def test_a_broken_version_gives_way_also_after_a_power_cut(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device = upgraded_from
    command = ("upgrade", archive(tmp_path, "1.1", "offline"), "--stay", "1s", "--wait", "5s", "--detach")
    assert device.run(*command).returncode == 0
    device.wait_for(lambda: device.kept().get("phase") == "watching", "the new version")
    device.systemctl("power-cut")
    assert device.current == "1.1"
    device.systemctl("boot")
    device.wait_for(lambda: device.kept()["state"] == "rolled_back", "the way back")
    device.wait_for(lambda: not Path(device.layout.upgrade_unit).exists(), "its end")
    stands_on(device, "1.0")


def test_a_version_that_has_the_device_restart_is_given_up(upgraded_from: MadeDevice, tmp_path: Path) -> None:
    device = upgraded_from
    command = ("upgrade", archive(tmp_path, "1.1", "offline"), "--stay", "1s", "--wait", "1h", "--detach")
    assert device.run(*command).returncode == 0
    for start in range(1, 4):
        device.wait_for(partial(device.was_taken_up, start), f"start {start}")
        device.wait_for(lambda: device.kept().get("phase") == "watching", "the new version")
        device.systemctl("power-cut")
        device.systemctl("boot")
    device.wait_for(lambda: device.kept()["state"] == "rolled_back", "the way back")
    assert device.kept()["reason"] == "the upgrade was cut off 3 times while it was on trial"
    device.wait_for(lambda: not Path(device.layout.upgrade_unit).exists(), "its end")
    stands_on(device, "1.0")


def test_whatever_moment_it_is_killed_one_version_is_whole_and_the_upgrade_ends(
    upgraded_from: MadeDevice, tmp_path: Path
) -> None:
    """The power is cut a little later each time: while it is begun, while it switches, and while it watches."""
    device = upgraded_from
    for number, version in enumerate(("1.1", "1.2", "1.3", "1.4")):
        before = device.current
        source = archive(tmp_path, version)
        command = ("upgrade", source, *QUICK, "--detach")
        assert device.run(*command).returncode == 0
        device.wait_for(lambda: device.kept().get("phase") != "prepared", "its begin")
        pid = (
            subprocess.run(
                [device.environment["SKERRY_SYSTEMCTL"], "show", "skerry-agent-upgrade.service"],
                env=device.environment,
                capture_output=True,
                text=True,
                check=True,
            )
            .stdout.partition("MainPID=")[2]
            .split()[0]
        )
        device.wait_for(partial(_is_older, pid, number * 0.2), "the moment")
        device.systemctl("power-cut")
        assert device.current in {before, version}
        assert Path(device.layout.command).exists()
        assert Path(device.layout.tree(device.current), "bin/edge-agent").exists()
        device.systemctl("boot")
        device.wait_for(lambda: device.kept()["state"] == "done", "the end")
        device.wait_for(lambda: not Path(device.layout.upgrade_unit).exists(), "its end")
        stands_on(device, version)


def _is_older(pid: str, seconds: float) -> bool:
    """Tell whether a process has run for so long, or no more."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return True
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / 100 >= seconds


@pytest.mark.parametrize("identifier", ["", "0123456789abcdef"])
def test_the_record_of_another_upgrade_takes_nothing_away_that_runs(
    upgraded_from: MadeDevice, tmp_path: Path, identifier: str
) -> None:
    """The power is cut after the unit of a new upgrade was placed, and before its record was."""
    device = upgraded_from
    assert device.run("upgrade", archive(tmp_path, "1.1"), *QUICK).returncode == 0
    device.systemctl("power-cut")
    tree = make_tree(Path(device.layout.tree("2.0")), "2.0")
    Path(device.layout.current).unlink()
    Path(device.layout.current).symlink_to("2.0")
    Path(device.layout.unit).write_bytes((tree / "systemd/skerry-agent.service").read_bytes())
    Path(device.layout.upgrade_unit).write_text(
        f"[Service]\nRestart=on-failure\n"
        f"ExecStart={tree}/bin/edge-agent upgrade --resume {identifier} --root {device.root}\n"
    )
    device.systemctl("enable", "skerry-agent-upgrade.service")
    device.systemctl("boot")
    device.wait_for(lambda: not Path(device.layout.upgrade_unit).exists(), "its end")
    assert device.versions() == ["1.0", "1.1", "2.0"]
    stands_on(device, "2.0")
