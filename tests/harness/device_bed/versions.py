"""Other versions, made of the built ones: what a release is, and what must never be one."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from scripts.distribution.archive import pack
from tests.harness.built_packages import package

# Ends, as soon as the service has been begun.
DOES_NOT_START = ("edge_agent/node.py", 'raise SystemExit("this version was never tried")\n')
# Ends at once, and has changed the data before.
CONTROLLER_DOES_NOT_START = (
    "controller/service.py",
    """
from pathlib import Path as _Path

_Path("/var/lib/skerry/of-the-new-version").touch()
(_Path("/var/lib/skerry/store") / "users.json").write_text("{}")
raise SystemExit("this version was never tried")
""",
)
# Lives, and never dials out.
NEVER_ONLINE = (
    "edge_agent/tunnel.py",
    """
import asyncio as _asyncio

async def _never(*_: object, **__: object) -> None:
    await _asyncio.Event().wait()

import asyncssh as _asyncssh
_asyncssh.connect = _never
""",
)


def agent_archive(version: str, folder: Path, fault: tuple[str, str] | None = None) -> Path:
    """Write the agent's archive under the number `version`, with the lines of a `fault` added to one of its files."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        with tarfile.open(package("agent-archive-amd64")) as archive:
            archive.extractall(work, filter="tar")
        (tree,) = Path(work).iterdir()
        _renumber(tree, version, fault)
        path = folder / f"skerry-agent-{version}-linux-amd64.tar.gz"
        pack(tree, path, f"skerry-agent-{version}")
    return path


def broken_package(version: str, folder: Path, fault: tuple[str, str], program: str = "agent") -> Path:
    """Write a program's Debian package under the number `version`, with the lines of a `fault` added."""
    with tempfile.TemporaryDirectory() as work:
        root = Path(work) / "root"
        subprocess.run(["dpkg-deb", "-R", str(package(f"{program}-deb-amd64")), str(root)], check=True)
        _renumber(root / "usr/lib/skerry" / program, version, fault)
        control = root / "DEBIAN/control"
        lines = control.read_text(encoding="utf-8").splitlines(keepends=True)
        control.write_text("".join(f"Version: {version}\n" if line.startswith("Version:") else line for line in lines))
        (root / "DEBIAN/md5sums").unlink(missing_ok=True)
        path = folder / f"skerry-{program}_{version}_amd64.deb"
        subprocess.run(
            ["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "--build", str(root), str(path)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return path


def _renumber(tree: Path, version: str, fault: tuple[str, str] | None) -> None:
    old = (tree / "VERSION").read_text(encoding="ascii").strip()
    (tree / "VERSION").write_text(f"{version}\n", encoding="ascii")
    number = tree / "lib/shared/protocol/version.py"
    number.write_text(number.read_text(encoding="utf-8").replace(f'"{old}"', f'"{version}"'), encoding="utf-8")
    if fault:
        place = tree / "lib/shared" / fault[0]
        place.write_text(place.read_text(encoding="utf-8") + fault[1], encoding="utf-8")
    _list_anew(tree)


def _list_anew(tree: Path) -> None:
    """Write the list of files and what they hash to."""
    listed = tree / "MANIFEST"
    names = [line.split("  ", 1)[1] for line in listed.read_text(encoding="utf-8").splitlines()]
    lines = [f"{hashlib.sha256((tree / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    listed.write_text("".join(lines), encoding="utf-8")
