"""Debian's package of the agent, by dpkg's own programs."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_agent.policy.layout import PACKAGE, Layout, parse_version
from edge_agent.rollout.fault import RolloutError, reason
from edge_agent.rollout.placing import remove_tree

_TIME_MAX = 900.0
_DATABASE = "/var/lib/dpkg"
INSTALLED = "installed"
# Tells the maintainer scripts to leave the service alone: who upgrades restarts it, and watches it.
_UPGRADE = "SKERRY_UPGRADE"
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}
# By which programs keep each other off dpkg's database: apt takes the first for as long as it works.
_LOCKS = ("lock-frontend", "lock")
# struct flock, fcntl(2), of the 64-bit machines that there are versions for.
_FLOCK = struct.Struct("hhqqi4x")


def read_package(package: Path) -> tuple[str, str]:
    """Return a package's version and architecture. Raises `RolloutError` where it is not the agent's."""
    fields = ("Package", "Version", "Architecture")
    said = _run("dpkg-deb", "--showformat=${Package}\n${Version}\n${Architecture}\n", "--show", str(package))
    found = said.splitlines()
    if len(found) != len(fields) or found[0] != PACKAGE:
        raise RolloutError(f"{package} is not the package {PACKAGE}")
    try:
        return parse_version(_version_of(found[1])), found[2]
    except ValueError as err:
        raise RolloutError(f"{package}: {err}") from None


@contextmanager
def unpacked(package: Path, beside: Path) -> Iterator[Path]:
    """Have a package's files in a directory of their own while the block runs. Raises `RolloutError`."""
    scratch = beside / ".unpacked"
    try:
        remove_tree(scratch)
        _run("dpkg-deb", "--extract", str(package), str(scratch))
        yield scratch
    finally:
        remove_tree(scratch)


def install(layout: Layout, package: Path) -> None:
    """Install a package over another version, whichever is newer; the settings stay. Raises `RolloutError`."""
    root = [f"--root={layout.root}"] if layout.root else []
    _run("dpkg", *root, "--force-confold", "--install", str(package), more={_UPGRADE: "1"})


def remove(layout: Layout, *, purge: bool) -> None:
    """Remove the package, also one that an upgrade left half unpacked. Raises `RolloutError`."""
    root = [f"--root={layout.root}"] if layout.root else []
    _run("dpkg", *root, "--force-remove-reinstreq", "--purge" if purge else "--remove", PACKAGE)


def is_whole(layout: Layout, version: str) -> bool:
    """Tell whether dpkg says that this version is installed, and its files say so too."""
    try:
        own = Path(layout.package_tree, "VERSION").read_text().strip()
    except OSError:
        return False
    return (*read_database(layout), own) == (INSTALLED, version, version)


def read_database(layout: Layout) -> tuple[str, str]:
    """Return the package's state and version as dpkg has them; nothing where it knows of none."""
    try:
        show = "--showformat=${db:Status-Status} ${Version}"
        said = _run("dpkg-query", f"--admindir={layout.root}{_DATABASE}", show, "--show", PACKAGE)
    except RolloutError:
        return "", ""
    state, _, found = said.partition(" ")
    return state, _version_of(found)


def find_holder(layout: Layout) -> int | None:
    """Return the process that holds dpkg's lock; None where nobody does. It is asked for, and not taken: fcntl(2)."""
    for name in _LOCKS:
        with suppress(OSError), Path(f"{layout.root}{_DATABASE}", name).open("rb") as file:
            wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, *_, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, wanted))
            if kind != fcntl.F_UNLCK:
                return int(pid)
    return None


def _version_of(text: str) -> str:
    """Return the agent's own name for a version that dpkg has: a release candidate is ``1.1~rc1`` there."""
    return text.replace("~rc", "rc")


def kept(layout: Layout, version: str) -> Path | None:
    """Return the package of `version`, where it was kept."""
    for path in sorted(Path(layout.packages).glob("*.deb")):
        try:
            if read_package(path)[0] == version:
                return path
        except RolloutError:
            continue
    return None


def keep(layout: Layout, package: Path) -> Path:
    """Keep a package under its own name. Raises `OSError`, `RolloutError`."""
    version, architecture = read_package(package)
    target = Path(layout.packages, f"{PACKAGE}_{version}_{architecture}.deb")
    if target.exists() and target.samefile(package):
        return target
    part = target.with_suffix(".part")
    shutil.copyfile(package, part)
    part.rename(target)
    return target


def forget_others(layout: Layout, versions: tuple[str, ...]) -> None:
    """Remove the packages that are of none of `versions`."""
    for path in sorted(Path(layout.packages).glob("*.deb")):
        try:
            if read_package(path)[0] not in versions:
                path.unlink()
        except (RolloutError, OSError):
            continue


def _run(*command: str, more: Mapping[str, str] | None = None) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != _UPGRADE}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIME_MAX,
            check=False,
            env=inherited | _QUIET | dict(more or {}),
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise RolloutError(f"{command[0]} cannot be run: {reason(err)}") from None
    if done.returncode:
        said = _fault(done.stderr) or f"it ended with {done.returncode}"
        raise RolloutError(f"{' '.join(command[:1])} {Path(command[-1]).name}: {said[:300]}")
    return done.stdout


def _fault(said: str) -> str:
    """Return the line that says what went wrong; dpkg puts advice, and a list of packages, below it."""
    lines = said.strip().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"dpkg[a-z-]*: error", line):
            rest = [more.strip() for more in lines[number + 1 : number + 2] if more.startswith(" ")]
            return " ".join([line, *rest])
    return lines[-1] if lines else ""
