"""What may come in between a backup and a restore: full disks, signals, links, other owners, other versions."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller.cluster import open_cluster
from controller.config import load_config
from controller.operations.backup import last_backup, members
from controller.operations.error import OperationError
from controller.operations.placing import give
from controller.operations.restore import Order, restore
from controller.operations.sealing import opened
from controller.policy.backup import Header
from controller.tctl.error import TctlError
from protocol import events
from tests.controller.operations.test_backup import (
    PASSPHRASE,
    assert_one_line,
    forge,
    make,
    pins,
    put_back,
    run,
    unchanged,
    write_config,
)
from tests.harness.running_program import PATIENCE, RunningProgram, clean_environment
from tests.harness.tiny_disk import tiny_disk

NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose cluster was founded."""
    path = write_config(tmp_path / "controller.yaml", tmp_path / "data")
    open_cluster(load_config(path))
    return path


@pytest.fixture
def made(config: Path, tmp_path: Path) -> Path:
    make(config, tmp_path / "b")
    return tmp_path / "b"


def parts_of(file: Path) -> dict[str, bytes]:
    with file.open("rb") as raw, opened(raw, PASSPHRASE) as stream:
        return {name: part.read() for name, part in members(stream)}


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def codes(config: Path) -> list[object]:
    return [event["code"] for event in open_cluster(load_config(config)).audit.entries()]


# --- a backup ---------------------------------------------------------------------------------------------------------


def test_a_backup_is_good_though_the_data_s_disk_is_too_full_to_note_it(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 4_000_000) as disk:
        config = write_config(tmp_path / "controller.yaml", disk / "data")
        open_cluster(load_config(config))
        with pytest.raises(OSError, match="No space left"):
            fill(disk / "ballast")
        done = make(config, tmp_path / "b")
        assert "`controller doctor` will not know of it" in done.remarks[-1]  # a line may yet fit into the log
    assert put_back(tmp_path / "b", tmp_path / "new.yaml", tmp_path / "elsewhere").data_dir == tmp_path / "elsewhere"


def test_the_audit_log_knows_of_no_backup_that_did_not_get_its_name(config: Path, tmp_path: Path) -> None:
    def come_first() -> None:
        (tmp_path / "b").write_bytes(b"somebody was quicker")

    with pytest.raises(TctlError, match="there already"):
        make(config, tmp_path / "b", advance=lambda *_: come_first())
    assert events.CONTROLLER_BACKUP.code not in codes(config)
    assert last_backup(load_config(config).data_dir) is None


def test_several_at_once_do_not_stumble_over_each_other(config: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda number: make(config, tmp_path / f"b{number}"), range(4)))
    assert [each.remarks for each in done] == [()] * 4
    assert codes(config).count(events.CONTROLLER_BACKUP.code) == 4


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@needs_root
@pytest.mark.parametrize("place", ["store/zz.json", "log", "recordings/2026/05/01/7c9e.skr"])
def test_a_link_in_the_data_directory_leads_root_nowhere_that_its_owner_may_not_go(
    open_folder: Path, place: str
) -> None:
    config = write_config(open_folder / "controller.yaml", open_folder / "data")
    config.chmod(0o644)
    open_cluster(load_config(config))
    secret, link = open_folder / "secret", open_folder / "data" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_dir():
        link.rename(secret)
        secret.chmod(0o700)
    else:
        secret.write_text('{"root": "alone"}')
        secret.chmod(0o600)
    link.symlink_to(secret)
    for path in [open_folder / "data", *(open_folder / "data").rglob("*")]:
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    done = run("backup", open_folder / "b", "-c", config, "--with-recordings")
    assert_one_line(done, str(link))
    assert not (open_folder / "b").exists()
    link.unlink()
    if secret.is_dir():
        secret.rename(link)
        for path in (link, *link.iterdir()):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    done = run("backup", open_folder / "b", "-c", config, "--with-recordings")
    assert (done.returncode, done.stderr) == (0, "")
    assert (open_folder / "b").stat().st_uid == 0
    owners = {path.lstat().st_uid for path in (open_folder / "data").rglob("*")}
    assert owners == {NOBODY.pw_uid}


