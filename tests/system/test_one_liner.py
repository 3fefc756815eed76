"""The line that the admin is given for a device, run by a real shell with a real curl against a real controller.

The archive is a small one, whose agent says how it was called; the real one is installed on booted devices in
`tests/system/rollout`. What makes a device of this host, systemd's directory, stands in a mount namespace.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness.real_cluster import RealCluster

AGENT = r"""#!/bin/sh
echo "called:" "$@"
[ -x "$(dirname "$0")/python3" ] && echo "python is there"
echo "by: $(tr '\0' ' ' </proc/$PPID/cmdline)"
while [ "$#" -gt 1 ]; do
  [ "$1" = --token ] && stat --format='token: %a' "$2" && cat "$2"
  shift
done
"""
DEVICE = 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec sh -c "$1"'
MakeCluster = Callable[..., RealCluster]


def pack(path: Path, version: str = "0.1.0") -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, mode, body in (
            ("bin/edge-agent", 0o755, AGENT.encode()),
            ("ballast", 0o644, os.urandom(400_000)),
        ):
            member = tarfile.TarInfo(f"skerry-agent-{version}/{name}")
            member.size, member.mode = len(body), mode
            archive.addfile(member, io.BytesIO(body))


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    for architecture in ("amd64", "arm64"):
        pack(folder / f"skerry-agent-0.1.0-linux-{architecture}.tar.gz")
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the script works, and beside it a `sudo` for hosts that have none."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "bin" / "sudo").chmod(0o755)
    (tmp_path / "work").mkdir()
    return tmp_path


def serving(make_cluster: MakeCluster, archives: Path, **proxy: object) -> RealCluster:
    return make_cluster({"proxy_service": {"agent_archives": str(archives), **proxy}}).start()


def line_of(cluster: RealCluster) -> str:
    found = re.search(r"(?m)^> (curl .*)$", cluster.tctl("tokens", "add", "--type=node").stdout)
    assert found is not None
    return found[1]


def run(line: str, place: Path, *, device: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", DEVICE, "-", line]
    environment = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(place / "work"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command if device else ["sh", "-c", line],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_line_fetches_checks_and_hands_on_what_it_was_told(
    make_cluster: MakeCluster, archives: Path, place: Path
) -> None:
    cluster = serving(make_cluster, archives)
    line = line_of(cluster)
    done = run(f"{line} --labels 'site=far away'", place)
    assert (done.returncode, done.stderr) == (0, "")
    told, called = done.stdout.split("called: ")
    assert told.startswith(f"Skerry agent 0.1.0 for the cluster harbour at {cluster.address('web')}. This will\n")
    assert called.startswith(f"install --controller {cluster.address('web')} --ca-pin sha256:")
    assert re.search(r"--labels site=far away --token /\S+/token\npython is there\n", called)
    assert list((place / "work").iterdir()) == []


@pytest.mark.parametrize("form", ["--token {}", "--token={}"])
def test_nobody_who_looks_at_what_runs_sees_the_token(
    make_cluster: MakeCluster, archives: Path, place: Path, form: str
) -> None:
    found = re.fullmatch(r"(.* )--token (\S+)(.*)", line_of(serving(make_cluster, archives)))
    assert found is not None
    token = found[2]
    done = run(found[1] + form.format(token) + found[3], place)
    assert (done.returncode, done.stderr) == (0, "")
    called, rest = done.stdout.split("called: ")[1].split("by: ")
    script, file = rest.split("token: ")
    assert token not in called + script
    assert file == f"600\n{token}\n"


def test_a_controller_with_another_key_is_not_asked_for_anything(
    make_cluster: MakeCluster, archives: Path, place: Path
) -> None:
    line = re.sub(r"sha256//\S+", "sha256//" + "A" * 43 + "=", line_of(serving(make_cluster, archives)))
    done = run(line, place)
    assert "public key does not match" in done.stderr
    assert (done.stdout, list((place / "work").iterdir())) == ("", [])


def test_an_archive_that_is_not_the_announced_one_is_not_unpacked(
    make_cluster: MakeCluster, archives: Path, place: Path
) -> None:
    line = line_of(serving(make_cluster, archives))
    fetch, _, shell = line.partition(" | ")
    saved = place / "saved.sh"
    assert run(f"{fetch} -o {shlex.quote(str(saved))}", place).returncode == 0
    for path in archives.iterdir():
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    done = run(f"{shell} < {shlex.quote(str(saved))}", place)
    assert done.returncode == 1
    assert re.search(
        r"\AERROR: skerry-agent-\S+ is not what the controller announced \(its SHA-256 differs\)", done.stderr
    )
    assert "called" not in done.stdout
    assert list((place / "work").iterdir()) == []


def test_what_a_run_that_was_killed_left_is_taken_away(make_cluster: MakeCluster, archives: Path, place: Path) -> None:
    line = line_of(serving(make_cluster, archives))
    for name in ("skerry-install.AbCdEf", "skerry-install.999999999.AbCdEf", "skerry-install.somebody", "other"):
        (place / "work" / name / "bin").mkdir(parents=True)
    os.chown(place / "work/skerry-install.somebody", 65534, 65534)
    (place / "work/skerry-install.link").symlink_to(place / "bin")
    done = run(line, place)
    assert (done.returncode, done.stderr) == (0, "")
    left = sorted(path.name for path in (place / "work").iterdir())
    assert left == ["other", "skerry-install.link", "skerry-install.somebody"]
    assert (place / "bin/sudo").exists()


def test_what_a_cut_off_installation_left_counts_as_free_and_a_disk_that_is_full_is_told(
    make_cluster: MakeCluster, archives: Path, place: Path
) -> None:
    line = line_of(serving(make_cluster, archives))
    disk = "mount -t tmpfs -o size=24m none /opt && mkdir -p /opt/skerry/agent/{0} && "
    disk += "head -c 12M /dev/zero >/opt/skerry/agent/{0}/half && {1}"
    done = run(disk.format(".0.0.9.new", line), place)
    assert (done.returncode, done.stderr) == (0, "")
    full = run(disk.format("0.0.9", line), place)
    assert (full.returncode, full.stdout) == (1, "")
    assert re.fullmatch(r"ERROR: there is too little space on the disk: /opt has 1\d MiB free, .*\n", full.stderr)


def test_a_directory_from_which_nothing_can_be_run_is_told_before_the_download(
    make_cluster: MakeCluster, archives: Path, place: Path
) -> None:
    line = line_of(serving(make_cluster, archives))
    done = run(f"mount -t tmpfs -o noexec none {place / 'work'} && {line}", place)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ERROR: no program can be run from {place / 'work'} (it may be mounted noexec): ")
    assert len(done.stderr.splitlines()) == 1
    elsewhere = f"mount -t tmpfs -o noexec none {place / 'work'} && TMPDIR={place / 'bin'} && export TMPDIR && {line}"
    assert run(elsewhere, place).returncode == 0


def test_a_device_without_systemd_and_a_line_without_a_token_are_refused_before_anything_is_fetched(
    make_cluster: MakeCluster, archives: Path, place: Path
) -> None:
    line = line_of(serving(make_cluster, archives))
    without = run(re.sub(r"--token \S+", "", line), place)
    assert (without.returncode, without.stdout) == (1, "")
    assert without.stderr.startswith("ERROR: a join token is needed: --token TOKEN")
    bare = 'mount -t tmpfs none /run && exec sh -c "$1"'
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", bare, "-", line.replace("sudo ", "")]
    no_systemd = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (no_systemd.returncode, no_systemd.stdout) == (1, "")
    assert no_systemd.stderr.startswith("ERROR: systemd does not run on this device")


def test_somebody_who_is_not_root_is_told_how(make_cluster: MakeCluster, archives: Path, place: Path) -> None:
    line = line_of(serving(make_cluster, archives)).replace("sudo sh", "setpriv --reuid 65534 --clear-groups sh")
    done = run(line, place)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ERROR: this needs root: run it as '… | sudo sh -s -- …'\n"


@pytest.fixture
def breaking_road() -> Iterator[BreakingRoad]:
    road = BreakingRoad()
    yield road
    road.close()


class BreakingRoad:
    """A road to a door that breaks every connection, some way in, as long as `breaks` lasts."""

    def __init__(self) -> None:
        self.door = ("127.0.0.1", 0)
        self.breaks = 0
        self.broken = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._roads = [threading.Thread(target=self._accept)]
        self._roads[0].start()

    def close(self) -> None:
        """Take no more connections, and wait until those there were are over."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for road in self._roads:
            road.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                self._roads.append(threading.Thread(target=self._carry, args=(near,)))
                self._roads[-1].start()

    def _carry(self, near: socket.socket) -> None:
        with near, socket.create_connection(self.door) as far:
            back = threading.Thread(target=self._pump, args=(near, far, None))
            back.start()
            self._pump(far, near, 150_000)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, most: int | None) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(16_384):
                passed += len(data)
                if most is not None and passed > most and self.breaks:
                    self.breaks -= 1
                    self.broken += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_download_that_breaks_off_goes_on_where_it_was(
    make_cluster: MakeCluster, archives: Path, place: Path, breaking_road: BreakingRoad
) -> None:
    cluster = serving(make_cluster, archives, public_addr=f"127.0.0.1:{breaking_road.port}")
    breaking_road.door = ("127.0.0.1", cluster.port("web"))
    breaking_road.breaks = 2
    done = run(line_of(cluster), place)
    assert done.returncode == 0, done.stderr
    assert breaking_road.broken == 2
    assert len(re.findall(r"The download broke off at \d+ of \d+ bytes: going on from there", done.stdout)) == 2
    assert "called: install --controller" in done.stdout
    assert "206" in "".join(text for _, text in cluster.logs())
