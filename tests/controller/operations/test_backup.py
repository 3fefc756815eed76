from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from controller.audit import AuditLog
from controller.authority import AuthorityError
from controller.authority.master_key import encode_master_key
from controller.cluster import Cluster, open_cluster, utc_now
from controller.config import load_config
from controller.doors import claimed
from controller.enrolment.nodes import NodeRecord
from controller.operations.backup import Made, Source, back_up, last_backup, members, verify
from controller.operations.error import OperationError
from controller.operations.restore import Order, Restored, restore
from controller.operations.sealing import WrongPassphraseError, opened, sealed
from controller.origin import Origin
from controller.policy.backup import BackupFormatError, Header
from controller.policy.label import parse_label_change
from controller.store.tiny import TinyStore
from controller.tctl.error import TctlError
from protocol import events
from protocol.names import NodeId, NodeName
from protocol.secret import Secret
from tests.harness.running_program import RunningProgram, clean_environment
from tests.harness.tiny_disk import tiny_disk

PASSPHRASE = Secret("insecure correct horse")
NOBODY = 65534
# Of which the keys are had at once.
CHEAP = Header(b"s" * 16, b"prefix7", memory=64, passes=1, lanes=1)


def write_config(path: Path, data_dir: Path, **more: object) -> Path:
    settings: dict[str, object] = {"teleport": {"data_dir": str(data_dir)}, "auth_service": {"cluster_name": "harbour"}}
    path.write_text(json.dumps(settings | {"mqtt": {"broker": "none"}} | more), encoding="utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose cluster was founded."""
    path = write_config(tmp_path / "controller.yaml", tmp_path / "data")
    open_cluster(load_config(path))
    return path


def make(
    config: Path,
    file: Path,
    *,
    recordings: bool = False,
    force: bool = False,
    advance: Callable[[int, int], object] = lambda *_: None,
) -> Made:
    text = config.read_text(encoding="utf-8")
    source = Source(load_config(config), text, config, "root@harbour")
    return back_up(source, file, PASSPHRASE, with_recordings=recordings, force=force, advance=advance)


def put_back(file: Path, config: Path, data_dir: Path | None = None, *, force: bool = False) -> Restored:
    return restore(file, PASSPHRASE, Order(data_dir, config, force, "root@elsewhere"), lambda *_: None)


def pins(cluster: Cluster) -> tuple[str, ...]:
    return cluster.authority.ca_pins()


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@contextmanager
def unchanged(directory: Path) -> Iterator[None]:
    """See that nothing comes, goes or changes below a directory."""
    before, names = content(directory), sorted(directory.rglob("*"))
    yield
    assert sorted(directory.rglob("*")) == names
    assert content(directory) == before


# --- a backup ---------------------------------------------------------------------------------------------------------


def test_a_restored_controller_is_the_same_cluster_with_the_same_keys_and_log(config: Path, tmp_path: Path) -> None:
    before = open_cluster(load_config(config))
    assert before.control.version
    made = make(config, tmp_path / "b")
    assert verify(tmp_path / "b", PASSPHRASE, lambda *_: None)[1] == made.files
    done = put_back(tmp_path / "b", tmp_path / "new.yaml", tmp_path / "elsewhere")
    assert (done.manifest.cluster, done.aside, done.remarks) == ("harbour", None, ())
    # The next policy document is a new one, whatever was given out since the backup.
    assert TinyStore(tmp_path / "elsewhere" / "store").collection("control").get("policy", now=utc_now()) is None
    after = open_cluster(load_config(tmp_path / "new.yaml"))
    assert after.config.data_dir == tmp_path / "elsewhere"
    assert pins(after) == pins(before)
    assert after.authority.recording_key()[0] == before.authority.recording_key()[0]
    kinds = [event["code"] for event in after.audit.entries()]
    assert kinds == [kind.code for kind in (events.CLUSTER_CREATE, events.POLICY_UPDATE, events.CONTROLLER_RESTORE)]
    assert after.audit.verify(opening=events.CLUSTER_CREATE).count == 3  # type: ignore[union-attr]  # Broken has none
    assert [event["code"] for event in before.audit.entries()][-1] == events.CONTROLLER_BACKUP.code


def test_a_restored_controller_s_labels_are_newer_than_all_that_a_device_may_have_been_told_since(
    config: Path, tmp_path: Path
) -> None:
    nodes = open_cluster(load_config(config)).enrolment.nodes
    as_it_joined = NodeRecord(
        node_id=NodeId("00000000-0000-4000-8000-000000000001"),
        name=NodeName("buoy"),
        labels={"env": "lab"},
        ssh_public_key="ssh-ed25519 AAAA",
        generation=1,
        joined=utc_now().replace(microsecond=0),
        token="****abcd",
        version="0.1.0",
    )
    waiting = replace(as_it_joined, node_id=NodeId("00000000-0000-4000-8000-000000000002"), pending=True)
    nodes.add(as_it_joined)
    nodes.add(waiting)
    make(config, tmp_path / "b")
    since = nodes.relabel(as_it_joined.node_id, [parse_label_change("env=prod")], Origin(via="tctl", actor="root"))
    put_back(tmp_path / "b", tmp_path / "new.yaml", tmp_path / "elsewhere")
    after = open_cluster(load_config(tmp_path / "new.yaml"))
    restored, still_waiting = after.enrolment.nodes.list()
    assert restored.labels == {"env": "lab"}
    assert restored.labels_version >= since.labels_version > 0
    assert still_waiting == waiting
    assert list(after.control.node_documents()) == [as_it_joined.node_id]


def test_the_file_is_its_owner_s_alone_and_the_controller_remembers_when_it_was_made(
    config: Path, tmp_path: Path
) -> None:
    made = make(config, tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600
    assert made.size == (tmp_path / "b").stat().st_size
    remembered = last_backup(load_config(config).data_dir)
    assert remembered is not None
    assert abs((remembered - made.made).total_seconds()) < 1
    with pytest.raises(TctlError, match="there already"):
        make(config, tmp_path / "b")
    assert make(config, tmp_path / "b", force=True).made > made.made


def test_there_is_nothing_to_back_up_where_no_controller_ever_ran(tmp_path: Path) -> None:
    config = write_config(tmp_path / "controller.yaml", tmp_path / "data")
    with pytest.raises(OperationError, match="there is no cluster"):
        make(config, tmp_path / "b")
    assert sorted(tmp_path.iterdir()) == [config]


def test_a_backup_has_the_files_that_the_configuration_names_and_puts_them_back_where_there_are_none(
    config: Path, tmp_path: Path
) -> None:
    key, chain, away = tmp_path / "web.key", tmp_path / "web.crt", tmp_path / "away"
    key.write_text("a key")
    key.chmod(0o640)
    chain.write_text("a chain")
    pair = {"key_file": str(key), "cert_file": str(chain)}
    write_config(config, tmp_path / "data", proxy_service={"https_keypairs": [pair]})
    make(config, tmp_path / "b")
    key.rename(away)
    chain.write_text("another chain")
    done = put_back(tmp_path / "b", tmp_path / "new.yaml", tmp_path / "elsewhere")
    assert key.read_text() == "a key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o640
    assert chain.read_text() == "another chain"
    assert len(done.remarks) == 1
    assert str(chain) in done.remarks[0]


def test_recordings_are_in_a_backup_where_they_are_asked_for(config: Path, tmp_path: Path) -> None:
    day = tmp_path / "data" / "recordings" / "2026" / "05" / "01"
    day.mkdir(parents=True)
    kept = {"7c9e.skr": os.urandom(300_000), "7c9e.json": b"{}", "index.jsonl": b"\n{}\n"}
    for name, data in {**kept, "index.lock": b"", "7c9e.json.tmp": b"half"}.items():
        (day / name).write_bytes(data)
    (tmp_path / "data" / "recordings" / "arriving").mkdir()
    (tmp_path / "data" / "recordings" / "arriving" / "x.skr").write_bytes(b"half")
    make(config, tmp_path / "without")
    make(config, tmp_path / "with", recordings=True)
    put_back(tmp_path / "without", tmp_path / "1.yaml", tmp_path / "1")
    put_back(tmp_path / "with", tmp_path / "2.yaml", tmp_path / "2")
    assert not (tmp_path / "1" / "recordings").exists()
    assert content(tmp_path / "2" / "recordings") == {f"2026/05/01/{name}": data for name, data in kept.items()}


WRITER = """
import sys
from pathlib import Path
from controller.audit import AuditLog
from controller.authority import AuthorityError
from controller.authority.master_key import encode_master_key
from controller.cluster import utc_now
from controller.store.tiny import TinyStore
from protocol import events

data_dir = Path(sys.argv[1])
store, log = TinyStore(data_dir / "store"), AuditLog(data_dir / "log", "harbour", utc_now)
first, last = store.collection("alpha"), store.collection("omega")
for number in range(1, 1_000_000):
    first.put_many({"n": {"n": number}}, now=utc_now())
    log.write(events.POLICY_UPDATE, {"version": number, "changed": []})
    last.put_many({"n": {"n": number}}, now=utc_now())
    if number in {1, 20}:
        print("wrote", number, flush=True)
"""


def test_what_a_backup_holds_was_so_at_one_instant_while_others_write(config: Path, tmp_path: Path) -> None:
    """The writer raises a number in one collection, in the audit log, and in another collection, over and over."""
    data_dir = tmp_path / "data"
    writer = RunningProgram("writer", [sys.executable, "-c", WRITER, str(data_dir)])
    try:
        writer.await_line("wrote 20")
        for number in range(3):
            make(config, tmp_path / f"{number}")
        assert writer.is_running, writer.log()
    finally:
        writer.kill()
    seen = []
    for number in range(3):
        put_back(tmp_path / f"{number}", tmp_path / f"{number}.yaml", tmp_path / f"data {number}")
        store = TinyStore(tmp_path / f"data {number}" / "store")
        first, last = (store.collection(name).get("n", now=utc_now()) for name in ("alpha", "omega"))
        assert first is not None
        assert last is not None
        log = AuditLog(tmp_path / f"data {number}" / "log", load_config(config).cluster_name, utc_now)
        told = [event["version"] for event in log.entries(kinds=["policy.update"])]
        assert told == list(range(1, len(told) + 1))
        assert log.verify(opening=events.CLUSTER_CREATE).count > 20  # type: ignore[union-attr]  # Broken has none
        assert last.value["n"] <= told[-1] <= first.value["n"] <= last.value["n"] + 1  # type: ignore[operator]  # numbers
        seen.append(told[-1])
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, bytes]]:
    """A backup, and what is in it: to make one, and to open it, costs 64 MiB and its time on purpose."""
    folder = tmp_path_factory.mktemp("template")
    config = write_config(folder / "controller.yaml", folder / "data")
    open_cluster(load_config(config))
    make(config, folder / "b")
    with (folder / "b").open("rb") as raw, opened(raw, PASSPHRASE) as stream:
        return (folder / "b").read_bytes(), {name: content.read() for name, content in members(stream)}