def begin(*arguments: object) -> RunningProgram:
    environment = clean_environment(SKERRY_BACKUP_PASSPHRASE=PASSPHRASE.reveal())
    command = [sys.executable, "-m", "controller.cli", *map(str, arguments)]
    return RunningProgram("controller", command, environment=environment)


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_a_backup_that_is_ended_by_a_signal_leaves_nothing(config: Path, tmp_path: Path) -> None:
    day = tmp_path / "data" / "recordings" / "2026" / "05" / "01"
    day.mkdir(parents=True)
    with (day / "7c9e.skr").open("wb") as recording:
        recording.truncate(10**12)  # a hole: no room is taken, and nobody is through with it soon
    program = begin("backup", tmp_path / "b", "-c", config, "--with-recordings")
    until(lambda: list(tmp_path.glob(".skerry-export-*.part")))
    program.send(signal.SIGTERM)
    assert program.await_end() == 128 + signal.SIGTERM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["controller.yaml", "data"]


def test_what_one_that_was_killed_has_left_is_gone_after_the_next(config: Path, tmp_path: Path) -> None:
    (tmp_path / ".skerry-export-x.part").write_bytes(b"half")
    os.utime(tmp_path / ".skerry-export-x.part", (0, 0))
    make(config, tmp_path / "b")
    assert not list(tmp_path.glob(".skerry-export-*"))


# --- a restore --------------------------------------------------------------------------------------------------------


def test_a_restore_that_is_ended_by_a_signal_leaves_no_key_behind(made: Path, tmp_path: Path) -> None:
    forge(made, parts_of(made), {"store/ballast.json": os.urandom(400_000)})
    data, pipe = made.read_bytes(), tmp_path / "pipe"
    os.mkfifo(pipe)
    program = begin("restore", pipe, "-c", tmp_path / "n.yaml", "--data-dir", tmp_path / "far" / "new")
    with pipe.open("wb", buffering=0) as feed:

        def write() -> None:
            with contextlib.suppress(BrokenPipeError):
                feed.write(data[:-1000])

        writer = threading.Thread(target=write)
        writer.start()
        until(lambda: list(tmp_path.glob("far/.skerry-restore-*")))
        program.send(signal.SIGTERM)
        assert program.await_end() == 128 + signal.SIGTERM
        writer.join()
    assert not (tmp_path / "far").exists()


def test_what_a_restore_that_was_killed_has_left_is_in_nobody_s_way_and_gone_after_the_next(
    made: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere"
    for folder in (tmp_path / ".skerry-restore-x", target / ".skerry-restore-y"):
        folder.mkdir(parents=True)
        (folder / "master.key").write_bytes(b"a key")
        os.utime(folder, (0, 0))
    put_back(made, tmp_path / "new.yaml", target)
    assert not list(tmp_path.rglob(".skerry-restore-*"))
    assert (target / "store" / "cluster.json").exists()


def test_directories_made_on_the_way_can_be_passed_whatever_the_umask(tmp_path: Path) -> None:
    pair = {"key_file": str(tmp_path / "tls" / "web.key"), "cert_file": str(tmp_path / "tls" / "web.crt")}
    config = write_config(tmp_path / "c.yaml", tmp_path / "data", proxy_service={"https_keypairs": [pair]})
    (tmp_path / "tls").mkdir()
    for path in pair.values():
        Path(path).write_text("PEM")
    open_cluster(load_config(config))
    make(config, tmp_path / "b")
    shutil.rmtree(tmp_path / "tls")
    target = tmp_path / "far" / "away" / "data"
    before = os.umask(0o077)
    try:
        forge(tmp_path / "forged", parts_of(tmp_path / "b"), {"controller.yaml": b"{}"})
        with unchanged(tmp_path), pytest.raises(OperationError):
            put_back(tmp_path / "forged", tmp_path / "new.yaml", target)
        put_back(tmp_path / "b", tmp_path / "new.yaml", target)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (*target.parents[:2], tmp_path / "tls", target)}
    assert set(modes.values()) == {0o755, 0o700}
    assert modes[target] == 0o700


