"""What a backup holds, as it is at one instant, while the controller goes on.

For that instant, milliseconds, the locks of all writers are held: of every collection of the store, and of the audit
log. A file of the store is only ever replaced, so what is opened then stays as it was however long it is read; a file
of the audit log only grows, so its length says what belongs to it. Recordings are kept files that nobody changes; those
that are still arriving are not in a backup, for their devices have them.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import io
import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from controller.audit import AuditLog
from controller.cluster import utc_now
from controller.config import ControllerConfig
from controller.operations.error import OperationError
from controller.operations.placing import guarded
from controller.policy.backup import KeptFile
from controller.store.durable import leftovers, locked

_DAY = "[0-9][0-9][0-9][0-9]/[0-9][0-9]/[0-9][0-9]"
# In the order in which they are read: what is there when the first is, is there when the last is read.
_KEPT = (".skr", ".json", ".jsonl")
_SMALL_MAX = 1024 * 1024
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Part:
    """One file for a backup.

    Attributes:
        name: in the backup.
        size: so many of its first bytes belong to it.
        mode: its permission bits.
        file: where it is open; None for one that is opened when its turn comes.
        path: where it lies.
    """

    name: str
    size: int
    mode: int
    file: IO[bytes] | None
    path: Path | None = None

    @classmethod
    def of(cls, name: str, data: bytes, mode: int = 0o600) -> Part:
        """Return a part that is in memory."""
        return cls(name, len(data), mode, io.BytesIO(data))


def still(config: ControllerConfig, held: ExitStack) -> list[Part]:
    """Return the store and the audit log as they are at one instant. What is opened is closed with `held`.

    Raises `OSError`; `LockTimeoutError`, which is one, where a writer keeps its lock for 10 seconds.
    """
    data_dir = config.data_dir
    with ExitStack() as locks:
        _lock_store(data_dir / "store", locks)
        (data_dir / "log").mkdir(mode=0o700, exist_ok=True)
        locks.enter_context(locked(data_dir / "log" / "audit.lock"))
        store = [_opened(path, f"store/{path.name}", held) for path in sorted((data_dir / "store").glob("*.json"))]
        log = AuditLog(data_dir / "log", config.cluster_name, utc_now)
        audit = [Part(f"log/{path.name}", path.lstat().st_size, 0o600, None, path) for path in log.files()]
    return [*store, *audit]


def _lock_store(directory: Path, locks: ExitStack) -> None:
    """Take every collection's lock, in the order of their names; those too that were made meanwhile."""
    taken: set[Path] = set()
    while True:
        # Where a collection has a file, it has a lock: whoever writes takes that first.
        found = {path for path in directory.glob("*.lock") if not path.name.startswith(".")} - taken
        if not found:
            return
        for path in sorted(found):
            locks.enter_context(locked(path))
        taken |= found


def _opened(path: Path, name: str, held: ExitStack) -> Part:
    file = held.enter_context(open_plain(path))
    return Part(name, os.fstat(file.fileno()).st_size, 0o600, file)


def open_plain(path: Path, *, follows: bool = False) -> IO[bytes]:
    """Open a file to read it, and nothing else than a file: a pipe would keep us waiting with every lock held.

    Args:
        path: the file.
        follows: whether a link to it will do.

    Raises:
        OperationError: it is none.
        OSError: it cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follows else os.O_NOFOLLOW))
    except OSError as err:
        if err.errno in {errno.ELOOP, errno.ENXIO}:  # open(2): a link; a socket
            raise OperationError(f"{path} is no plain file") from None
        raise
    file = os.fdopen(fd, "rb")
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        file.close()
        raise OperationError(f"{path} is no plain file")
    return file


def own_certificate(data_dir: Path) -> list[Part]:
    """Return the web door's own certificate and key: with them it shows the same key elsewhere. Raises `OSError`.

    They are written one after the other, and read until both are as they were.
    """
    paths = [data_dir / "tls" / name for name in ("web.crt", "web.key")]
    for _ in range(_TRIES):
        try:
            before = [_mark(path) for path in paths]
            parts = [Part.of(f"tls/{path.name}", _small(path)) for path in paths]
            if before == [_mark(path) for path in paths]:
                return parts
        except FileNotFoundError:
            return []  # the admin's own pair is shown, or there never was a start
    return []


def _mark(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _small(path: Path, *, follows: bool = False) -> bytes:
    with open_plain(path, follows=follows) as file:
        data = file.read(_SMALL_MAX + 1)
    if len(data) > _SMALL_MAX:
        raise OperationError(f"{path} is larger than any file that a configuration names for TLS")
    return data


def named_files(config: ControllerConfig) -> list[tuple[KeptFile, Part]]:
    """Return the TLS files that the configuration names. Raises `OperationError`."""
    found: list[tuple[KeptFile, Part]] = []
    for key, path in named_by(config):
        member = f"files/{len(found)}"
        try:
            with guarded(path.parent):
                data, status = _small(path, follows=True), path.stat()
        except OSError as err:
            raise OperationError(f"{key}: {path} cannot be read: {err.strerror or err}") from None
        mode = stat.S_IMODE(status.st_mode)
        place = str(path.absolute())
        kept = KeptFile(member, place, key, mode, _user(status.st_uid), _group(status.st_gid))
        found.append((kept, Part.of(member, data, mode)))
    return found


def named_by(config: ControllerConfig) -> Iterator[tuple[str, Path]]:
    """Yield the TLS files that the configuration names, each with the setting that names it."""
    web, broker = config.https_keypair, config.external_broker
    if web is not None:
        yield "proxy_service.https_keypairs", web.key_file
        yield "proxy_service.https_keypairs", web.cert_file
    if broker is not None and broker.ca_file is not None:
        yield "mqtt.ca_file", broker.ca_file
    if broker is not None and broker.keypair is not None:
        yield "mqtt.key_file", broker.keypair.key_file
        yield "mqtt.cert_file", broker.keypair.cert_file


def _user(number: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return ""


def _group(number: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return ""


def recordings(data_dir: Path) -> Sequence[Part]:
    """Return the recordings that are kept, a day after the other. Raises `OSError`.

    The bytes of each come before its facts, and those before the index of the day: a recording whose bytes are there
    has the others already.
    """
    root = data_dir / "recordings"
    found: list[Part] = []
    for day in sorted(root.glob(_DAY)):
        temporary = set(leftovers(day))
        for path in sorted(day.iterdir(), key=_turn):
            with contextlib.suppress(FileNotFoundError):  # its time was over
                if path not in temporary and path.suffix in _KEPT:
                    found.append(Part(f"recordings/{path.relative_to(root)}", path.lstat().st_size, 0o600, None, path))
    return found


def _turn(path: Path) -> tuple[int, str]:
    return (_KEPT.index(path.suffix) if path.suffix in _KEPT else len(_KEPT)), path.name