@pytest.fixture
def made(config: Path, tmp_path: Path, template: tuple[bytes, dict[str, bytes]]) -> Path:
    """A backup that a test may damage, beside a cluster."""
    del config
    (tmp_path / "b").write_bytes(template[0])
    return tmp_path / "b"


def test_another_passphrase_is_refused(made: Path, tmp_path: Path) -> None:
    order = Order(None, tmp_path / "x.yaml", force=False, actor="root@elsewhere")
    with unchanged(tmp_path), pytest.raises(WrongPassphraseError):
        restore(made, Secret("insecure wrong horse"), order, lambda *_: None)


def test_a_backup_that_was_cut_or_changed_leaves_nothing_behind(
    template: tuple[bytes, dict[str, bytes]], tmp_path: Path
) -> None:
    made = tmp_path / "b"
    forge(made, template[1], {"store/ballast.json": os.urandom(300_000)})
    data = made.read_bytes()
    changed = bytearray(data)
    changed[-5] ^= 1
    target = tmp_path / "elsewhere"
    for wrong in (data[:-1], data[: len(data) // 2], data[:100], data[:10], b"", data + b"x", bytes(changed)):
        made.write_bytes(wrong)
        with unchanged(tmp_path), pytest.raises(BackupFormatError):
            put_back(made, tmp_path / "new.yaml", target)
        with pytest.raises(BackupFormatError):
            verify(made, PASSPHRASE, lambda *_: None)


def forge(file: Path, parts: dict[str, bytes], change: dict[str, bytes | tarfile.TarInfo | None]) -> None:
    """Make a backup of `parts` with other members, as somebody can who has the passphrase."""
    with (
        file.open("wb") as out,
        sealed(out, PASSPHRASE, CHEAP) as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        for name, data in {**parts, **change}.items():
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
            elif data is not None:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def linked(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, to
    return entry


@pytest.mark.parametrize(
    "change",
    [
        {"../evil": b"x"},
        {"/tmp/evil": b"x"},
        {"store/../../evil": b"x"},
        {"evil": b"x"},
        {"store/x.json": linked("store/x.json", "/etc/passwd")},
        {"store/x.json": linked("store/x.json", "/etc/passwd", tarfile.LNKTYPE)},
        {"store/x.json": linked("store/x.json", "", tarfile.FIFOTYPE)},
        {"store/x.json": linked("store/x.json", "", tarfile.CHRTYPE)},
        {"master.key": None},
        {"controller.yaml": None},
        {"manifest.json": b"{}"},
        {"store/cluster.json": None},
    ],
)
def test_a_backup_that_holds_something_else_is_refused_and_nothing_is_left(
    template: tuple[bytes, dict[str, bytes]], tmp_path: Path, change: dict[str, bytes | tarfile.TarInfo | None]
) -> None:
    forged = tmp_path / "forged"
    forge(forged, template[1], change)
    with unchanged(tmp_path), pytest.raises(BackupFormatError):
        put_back(forged, tmp_path / "new.yaml", tmp_path / "elsewhere")


def test_a_key_that_does_not_open_the_store_is_refused(
    template: tuple[bytes, dict[str, bytes]], tmp_path: Path
) -> None:
    forge(tmp_path / "forged", template[1], {"master.key": encode_master_key(Secret(bytes(32)))})
    with unchanged(tmp_path), pytest.raises(AuthorityError):
        put_back(tmp_path / "forged", tmp_path / "new.yaml", tmp_path / "elsewhere")


def test_a_directory_with_something_in_it_is_left_as_it_is_or_moved_aside_where_that_is_asked_for(
    made: Path, config: Path, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    with unchanged(tmp_path), pytest.raises(OperationError, match="not empty"):
        put_back(made, config)
    before = content(data_dir)
    done = put_back(made, config, force=True)
    assert done.aside is not None
    assert content(done.aside) == before
    assert pins(open_cluster(load_config(config)))


def test_where_a_controller_runs_nothing_is_restored_however_much_it_is_asked_for(made: Path, config: Path) -> None:
    with claimed(load_config(config).data_dir), pytest.raises(OperationError, match="a controller runs"):
        put_back(made, config, force=True)


def test_the_configuration_of_another_cluster_is_refused(made: Path, tmp_path: Path) -> None:
    other = write_config(tmp_path / "other.yaml", tmp_path / "other", auth_service={"cluster_name": "lighthouse"})
    with unchanged(tmp_path), pytest.raises(OperationError, match="is for the cluster lighthouse"):
        put_back(made, other)


def test_a_key_that_lies_apart_is_put_there_and_another_one_that_is_there_is_kept(tmp_path: Path) -> None:
    key = tmp_path / "apart" / "master-key"
    key.parent.mkdir()
    settings = {"cluster_name": "harbour", "master_key_file": str(key)}
    config = write_config(tmp_path / "controller.yaml", tmp_path / "data", auth_service=settings)
    open_cluster(load_config(config))
    make(config, tmp_path / "b")
    was = key.read_bytes()
    key.unlink()
    done = put_back(tmp_path / "b", tmp_path / "new.yaml", tmp_path / "elsewhere")
    assert (key.read_bytes(), done.key) == (was, key)
    assert not (tmp_path / "elsewhere" / "master.key").exists()
    key.write_bytes(b"another")
    with unchanged(tmp_path), pytest.raises(OperationError, match="holds another key"):
        put_back(tmp_path / "b", tmp_path / "third.yaml", tmp_path / "third")


# --- disks and owners -------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_ends_a_backup_and_a_restore_and_leaves_nothing(config: Path, tmp_path: Path) -> None:
    day = load_config(config).data_dir / "recordings" / "2026" / "05" / "01"
    day.mkdir(parents=True)
    (day / "7c9e.skr").write_bytes(os.urandom(3_000_000))
    make(config, tmp_path / "b", recordings=True)
    with tiny_disk(tmp_path / "small", 2_000_000) as small:
        with unchanged(small), pytest.raises(OSError, match="No space left"):
            make(config, small / "b", recordings=True)
        with unchanged(small), pytest.raises(OSError, match="No space left"):
            put_back(tmp_path / "b", tmp_path / "new.yaml", small / "data")
        with unchanged(small), pytest.raises(OSError, match="No space left"):
            put_back(tmp_path / "b", tmp_path / "new.yaml", small)
    assert not (tmp_path / "new.yaml").exists()


def test_a_data_directory_that_is_a_disk_of_its_own_is_restored_in_place(made: Path, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 8_000_000) as disk:
        (disk / "lost+found").mkdir()
        put_back(made, tmp_path / "new.yaml", disk)
        assert sorted(path.name for path in disk.iterdir()) == ["log", "lost+found", "master.key", "store"]
        first = pins(open_cluster(load_config(tmp_path / "new.yaml")))
        done = put_back(made, tmp_path / "new.yaml", force=True)
        assert done.aside is not None
        assert (done.aside / "store" / "cluster.json").exists()
        assert pins(open_cluster(load_config(tmp_path / "new.yaml"))) == first


def test_root_gives_what_it_restores_to_the_owner_of_the_directory(made: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    target = tmp_path / "theirs"
    target.mkdir()
    os.chown(target, NOBODY, NOBODY)
    put_back(made, tmp_path / "new.yaml", target)
    found = {path: (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) for path in [target, *target.rglob("*")]}
    assert set(found.values()) == {(NOBODY, 0o700), (NOBODY, 0o600)}


# --- the commands -----------------------------------------------------------------------------------------------------


def run(*arguments: object, passphrase: str = PASSPHRASE.reveal()) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(SKERRY_BACKUP_PASSPHRASE=passphrase)
    return subprocess.run(
        [sys.executable, "-m", "controller.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment if passphrase else clean_environment(),
        timeout=100,
        check=False,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("ERROR: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_each_refusal_is_one_line(made: Path, config: Path, tmp_path: Path) -> None:
    wrong = run(
        "restore", made, "-c", tmp_path / "n.yaml", "--data-dir", tmp_path / "n", passphrase="insecure wrong one"
    )
    assert_one_line(wrong, "the passphrase is not the one")
    assert_one_line(run("restore", made, "-c", config), "is not empty")
    assert_one_line(run("backup", "--verify", config), "no backup of a controller")
    assert_one_line(run("backup", "--verify", tmp_path / "nowhere"), "No such file")
    assert_one_line(run("backup", tmp_path / "c", "-c", config, passphrase="short"), "12 or more")
    assert_one_line(run("backup", tmp_path / "c", "-c", config, passphrase=""), "--passphrase-file")
    assert_one_line(run("backup", tmp_path / "no" / "c", "-c", config), "cannot write")
    made.write_bytes(made.read_bytes()[:-3])
    assert_one_line(run("backup", "--verify", made), "it was changed or cut off")


def test_a_passphrase_that_anybody_on_this_host_may_read_or_change_is_none(config: Path, tmp_path: Path) -> None:
    secret, file = tmp_path / "passphrase", tmp_path / "c"
    secret.write_text("insecure from a file\n")
    for mode in (0o644, 0o604, 0o602):
        secret.chmod(mode)
        done = run("backup", file, "-c", config, "--passphrase-file", secret)
        assert_one_line(done, f"is open to everybody on this host (mode {mode:04o}): chmod 600 {secret}")
        assert not file.exists()
    secret.chmod(0o640)  # a group's: who is in it is the admin's to say
    assert run("backup", file, "-c", config, "--passphrase-file", secret).returncode == 0


def test_the_commands_say_what_they_did(config: Path, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("insecure from a file\n")
    secret.chmod(0o600)
    file = tmp_path / "c"
    done = run("backup", file, "-c", config, "--passphrase-file", secret)
    assert done.returncode == 0, done.stderr
    assert f"{file}: cluster harbour" in done.stdout
    done = run("backup", "--verify", file, "--passphrase-file", secret)
    assert "is whole: cluster harbour" in done.stdout
    new = ("-c", tmp_path / "new.yaml", "--data-dir", tmp_path / "new")
    done = run("restore", file, *new, "--passphrase-file", secret)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path / 'new'} is the cluster harbour as it was at " in done.stdout
