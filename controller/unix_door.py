"""Unix sockets in the data directory, at which the controller's own processes speak with each other.

They are bound and reached by way of the directory's descriptor, for a Unix socket's own name may have no more than 107
bytes (unix(7)).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

_BACKLOG = 64


def bind(data_dir: Path, name: str) -> socket.socket:
    """Return the listening socket, for its owner alone; it does not block. Raises `OSError`.

    It takes the place of the one of an earlier run in one step.
    """
    directory = os.open(data_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    own = f"{name}.{os.getpid()}"
    try:
        with suppress(FileNotFoundError):
            os.unlink(own, dir_fd=directory)
        sock.bind(f"/proc/self/fd/{directory}/{own}")
        os.chmod(own, 0o600, dir_fd=directory)
        sock.listen(_BACKLOG)
        os.rename(own, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(directory)
    sock.setblocking(False)
    return sock


def connect(data_dir: Path, name: str, patience: timedelta) -> socket.socket:
    """Return a connection to whoever listens there, each of whose steps takes up to `patience`. Raises `OSError`."""
    directory = os.open(data_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(patience.total_seconds())
        sock.connect(f"/proc/self/fd/{directory}/{name}")
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(directory)
    return sock
