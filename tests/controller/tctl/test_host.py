from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controller.accounts import Origin
from controller.cluster import Cluster, open_cluster
from controller.config import load_config
from protocol.decision import Granted
from protocol.recording.signer import signer_line
from tests.controller.harbour import PING, WEB, Device
from tests.harness.tape import short_tape

ROOT = Path(__file__).parents[3]
Tctl = Callable[..., subprocess.CompletedProcess[str]]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def _run(config: Path, *arguments: str, program: tuple[str, ...] = ("-m", "controller.tctl")) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *program, "-c", str(config), *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def _config(folder: Path, web: str = "127.0.0.1:3080") -> Path:
    file = folder / "controller.yaml"
    file.write_text(f'teleport: {{data_dir: {folder}/data}}\nproxy_service: {{web_listen_addr: "{web}"}}\n')
    return file


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_missing_configuration_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    status, out, err = _run(tmp_path / "controller.yaml", "users", "ls")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"ERROR: \S+/controller\.yaml: cannot be read: No such file or directory; .*-c FILE.*\n", err)


def test_a_wrong_configuration_is_one_line_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "controller.yaml"
    file.write_text("auth_service:\n  cluster_nam: x\n")
    status, out, err = _run(file, "users", "ls")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"{file}:2: auth_service.cluster_nam" in err


@pytest.mark.parametrize("made", [False, True])
def test_where_no_controller_ever_ran_nothing_is_made(tmp_path: Path, made: bool) -> None:
    data = tmp_path / "data"
    if made:
        data.mkdir()
    status, out, err = _run(_config(tmp_path), "users", "add", "joe", "root")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "`controller start` makes it" in err
    assert not data.exists() or list(data.iterdir()) == []


def test_a_cluster_of_another_name_is_one_line_with_the_old_one(config: Path, cluster: Cluster) -> None:
    config.write_text(config.read_text().replace("cluster_name: harbour", "cluster_name: lighthouse"))
    status, out, err = _run(config, "users", "add", "joe", "root")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f'ERROR: the cluster in {cluster.config.data_dir} is named "harbour", ')
    assert cluster.accounts.users.list() == []


def test_a_wrong_command_line_is_marked_as_every_error_is(tmp_path: Path) -> None:
    for arguments, words in (
        (("users", "add"), "ERROR: Missing argument 'NAME'."),
        (("tokens", "add", "--ttl=soon"), "ERROR: Invalid value for '--ttl': "),
        (("bogus",), "ERROR: No such command 'bogus'."),
    ):
        status, out, err = _run(tmp_path / "none.yaml", *arguments)
        assert (status, out) == (2, "")
        assert err.splitlines()[0].startswith("Usage: tctl ")
        assert err.splitlines()[-1].startswith(words)


def test_a_link_without_a_port_is_never_printed(tmp_path: Path) -> None:
    config = _config(tmp_path, "127.0.0.1:0")
    cluster = open_cluster(load_config(config))
    status, out, err = _run(config, "users", "add", "joe", "root")
    assert (status, out) == (1, "")
    assert "do `controller start` first" in err
    assert cluster.accounts.users.list() == []
    (config.parent / "data" / "addresses.json").write_text(
        '{"web": ["127.0.0.1", 4711], "ssh": ["127.0.0.1", 1], "tunnel": ["127.0.0.1", 2], "api": ["127.0.0.1", 3]}'
    )
    status, out, _ = _run(config, "users", "add", "joe", "root")
    assert status == 0
    assert "\nhttps://127.0.0.1:4711/web/invite/" in out


def test_shared_flags_stand_before_or_after_the_command(cluster: Cluster, config: Path) -> None:
    assert cluster.config.cluster_name == "harbour"
    for program in (("users", "ls", "-c", str(config)), ("users", "-c", str(config), "ls")):
        assert _run(Path("/nonexistent.yaml"), *program)[:2] == (0, "No users found\n")


def test_a_damaged_store_is_one_line_and_debug_shows_where(tctl: Tctl, cluster: Cluster) -> None:
    (cluster.config.data_dir / "store" / "users.json").write_text("{")
    done = tctl("users", "ls")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("ERROR: ")
    assert "users.json" in done.stderr
    assert "Traceback" in tctl("-d", "users", "ls").stderr


def test_a_full_disk_behind_standard_output_is_an_error(config: Path, cluster: Cluster) -> None:
    assert cluster.config.cluster_name == "harbour"
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "controller.tctl", "-c", str(config), "status"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"ERROR: No space left on device\n")


def test_closed_standard_streams_do_no_harm(config: Path, cluster: Cluster) -> None:
    command = f"{sys.executable} -m controller.tctl -c {config} users add joe root <&- >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0
    assert cluster.accounts.users.get("joe") is not None


