"""Backups that somebody made to do harm, and a data directory whose owner wants to be root."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.cluster import open_cluster
from controller.config import load_config
from controller.operations.backup import Source, back_up, members, verify
from controller.operations.error import OperationError
from controller.operations.placing import Outside
from controller.operations.restore import Order, Restored, restore
from controller.operations.sealing import opened, sealed
from controller.policy.backup import EXTENDED_MAX, BackupFormatError, Header, KeptFile, Manifest
from controller.tctl.error import TctlError
from protocol.secret import Secret
from tests.harness.running_program import clean_environment
from tests.harness.tiny_disk import tiny_disk

PASSPHRASE = Secret("insecure correct horse")
NOBODY = 65534
# Of which the keys are had at once.
CHEAP = Header(b"s" * 16, b"prefix7", memory=64, passes=1, lanes=1)
KEY = "proxy_service.https_keypairs"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
Parts = dict[str, bytes]


def settings_for(data_dir: Path, **more: object) -> bytes:
    settings: dict[str, object] = {"teleport": {"data_dir": str(data_dir)}, "auth_service": {"cluster_name": "harbour"}}
    return json.dumps(settings | {"mqtt": {"broker": "none"}} | more).encode()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """What is in an honest backup."""
    folder = tmp_path_factory.mktemp("honest")
    config = folder / "controller.yaml"
    config.write_bytes(settings_for(folder / "data"))
    open_cluster(load_config(config))
    make(config, folder / "b")
    with (folder / "b").open("rb") as raw, opened(raw, PASSPHRASE) as stream:
        return {name: content.read() for name, content in members(stream)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root's that every user may pass through, unlike pytest's own."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def make(config: Path, file: Path) -> None:
    source = Source(load_config(config), config.read_text(encoding="utf-8"), config, "root@harbour")
    back_up(source, file, PASSPHRASE, with_recordings=False, force=False, advance=lambda *_: None)


def forge(file: Path, parts: Parts, *before: tarfile.TarInfo) -> Path:
    with (
        file.open("wb") as out,
        sealed(out, PASSPHRASE, CHEAP) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in before:
            tar.addfile(entry)
        for name, data in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file


def forged_files(parts: Parts, config: bytes, *files: KeptFile) -> Parts:
    """Return a backup's parts with files from outside, each of which holds `evil`."""
    manifest = replace(Manifest.parse(parts["manifest.json"]), files=files)
    beginning = {"manifest.json": manifest.encode(), "controller.yaml": config, "master.key": parts["master.key"]}
    return beginning | {file.member: b"evil" for file in files} | {n: d for n, d in parts.items() if n not in beginning}


def put_back(file: Path, config: Path, data_dir: Path, *, puts_files: bool = False) -> Restored:
    order = Order(data_dir, config, force=False, actor="root@elsewhere", puts_files=puts_files)
    return restore(file, PASSPHRASE, order, lambda *_: None)


# --- a backup ---------------------------------------------------------------------------------------------------------


def test_a_file_that_the_settings_do_not_name_is_not_put_anywhere(parts: Parts, tmp_path: Path) -> None:
    job = tmp_path / "cron.d" / "own"
    wanted = KeptFile("files/0", str(job), KEY, 0o777, "root", "root")
    file = forge(tmp_path / "b", forged_files(parts, parts["controller.yaml"], wanted))
    done = put_back(file, tmp_path / "new.yaml", tmp_path / "data", puts_files=True)
    assert not job.parent.exists()
    assert [repr(str(job)) in remark for remark in done.remarks] == [True]


