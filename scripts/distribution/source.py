"""The checkout, as what is built from it: which files, under which number."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION_FILE = Path("protocol/version.py")
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}(rc[0-9]{1,4})?")
_WHEEL = ("protocol", "controller", "edge_agent", "tsh", "pyproject.toml", "README.md", "LICENSE")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "node_modules")


class BuildError(Exception):
    """Something cannot be built. The message says what to do about it."""


def parse_version(text: str) -> str:
    """Return `text` where it is a number that wheels, archives and Debian packages can all bear.

    That is the release part of PEP 440, and at most a release candidate. Raises `BuildError`.
    """
    if not _NUMBER.fullmatch(text):
        raise BuildError(f"--version {text}: give numbers with dots between them, such as 0.2.1, or 0.2.1rc1")
    return text


def own_version() -> str:
    """Return the version of the checkout."""
    found = re.search(r'^__version__ = "([^"]+)"$', (ROOT / VERSION_FILE).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise BuildError(f"{VERSION_FILE} says no version")
    return parse_version(found[1])


def digest(places: Iterable[str]) -> str:
    """Return the SHA-256 of every file at or under `places`, their names and modes included, in hexadecimal."""
    total = hashlib.sha256()
    for path in sorted(path for place in places for path in _files(ROOT / place)):
        mode = "x" if os.access(path, os.X_OK) else "-"
        total.update(f"{path.relative_to(ROOT)} {mode} {file_digest(path)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_wheel(version: str, work: Path) -> Path:
    """Build the project's wheel as `version`, in the empty folder `work`, and return where it is.

    Raises `BuildError`.
    """
    if not (ROOT / "controller/web/static/vendor/.built").exists():
        raise BuildError("the web door's scripts and fonts are not here: run `make assets` first")
    copy, out = work / "source", work / "wheel"
    for name in _WHEEL:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=_LEFT_OUT)
        else:
            shutil.copy2(ROOT / name, copy / name)
    (copy / VERSION_FILE).write_text(_numbered(version), encoding="utf-8")
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)], copy)
    return next(out.glob("*.whl"))


def run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run `command` in `folder`, quietly, with `environment` added. Raises `BuildError` with what it said."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr).strip()}")


def _numbered(version: str) -> str:
    text = (ROOT / VERSION_FILE).read_text(encoding="utf-8")
    return re.sub(r'^__version__ = ".*"$', f'__version__ = "{version}"', text, flags=re.MULTILINE)


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    for folder, names, files in os.walk(place):
        names[:] = [name for name in names if name not in {"__pycache__", "node_modules"}]
        yield from (Path(folder, name) for name in files if not name.endswith(".pyc"))