def test_help_loads_nothing_of_the_controller() -> None:
    code = (
        "import sys; from controller.tctl.cli import run; run(['--help']); "
        "print([name for name in ('controller.cluster', 'cryptography', 'yaml', 'tinydb') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "tokens" in done.stdout


@needs_root
def test_root_becomes_the_owner_of_the_data_so_everything_stays_theirs(open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    config = _config(open_folder)
    data = open_folder / "data"
    data.mkdir()
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    cluster = open_cluster(load_config(config))
    token, _ = cluster.enrolment.tokens.add(
        ttl=timedelta(hours=1), uses=1, labels={}, claimable=None, origin=Origin(via="tctl")
    )
    assert isinstance(cluster.enrolment.join(Device().request(token.reveal()), PING, WEB), Granted)
    for arguments in (
        ("users", "add", "joe", "root"),
        ("users", "reset", "joe"),
        ("tokens", "add", "--type=node"),
        ("tokens", "ls"),
        ("nodes", "ls"),
        ("nodes", "rm", "gw-1"),
        ("audit", "ls"),
        ("audit", "verify"),
        ("status",),
        ("users", "rm", "joe"),
    ):
        status, _, err = _run(config, *arguments)
        assert (status, err) == (0, ""), arguments
    found = list(data.rglob("*"))
    assert {path.name for path in found} >= {"users.json", "invites.json", "join_tokens.json", "master.key"}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in found} == {(nobody.pw_uid, nobody.pw_gid)}
    assert all(path.stat().st_mode & 0o077 == 0 for path in found)


@needs_root
def test_root_gives_up_every_privilege_for_good(open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(open_folder, nobody.pw_uid, nobody.pw_gid)
    code = (
        "import os, sys, pathlib; from controller.tctl.host import _become_owner; "
        "_become_owner(pathlib.Path(sys.argv[2])); print(os.getresuid(), os.getresgid(), os.getgroups())"
    )
    status, out, err = _run(open_folder, program=("-c", code))
    assert (status, err) == (0, "")
    uid, gid = nobody.pw_uid, nobody.pw_gid
    assert out == f"{(uid,) * 3} {(gid,) * 3} {[gid]}\n"


@needs_root
def test_root_exports_to_where_only_root_may_and_what_belongs_to_the_owner_stays_theirs(open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    config = _config(open_folder)
    data, own = open_folder / "data", open_folder / "own"
    data.mkdir()
    own.mkdir(mode=0o700)
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    cluster = open_cluster(load_config(config))
    tape = short_tape(cluster=cluster.config.cluster_name, recipient=cluster.authority.recording_key())
    (own / "one.skr").write_bytes(tape.content)
    key = signer_line(tape.signer)
    status, out, err = _run(
        config, "recordings", "export", str(own / "one.skr"), "-o", str(own / "one.cast"), "--public-key", key
    )
    assert (status, err) == (0, "")
    assert "the recording is intact" in out
    assert {path.name: path.stat().st_uid for path in own.iterdir()} == {"one.skr": 0, "one.cast": 0}
    assert {path.stat().st_uid for path in data.rglob("*")} == {nobody.pw_uid}


@needs_root
def test_root_that_is_to_return_is_wholly_the_owner_until_then_and_wholly_root_after(open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(open_folder, nobody.pw_uid, nobody.pw_gid)
    code = (
        "import os, sys, pathlib; from controller.tctl.host import as_owner; "
        "look = lambda: (os.getresuid(), os.getresgid(), os.getgroups()); before = look()\n"
        "with as_owner(pathlib.Path(sys.argv[2]), returning=True): print(os.geteuid(), os.getegid(), os.getgroups())\n"
        "print(look() == before)"
    )
    status, out, err = _run(open_folder, program=("-c", code))
    assert (status, err) == (0, "")
    assert out == f"{nobody.pw_uid} {nobody.pw_gid} {[nobody.pw_gid]}\nTrue\n"


@needs_root
def test_anyone_but_root_and_the_owner_is_told_to_be_one_of_them(open_folder: Path) -> None:
    config = _config(open_folder)
    open_cluster(load_config(config))
    code = (
        "import os, pwd; import controller.tctl.users; from controller.tctl.cli import main; "
        "os.setuid(pwd.getpwnam('nobody').pw_uid); main()"
    )
    status, out, err = _run(config, "users", "add", "joe", "root", program=("-c", code))
    assert (status, out) == (1, "")
    assert err == (
        f"ERROR: the data directory {open_folder}/data belongs to user root, not to nobody: "
        "run tctl as that user, or as root\n"
    )