def test_files_that_the_backup_alone_asks_for_are_listed_first_and_are_nothing_to_run(
    parts: Parts, tmp_path: Path
) -> None:
    job = tmp_path / "cron.d" / "own"
    pair = {"key_file": str(job), "cert_file": str(job)}
    config = settings_for(tmp_path / "data", proxy_service={"https_keypairs": [pair]})
    wanted = KeptFile("files/0", str(job), KEY, 0o7777, "root", "root")
    file = forge(tmp_path / "b", forged_files(parts, config, wanted))
    etc = tmp_path / "etc"
    etc.mkdir()
    with pytest.raises(OperationError, match="--put-files") as caught:
        put_back(file, etc / "new.yaml", tmp_path / "elsewhere")
    assert str(job) in str(caught.value)
    assert sorted(tmp_path.iterdir()) == [file, etc]
    put_back(file, etc / "new.yaml", tmp_path / "elsewhere", puts_files=True)
    assert job.read_bytes() == b"evil"
    assert stat.S_IMODE(job.stat().st_mode) == 0o644


def test_a_file_that_is_named_in_the_data_directory_is_restored_with_it(parts: Parts, tmp_path: Path) -> None:
    key, chain = tmp_path / "data" / "own" / "web.key", tmp_path / "data" / "own" / "web.crt"
    pair = {"key_file": str(key), "cert_file": str(chain)}
    config = settings_for(tmp_path / "data", proxy_service={"https_keypairs": [pair]})
    wanted = [KeptFile(f"files/{number}", str(path), KEY, 0o600) for number, path in enumerate([key, chain])]
    file = forge(tmp_path / "b", forged_files(parts, config, *wanted))
    assert put_back(file, tmp_path / "new.yaml", tmp_path / "data").remarks == ()
    assert (key.read_bytes(), chain.read_bytes()) == (b"evil", b"evil")


def test_a_member_that_tells_more_of_itself_than_a_backup_does_is_refused_unread(parts: Parts, tmp_path: Path) -> None:
    talkative = tarfile.TarInfo("store/")
    talkative.type = tarfile.DIRTYPE
    talkative.pax_headers = {"comment": "x" * EXTENDED_MAX}
    with pytest.raises(BackupFormatError, match="tells too much"):
        verify(forge(tmp_path / "b", parts, talkative), PASSPHRASE, lambda *_: None)
    talkative.pax_headers = {"comment": "x" * (EXTENDED_MAX // 2)}
    assert verify(forge(tmp_path / "b", parts, talkative), PASSPHRASE, lambda *_: None)[0].cluster == "harbour"


@pytest.mark.parametrize(
    "said",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"GNU.sparse.map": "x"},
        {"size": "x"},
    ],
)
def test_a_member_with_holes_or_of_no_size_is_refused(parts: Parts, tmp_path: Path, said: dict[str, str]) -> None:
    odd = tarfile.TarInfo("store/a.json")
    odd.pax_headers = said
    with pytest.raises(BackupFormatError):
        verify(forge(tmp_path / "b", parts, odd), PASSPHRASE, lambda *_: None)


def test_a_beginning_that_fills_the_memory_is_refused(parts: Parts, tmp_path: Path) -> None:
    files = [KeptFile(f"files/{number}", "/x", KEY, 0o600) for number in range(3)]
    large = forged_files(parts, parts["controller.yaml"], *files) | {file.member: bytes(3_000_000) for file in files}
    with pytest.raises(BackupFormatError, match="larger than it can be"):
        put_back(forge(tmp_path / "b", large), tmp_path / "new.yaml", tmp_path / "data")


