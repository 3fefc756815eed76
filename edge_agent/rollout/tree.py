"""A version of the agent on the disk: one directory that is a virtual environment, wherever it lies."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from edge_agent.policy.layout import BadVersionError, parse_version
from edge_agent.policy.preflight import Tree
from edge_agent.rollout.fault import RolloutError, reason

UNIT_IN_TREE = "systemd/skerry-agent.service"
_USUAL = "/usr/bin/python3"
_LINE_MAX = 4096
# What an installer sets anew, and what is made when the tree is first run.
_CHANGES = {"MANIFEST", "pyvenv.cfg"}
# The one link: to the device's Python.
_PYTHON_LINK = "bin/python3"
_BYTE_CODE = "__pycache__"
_PYTHON = re.compile(r"python3\.(\d{1,3})")
_SAID = re.compile(r"Skerry v(\S+) edge-agent ")
_START_MAX = 120.0
_COMPILE_MAX = 900.0


def read_tree(tree: Path) -> Tree:
    """Return what a tree is. Raises `RolloutError` where it is none."""
    if not (tree / "bin/edge-agent").is_file():
        raise RolloutError(f"{tree} is no version of the agent: it has no bin/edge-agent")
    try:
        is_ours = (tree / "VERSION").exists()
        version = _line(tree / "VERSION") if is_ours else ask_version(tree)
        architecture = _line(tree / "ARCH") if (tree / "ARCH").exists() else ""
        pythons = tuple((3, int(found[1])) for path in _libraries(tree) if (found := _PYTHON.fullmatch(path.name)))
        size = sum(path.lstat().st_size for path in tree.rglob("*") if path.suffix != ".pyc")
        return Tree(parse_version(version), architecture, pythons if architecture else (), size)
    except BadVersionError as err:
        raise RolloutError(f"{tree}/VERSION: {err}") from None
    except OSError as err:
        raise RolloutError(f"{tree} cannot be read: {reason(err)}") from None


def _libraries(tree: Path) -> list[Path]:
    return sorted((tree / "lib").iterdir()) if (tree / "lib").is_dir() else []


def _line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_LINE_MAX).strip()


def check_manifest(tree: Path, *, is_fresh: bool = False) -> None:
    """See whether every file is what the tree's maker put there, and nothing is beside them.

    Args:
        tree: the tree.
        is_fresh: whether it has not been run yet: then there is no byte code either, which would be run in place of
            what the manifest has.

    Raises:
        RolloutError: it is damaged.
    """
    manifest = tree / "MANIFEST"
    if not manifest.exists():
        return  # installed by pip, which looks after its own
    listed: dict[str, str] = {}
    try:
        for line in manifest.read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition("  ")
            listed[name] = digest
        paths = {path.relative_to(tree): path for path in tree.rglob("*") if path.is_symlink() or not path.is_dir()}
        found = {name.as_posix(): path for name, path in paths.items() if is_fresh or _BYTE_CODE not in name.parts}
        if (tree / _PYTHON_LINK).is_symlink():
            found.pop(_PYTHON_LINK, None)
        fault = next((name for name in sorted(listed.keys() ^ found.keys()) if name not in _CHANGES), None)
        fault = fault or next(
            (name for name in found if name not in _CHANGES and _digest(found[name]) != listed[name]), None
        )
    except (OSError, UnicodeDecodeError) as err:
        raise RolloutError(f"{tree} cannot be read: {reason(err)}") from None
    if fault:
        raise RolloutError(f"{tree} is damaged: {fault} is not what its MANIFEST says; take the archive anew")


def is_whole(tree: Path) -> bool:
    """Tell whether there is a tree and nothing of it is missing or changed."""
    try:
        check_manifest(tree)
    except RolloutError:
        return False
    return (tree / "bin/edge-agent").is_file()


def _digest(path: Path) -> str:
    """Return a file's SHA-256; of what is none, nothing."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_python(tree: Path) -> None:
    """Have a tree run by the Python that runs this program. Raises `OSError`."""
    link = tree / "bin/python3"
    if not (tree / "ARCH").exists():
        return  # installed by pip, by a Python of its choice
    python = _own_python()
    link.unlink(missing_ok=True)
    link.symlink_to(python)
    settings = tree / "pyvenv.cfg"
    settings.write_text(f"home = {Path(python).parent}\ninclude-system-site-packages = false\n", encoding="utf-8")


def _own_python() -> str:
    """Return the Python that runs this, by the name that outlives its upgrades where that is the system's own."""
    own = os.path.realpath(sys.executable)
    if os.path.realpath(_USUAL) == own:
        return _USUAL
    link = Path(sys.prefix, "bin/python3")
    named = os.readlink(link) if link.is_symlink() else ""  # noqa: PTH115 - the text itself is looked at
    return named if named.startswith("/") and os.path.realpath(named) == own else own


def compile_tree(tree: Path) -> None:
    """Have the byte code lie ready: the service may not write there. A device that cannot runs a little slower."""
    libraries = [path for path in _libraries(tree) if path.name in {"shared", f"python3.{sys.version_info.minor}"}]
    command = [str(tree / "bin/python3"), "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    try:
        subprocess.run(
            [*command, *map(str, libraries)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMPILE_MAX,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return


def ask_version(tree: Path) -> str:
    """Return the version that a tree's own program says it is. Raises `RolloutError` where it does not run."""
    command = [str(tree / "bin/edge-agent"), "version"]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_START_MAX,
            check=False,
            env=environment,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise RolloutError(f"{tree}/bin/edge-agent does not run: {reason(err)}") from None
    found = _SAID.match(done.stdout)
    if done.returncode or found is None:
        said = (done.stderr.strip() or done.stdout.strip() or f"it ended with {done.returncode}").splitlines()[-1]
        raise RolloutError(f"{tree}/bin/edge-agent does not run: {said[:300]}")
    return found[1]


def check_start(tree: Path, version: str) -> None:
    """See whether a tree's program runs, and is of `version`. Raises `RolloutError`."""
    said = ask_version(tree)
    if said != version:
        raise RolloutError(
            f"{tree} says it is version {version}, and its program says {said[:64]}: take the archive anew"
        )