def test_this_host_s_configuration_is_kept_with_a_remark_or_gives_way_to_the_backup_s(tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "controller.yaml", tmp_path / "data", proxy_service={"public_addr": "skerry.example.com:3080"}
    )
    open_cluster(load_config(config))
    make(config, tmp_path / "b")
    stock = write_config(tmp_path / "stock.yaml", tmp_path / "new")
    done = put_back(tmp_path / "b", stock)
    assert len(done.remarks) == 1
    assert "--take-config" in done.remarks[0]
    shutil.rmtree(tmp_path / "new")
    other = write_config(stock, tmp_path / "new", auth_service={"cluster_name": "skerry"}).read_bytes()
    with unchanged(tmp_path), pytest.raises(OperationError, match="--take-config"):
        put_back(tmp_path / "b", stock)
    order = Order(tmp_path / "new", stock, force=False, actor="root@elsewhere", takes_config=True)
    done = restore(tmp_path / "b", PASSPHRASE, order, lambda *_: None)
    assert done.remarks == ()
    assert load_config(stock).public.web == ("skerry.example.com", 3080)
    (aside,) = tmp_path.glob("stock.yaml.before-restore-*")
    assert aside.read_bytes() == other


def test_a_data_directory_that_is_a_link_stays_one(made: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "skerry").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "skerry")
    config = write_config(tmp_path / "new.yaml", link)
    assert put_back(made, config).data_dir == link
    before = pins(open_cluster(load_config(config)))
    done = put_back(made, config, force=True)
    assert done.aside is not None
    assert done.aside.parent == tmp_path / "disk"
    assert link.is_symlink()
    assert pins(open_cluster(load_config(config))) == before


def test_a_backup_of_a_newer_controller_is_refused(made: Path, tmp_path: Path) -> None:
    parts = parts_of(made)
    told = json.loads(parts["manifest.json"]) | {"version": "999.0.0"}
    forge(made, parts, {"manifest.json": json.dumps(told).encode()})
    with unchanged(tmp_path), pytest.raises(OperationError, match=r"is of version 999\.0\.0"):
        put_back(made, tmp_path / "new.yaml", tmp_path / "elsewhere")


@needs_root
def test_root_gives_away_nothing_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_bytes(b"root's")
    (tmp_path / "staged").symlink_to(tmp_path / "root")
    give(tmp_path / "staged", (NOBODY.pw_uid, NOBODY.pw_gid))
    assert {path.stat().st_uid for path in (tmp_path / "root", tmp_path / "root" / "file")} == {0}


# The program, with 100 MiB of memory more than it has when all is imported.
POOR = """
import resource
from pathlib import Path
from controller.cli import program
import controller.operations.backup, controller.operations.passphrase
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 100 * 1024 * 1024,) * 2)
program()
"""


def test_a_passphrase_and_a_header_that_cannot_be_used_are_one_line(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controller.cli", "backup", "--verify", str(made)]
    environment = {os.fsencode(name): os.fsencode(value) for name, value in clean_environment().items()}
    done = subprocess.run(
        command, env=environment | {b"SKERRY_BACKUP_PASSPHRASE": b"\xff" * 20}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert_one_line(done, "not UTF-8")
    greedy = Header(b"s" * 16, b"prefix7", memory=256 * 1024).encode()
    (tmp_path / "greedy").write_bytes(greedy + made.read_bytes()[len(greedy) :])
    done = subprocess.run(
        [sys.executable, "-c", POOR, "backup", "--verify", str(tmp_path / "greedy")],
        env=clean_environment(SKERRY_BACKUP_PASSPHRASE=PASSPHRASE.reveal()), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert_one_line(done, "256 MiB of memory")
