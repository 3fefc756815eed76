"""What root does with `tctl` on the host of a controller that runs as another user, from a key that only root reads."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.authority.master_key import write_master_key
from controller.cluster import open_cluster
from controller.config import load_config
from tests.harness.running_program import clean_environment

ROOT = Path(__file__).parents[3]
NOBODY = pwd.getpwnam("nobody")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A host's: the data is nobody's, and the master key root's alone."""
    folder = Path(tempfile.mkdtemp())  # unlike pytest's own, one that nobody may pass through
    folder.chmod(0o755)
    (folder / "data").mkdir(mode=0o700)
    os.chown(folder / "data", NOBODY.pw_uid, NOBODY.pw_gid)
    write_master_key(folder / "master-key")
    settings = {
        "teleport": {"data_dir": str(folder / "data")},
        "auth_service": {"cluster_name": "harbour", "master_key_file": str(folder / "master-key")},
    }
    (folder / "controller.yaml").write_text(json.dumps(settings), encoding="utf-8")
    open_cluster(load_config(folder / "controller.yaml"))  # as root: every file is given to the directory's owner
    yield folder
    shutil.rmtree(folder)


def tctl(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "controller.tctl", "-c", str(folder / "controller.yaml"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(path.stat().st_uid, path.stat().st_gid) for path in (folder / "data").rglob("*")}


def test_what_root_writes_with_a_key_of_root_s_belongs_to_the_service(folder: Path) -> None:
    for arguments in (
        ("users", "add", "joe", "root"),
        ("lock", "--user=joe", "--message=left"),
        ("locks", "ls"),
        ("auth", "rotate", "--type=recording"),
        ("auth", "rotate", "--type=tls", "--phase=init"),
        ("auth", "export", "--type=tls"),
        ("tokens", "add", "--type=node"),
        ("recordings", "ls"),
        ("audit", "verify"),
    ):
        done = tctl(folder, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
    assert owners(folder) == {(NOBODY.pw_uid, NOBODY.pw_gid)}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "data").rglob("*"))
    assert not (folder / "data" / "master.key").exists()


def test_the_service_s_user_alone_cannot_read_the_key_and_is_told_what_to_do(folder: Path) -> None:
    code = (
        "import os, sys; from controller.cluster import open_cluster; from controller.config import load_config\n"
        "from pathlib import Path\n"
        "os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))\n"
        "try: open_cluster(load_config(Path(sys.argv[3])))\n"
        "except Exception as err: print(type(err).__name__, err)"
    )
    # Its modules are read before it becomes nobody, who perhaps may not.
    early = "import controller.cluster, encodings.idna, encodings.ascii; "
    arguments = [str(NOBODY.pw_uid), str(NOBODY.pw_gid), str(folder / "controller.yaml")]
    done = subprocess.run(
        [sys.executable, "-c", early + code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("VaultError cannot read the master key file")
    assert f"LoadCredential=master-key:{folder}/master-key" in done.stdout


def test_a_key_that_is_away_or_another_s_is_one_clear_error_and_nothing_is_made(folder: Path) -> None:
    before = sorted((folder / "data").rglob("*"))
    (folder / "master-key").rename(folder / "kept")
    done = tctl(folder, "users", "add", "joe", "root")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "has lost its master key" in done.stderr
    write_master_key(folder / "master-key")
    done = tctl(folder, "users", "add", "joe", "root")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "is not the one it was sealed with" in done.stderr
    assert sorted((folder / "data").rglob("*")) == before


def test_root_starts_no_controller_on_data_that_is_somebody_else_s(folder: Path) -> None:
    command = [sys.executable, "-m", "controller.cli", "start", "-c", str(folder / "controller.yaml")]
    settings = json.loads((folder / "controller.yaml").read_text(encoding="utf-8"))
    settings["auth_service"]["listen_addr"] = "127.0.0.1:0"
    settings["proxy_service"] = dict.fromkeys(("listen_addr", "tunnel_listen_addr", "web_listen_addr"), "127.0.0.1:0")
    settings["mqtt"] = {"listen_addr": "127.0.0.1:0"}
    (folder / "controller.yaml").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "belongs to user nobody, not to root: start the controller as that user" in done.stderr
    assert owners(folder) == {(NOBODY.pw_uid, NOBODY.pw_gid)}


@pytest.mark.parametrize("place", ["apart", "with the data"])
@pytest.mark.parametrize("content", [b"\n", None])
def test_in_a_unit_of_root_s_whose_credentials_are_root_s_alone_the_key_is_found(
    folder: Path, place: str, content: bytes | None
) -> None:
    """As the unit of the nightly backup: what it is handed is blank, or the key itself."""
    if place == "with the data":
        move_key(folder, folder / "data" / "master.key")
    where = Path(json.loads((folder / "controller.yaml").read_text())["auth_service"]["master_key_file"])
    handed = folder / "credentials"
    handed.mkdir(mode=0o700)
    (handed / "master-key").write_bytes(where.read_bytes() if content is None else content)
    if content is None:
        where.unlink()
    variables = {"CREDENTIALS_DIRECTORY": str(handed), "SKERRY_BACKUP_PASSPHRASE": "insecure correct horse"}
    done = tctl(folder, "tokens", "add", "--type=node", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    command = [sys.executable, "-m", "controller.cli", "backup", "-c", str(folder / "controller.yaml")]
    made = subprocess.run(
        [*command, str(folder / "made")], cwd=ROOT, env=clean_environment(**variables),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert (folder / "made").stat().st_size > 1000


def move_key(folder: Path, to: Path) -> None:
    (folder / "master-key").rename(to)
    os.chown(to, NOBODY.pw_uid, NOBODY.pw_gid)
    settings = json.loads((folder / "controller.yaml").read_text(encoding="utf-8"))
    settings["auth_service"]["master_key_file"] = str(to)
    (folder / "controller.yaml").write_text(json.dumps(settings), encoding="utf-8")
