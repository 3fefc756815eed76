"""Wheels of other people's: fetched as the lock says, kept for the next time, unpacked."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from scripts.distribution.source import BuildError, file_digest, run

PYTHONS = ("3.11", "3.12", "3.13")
_OUTSIDE = {"data", "scripts", "headers"}
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Architecture:
    """A kind of machine."""

    name: str
    """Debian's name for it, which is in the names of files."""
    machine: str
    """The kernel's, which is in the tags of wheels."""

    @property
    def platforms(self) -> list[str]:
        """The wheels' platforms that run where glibc is 2.28 or newer (PEP 600)."""
        return [f"manylinux_2_{minor}_{self.machine}" for minor in (28, 27, 26, 24, 17)] + [
            f"manylinux2014_{self.machine}"
        ]


AMD64, ARM64 = Architecture("amd64", "x86_64"), Architecture("arm64", "aarch64")
ARCHITECTURES = {each.name: each for each in (AMD64, ARM64)}


def fetch(lock: Path, architecture: Architecture, python: str, keep: Path) -> list[Path]:
    """Return the wheels that `lock` names, for a machine and a Python such as ``3.11``.

    They are kept under `keep`: where all of them are there, and are what the lock's hashes say, nothing is fetched.
    Raises `BuildError`.
    """
    text = lock.read_text(encoding="utf-8")
    if re.search(r"^[^#]*;.*python_(full_)?version", text, re.MULTILINE):
        # pip judges markers by the Python it runs under, whatever --python-version says.
        raise BuildError(f"{lock.name} asks for different packages on different Pythons: pip cannot fetch those")
    folder = keep / f"{architecture.name}-{python}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    known = set(_HASH.findall(text))
    if folder.is_dir() and all(file_digest(path) in known for path in folder.iterdir()):
        return sorted(folder.iterdir())
    shutil.rmtree(folder, ignore_errors=True)
    keep.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=keep))
    try:
        run(_pip_download(lock, architecture, python, fresh), keep)
        _keep_as(folder, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return sorted(folder.iterdir())


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack what a wheel has for site-packages into `folder`.

    Commands and manuals, which wheels keep in their ``.data``, are left out. Raises `BuildError` where there is more in
    it (PyPA's "Binary distribution format").
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            parts = Path(name).parts
            if name.startswith("/") or ".." in parts:
                raise BuildError(f"{wheel.name}: {name} lies outside of it")
            if not parts[0].endswith(".data"):
                archive.extract(name, folder)
            elif parts[1] not in _OUTSIDE:
                raise BuildError(f"{wheel.name}: {name} belongs elsewhere, and nothing here puts it there")


def _keep_as(folder: Path, fresh: Path) -> None:
    try:
        fresh.rename(folder)
    except OSError:
        if not folder.is_dir():  # another build was faster, and has fetched the same
            raise


def _pip_download(lock: Path, architecture: Architecture, python: str, target: Path) -> list[str]:
    tag = f"cp{python.replace('.', '')}"
    command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(target)]
    command += ["--requirement", str(lock), "--python-version", python, "--implementation", "cp"]
    command += [word for abi in (tag, "abi3", "none") for word in ("--abi", abi)]
    return command + [word for platform in architecture.platforms for word in ("--platform", platform)]
