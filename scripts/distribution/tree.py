"""The tree of a program: one folder that is a virtual environment, for every Python it is to run under.

    bin/            python3, a link that the installer sets anew, and a launcher for each command
    lib/shared/     what every Python can read: pure packages, and compiled ones that keep to the stable ABI
    lib/python3.X/  the rest, a version each
    pyvenv.cfg      makes bin/python3 look here, and not at the system's packages
    systemd/        the unit
    VERSION ARCH    a line each
    MANIFEST        the SHA-256 of every other file

It runs wherever it is put, as it is: nothing in it names its own place.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from scripts.distribution.elf import cut
from scripts.distribution.source import ROOT, BuildError, file_digest
from scripts.distribution.wheels import PYTHONS, Architecture, fetch, unpack

SHARED = Path("lib/shared")
# Compiled parts that CPython has no use for here: PyYAML's bindings (protocol.form reads by the pure parser), and
# zstandard's second half, which is PyPy's.
_NEEDLESS = ("yaml/_yaml.*.so", "zstandard/_cffi.*.so", "zstandard/backend_cffi.py")
_TESTS = ("tests", "test", "__pycache__")
_STABLE = re.compile(r"\.abi3\.so$")
_LAUNCHER = """\
#!/bin/sh
# {command}: run by the Python beside it, wherever this folder is and however it was linked to.
set -eu
here=$(readlink -f -- "$0")
here=${{here%/bin/*}}
python=$(readlink -f -- "$here/bin/python3") || python=
if [ ! -x "$python" ]; then
  echo "ERROR: {command}: $here/bin/python3 leads to no Python: install python3 (3.11 or newer)" >&2
  exit 1
fi
case ${{python##*/}} in
  python3.*) if [ ! -d "$here/lib/${{python##*/}}" ]; then
    echo "ERROR: {command}: this package has no libraries for ${{python##*/}}: install a newer one" >&2
    exit 1
  fi ;;
esac
unset PYTHONHOME PYTHONPATH
exec "$here/bin/python3" -P -m {module} "$@"
"""


@dataclass(frozen=True)
class Program:
    """What one package holds of the distribution."""

    name: str
    packages: tuple[str, ...]
    commands: dict[str, str]
    """Each command, and the module that is run for it."""
    lock: str
    unit: str
    home: str
    """Where Debian's package has the tree."""
    documents: tuple[str, ...]
    """The pages of docs/ that Debian's package brings: those that concern its host."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Every place in the checkout that its tree is built from."""
        own = ("scripts/dist", "scripts/distribution", "pyproject.toml", "LICENSE", "README.md")
        return (*own, *self.packages, self.lock, f"deploy/systemd/{self.unit}")


AGENT = Program(
    "skerry-agent",
    ("edge_agent", "protocol"),
    {"edge-agent": "edge_agent"},
    "requirements/agent.txt",
    "skerry-agent.service",
    "/usr/lib/skerry/agent",
    ("clones.md", "devices.md", "operations.md"),
)
CONTROLLER = Program(
    "skerry-controller",
    ("controller", "edge_agent", "protocol", "tsh"),  # a controller's own host can be a node
    {"controller": "controller.cli", "tctl": "controller.tctl", "tsh": "tsh"},
    "requirements/controller.txt",
    "skerry-controller.service",
    "/usr/lib/skerry/controller",
    (
        *("api.md", "clones.md", "controller-service.md", "dashboard.md", "devices.md", "operations.md"),
        *("recording-format.md", "rotation.md", "sharing.md", "threat-model.md"),
    ),
)


def build_tree(tree: Path, program: Program, version: str, architecture: Architecture, wheel: Path, keep: Path) -> None:
    """Make a program's tree at `tree`, which is not there yet, from the project's wheel and those of others.

    Raises `BuildError`.
    """
    _unpack_own(wheel, program, tree / SHARED)
    for python in PYTHONS:
        _unpack_others(tree, program, architecture, python, keep)
    _put(tree / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    _put(tree / "VERSION", f"{version}\n")
    _put(tree / "ARCH", f"{architecture.name}\n")
    for command, module in program.commands.items():
        _put(tree / "bin" / command, _LAUNCHER.format(command=command, module=module))
    (tree / "bin/python3").symlink_to("/usr/bin/python3")
    (tree / "systemd").mkdir()
    shutil.copyfile(ROOT / "deploy/systemd" / program.unit, tree / "systemd" / program.unit)
    settle(tree)


def settle(tree: Path) -> None:
    """Give every file of `tree` its mode, and write its MANIFEST anew."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    tree.chmod(0o755)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent == tree / "bin" else 0o644)
    lines = [f"{file_digest(path)}  {path.relative_to(tree)}\n" for path in files if path != tree / "MANIFEST"]
    _put(tree / "MANIFEST", "".join(lines))
    (tree / "MANIFEST").chmod(0o644)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _unpack_own(wheel: Path, program: Program, shared: Path) -> None:
    unpack(wheel, shared)
    for path in shared.iterdir():
        if path.name not in program.packages and path.suffix != ".dist-info":
            shutil.rmtree(path)
    for entry_points in shared.glob("*.dist-info/entry_points.txt"):
        entry_points.unlink()  # the launchers are ours
    _recount(shared)


def _unpack_others(tree: Path, program: Program, architecture: Architecture, python: str, keep: Path) -> None:
    own = tree / "lib" / f"python{python}" / "site-packages"
    own.mkdir(parents=True)
    _put(own / "skerry.pth", "../../shared\n")
    for wheel in fetch(ROOT / program.lock, architecture, python, keep):
        scratch = tree / "scratch"
        unpack(wheel, scratch)
        _drop(scratch)
        for compiled in scratch.rglob("*.so"):
            cut(compiled)
        _recount(scratch)
        _merge(scratch, tree / SHARED if _is_for_all(scratch) else own)
        shutil.rmtree(scratch)


def _drop(folder: Path) -> None:
    """Take away what is never run."""
    for pattern in _NEEDLESS:
        for path in folder.glob(pattern):
            path.unlink()
    for package in [path for path in folder.iterdir() if path.is_dir()]:
        for name in _TESTS:
            shutil.rmtree(package / name, ignore_errors=True)


def _is_for_all(folder: Path) -> bool:
    return all(_STABLE.search(path.name) for path in folder.rglob("*.so"))


def _merge(folder: Path, target: Path) -> None:
    """Move what `folder` holds to `target`. What is there already came for another Python, and has to be the same."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = target / path.relative_to(folder)
        if place.exists() and place.name not in {"RECORD", "WHEEL"} and place.read_bytes() != path.read_bytes():
            raise BuildError(f"{place.relative_to(target)} is not the same for every Python")
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)


def _recount(folder: Path) -> None:
    """Let every RECORD name the files that are still there, as they are (PyPA's "Recording installed projects")."""
    for record in folder.glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8", newline="") as file:
            kept = [row[0] for row in csv.reader(file) if (folder / row[0]).exists()]
        with record.open("w", encoding="utf-8", newline="") as file:
            rows = [[name, "", ""] if name.endswith("/RECORD") else _counted(folder, name) for name in kept]
            csv.writer(file, lineterminator="\n").writerows(rows)


def _counted(folder: Path, name: str) -> list[str]:
    content = (folder / name).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return [name, f"sha256={digest}", str(len(content))]
