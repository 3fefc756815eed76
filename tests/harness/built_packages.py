"""The real packages, built once for every test that installs them, and again when what they are made of has changed.

They lie outside of the checkout, in a folder named for the sources that they were built from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.distribution.product import PRODUCTS, Builder, Product
from scripts.distribution.source import digest, own_version

KEPT = 12
KEPT_FOR = 24 * 3600.0


def cache() -> Path:
    """Return where tests keep what is dear to make, outside of the checkout."""
    return Path(os.environ.get("SKERRY_TEST_CACHE") or Path.home() / ".cache" / "skerry-tests")


def built(version: str | None = None, kinds: Iterable[str] = ("agent-archive-amd64",)) -> Path:
    """Return a folder that holds the packages of these kinds, under the checkout's version unless another is given.

    A kind is the name of one of `scripts.distribution.product.PRODUCTS`: ``agent-archive-amd64``, ``agent-deb-arm64``…;
    `package` names its file. The wheel lies there too. Several processes may ask at once: one builds.
    """
    wanted, number = {kind: PRODUCTS[kind] for kind in kinds}, version or own_version()
    home = cache() / "dist"
    folder = home / _name(wanted.values(), number)
    with _alone(home):
        missing = [each for each in wanted.values() if not (folder / each.file_name(number)).exists()]
        if missing:
            with Builder(number, folder, print).at_work() as builder:
                for each in missing:
                    builder.build(each)
        os.utime(folder)
        _forget_old(home)
    return folder


def package(kind: str, version: str | None = None) -> Path:
    """Return the one file of `kind`, built where it has to be."""
    number = version or own_version()
    return built(number, [kind]) / PRODUCTS[kind].file_name(number)


def _name(products: Iterable[Product], version: str) -> str:
    places = {place for product in products for place in product.sources}
    return hashlib.sha256(f"{version} {digest(places)}".encode()).hexdigest()[:16]


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(home: Path) -> None:
    """Leave the newest folders; and whatever was used within the last day, which somebody may be reading."""
    folders = sorted((path for path in home.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for folder in folders[:-KEPT]:
        if folder.stat().st_mtime < time.time() - KEPT_FOR:
            shutil.rmtree(folder, ignore_errors=True)