# --- a data directory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["store/zz.json", "tls/web.crt", "log/audit-2026-01-01.log"])
def test_a_pipe_or_a_link_among_the_data_ends_a_backup_at_once(tmp_path: Path, name: str) -> None:
    config = tmp_path / "controller.yaml"
    config.write_bytes(settings_for(tmp_path / "data"))
    open_cluster(load_config(config))
    odd = tmp_path / "data" / name
    odd.parent.mkdir(exist_ok=True)
    odd.with_suffix(".key").touch()  # the door's certificate and its key are there both, or not at all
    os.mkfifo(odd)
    with pytest.raises(OperationError, match="is no plain file"):
        make(config, tmp_path / "b")
    odd.unlink()
    odd.symlink_to("/etc/hostname")
    with pytest.raises(OperationError, match="is no plain file"):
        make(config, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def theirs(folder: Path) -> Path:
    """Found a cluster whose data belong to somebody who wants to be root; return its configuration."""
    config = folder / "controller.yaml"
    config.write_bytes(settings_for(folder / "data"))
    (folder / "data").mkdir(mode=0o700)
    os.chown(folder / "data", NOBODY, NOBODY)
    open_cluster(load_config(config))
    return config


def run(*arguments: object, user: int | None = None) -> subprocess.CompletedProcess[str]:
    # What is imported is there before somebody else runs it, who may not be able to read it.
    code = "import controller.operations.backup, controller.operations.doctor, os, sys; "
    code += (
        f"os.setgroups([]); os.setresgid({user},{user},{user}); os.setresuid({user},{user},{user}); " if user else ""
    )
    return subprocess.run(
        [sys.executable, "-c", code + "from controller.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(SKERRY_BACKUP_PASSPHRASE=PASSPHRASE.reveal()),
        timeout=100,
        check=False,
    )


@needs_root
def test_what_root_backs_up_and_looks_at_leads_root_nowhere(folder: Path) -> None:
    config = theirs(folder)
    victim, own = folder / "victim", folder / "own"
    for directory in (victim, own):
        directory.mkdir()
    own.chmod(0o700)
    done = run("backup", own / "b", "-c", config)
    assert done.returncode == 0, done.stderr
    assert (own / "b").stat().st_uid == 0
    assert {path.stat().st_uid for path in (folder / "data").rglob("*")} == {NOBODY}
    (folder / "data" / "log").rename(folder / "data" / "away")
    (folder / "data" / "log").symlink_to(victim)
    done = run("backup", own / "c", "-c", config)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    (own / "secret").write_text("root's")
    (folder / "data" / "log").unlink()
    (folder / "data" / "away").rename(folder / "data" / "log")
    (folder / "data" / "tls").mkdir()
    (folder / "data" / "tls" / "api.crt").symlink_to(own / "secret")
    done = run("doctor", "-c", config, "--format", "json")
    assert done.stderr == ""
    found = {each["check"]: each["found"] for each in json.loads(done.stdout)}
    assert "api.crt cannot be read" in found["certificate of the machine API"]
    assert list(victim.iterdir()) == []
    assert stat.S_IMODE(victim.stat().st_mode) == 0o755
    assert sorted(own.iterdir()) == [own / "b", own / "secret"]


@needs_root
def test_whoever_may_not_look_is_told_so(folder: Path) -> None:
    config = theirs(folder)
    done = run("doctor", "-c", config, "--format", "json", user=NOBODY - 1)
    assert done.stderr == ""
    found = {each["check"]: each["state"] for each in json.loads(done.stdout)}
    assert (done.returncode, found["data directory"]) == (1, "fail")


@needs_root
def test_a_disk_of_its_own_is_restored_as_its_owner(parts: Parts, folder: Path) -> None:
    file = forge(folder / "b", parts)
    with tiny_disk(folder / "disk", 8_000_000) as disk:
        os.chown(disk, NOBODY, NOBODY)
        put_back(file, folder / "new.yaml", disk)
        assert {path.stat().st_uid for path in disk.rglob("*")} == {NOBODY}


@needs_root
def test_a_file_below_somebody_s_directory_is_put_there_as_they(folder: Path) -> None:
    victim, home = folder / "victim", folder / "home"
    for directory in (victim, home):
        directory.mkdir()
    os.chown(home, NOBODY, NOBODY)
    (home / "tls").symlink_to(victim)
    with pytest.raises((TctlError, OperationError)):
        Outside().put(home / "tls" / "web.key", b"x", 0o600, (NOBODY, NOBODY))
    assert list(victim.iterdir()) == []
    assert Outside().put(home / "web.key", b"x", 0o600, None)
    assert (home / "web.key").stat().st_uid == NOBODY
