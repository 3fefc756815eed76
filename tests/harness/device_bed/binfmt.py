"""Programs for another architecture run here for a while, by qemu, and no longer than that.

The registration is the kernel's and so the whole machine's: it has a name of ours, and is withdrawn. It is made
in a mount of our own. Where the machine runs such programs already, nothing is done.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tests.harness.device_bed.apart import Apart

_OURS = "skerry-tests"
_HEX = r"\x"
# binfmt_misc(5) of the kernel's documentation. F: the interpreter is opened now, so that it need not be in the image;
# C: programs that become another user do so under emulation as well; P: they are told their own name.
_FLAGS = "OCPF"
# Whoever needs it holds the first lock, shared; who changes anything holds the second. The whole machine's, as it is.
USERS = Path("/run/lock/skerry-tests-emulation.users")
MUTEX = Path("/run/lock/skerry-tests-emulation.lock")
_KINDS = {
    "arm64": (
        r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
        "/usr/libexec/qemu-binfmt/aarch64-binfmt-P",
    ),
}


@contextmanager
def emulation(architecture: str) -> Iterator[None]:
    """Have programs for `architecture` run here. Test runs side by side each hold it; the last one withdraws it."""
    with USERS.open("w") as users, MUTEX.open("w") as mutex, _table() as table:
        with _held(mutex):
            fcntl.flock(users, fcntl.LOCK_SH)
            _register(table, architecture)
        try:
            yield
        finally:
            with _held(mutex):
                fcntl.flock(users, fcntl.LOCK_UN)
                _withdraw_if_last(table, users)


def registered() -> set[str]:
    """Return the names of what the kernel has others run."""
    with _table() as table:
        return {file.name for file in _kinds(table)}


@contextmanager
def _held(lock: TextIO) -> Iterator[None]:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _register(table: Path, architecture: str) -> None:
    magic, mask, interpreter = _KINDS[architecture]
    wanted = f"magic {magic.replace(_HEX, '')}"
    if not any(wanted in file.read_text(encoding="utf-8") for file in _kinds(table)):
        (table / "register").write_bytes(f":{_OURS}:M::{magic}:{mask}:{interpreter}:{_FLAGS}".encode())


def _kinds(table: Path) -> list[Path]:
    return [file for file in table.iterdir() if file.name not in {"register", "status"}]


def _withdraw_if_last(table: Path, users: TextIO) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if (table / _OURS).exists():
        (table / _OURS).write_bytes(b"-1")
    fcntl.flock(users, fcntl.LOCK_UN)


@contextmanager
def _table() -> Iterator[Path]:
    """The kernel's list. (Newer kernels forget it all where nobody has it mounted any more.)"""
    apart = Apart("mount -t binfmt_misc skerry-tests /mnt")
    try:
        yield apart.seen()
    finally:
        apart.close()
