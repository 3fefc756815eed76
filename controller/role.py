"""What every process of the controller does besides its role: say when it is ready, and end with its supervisor."""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading

LIFELINE = "SKERRY_LIFELINE_FD"
READY = "SKERRY_READY_FD"


def say_ready() -> None:
    """Tell the supervisor that this process serves; a second call, or one without a supervisor, does nothing."""
    fd = os.environ.pop(READY, "")
    if fd:
        os.write(int(fd), b"ready\n")
        os.close(int(fd))


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hold_lifeline() -> None:
    """End this process (SIGTERM to itself) when the supervisor is gone, however it went.

    The supervisor holds the other end of a pipe and never writes: end of file means that it is no more.
    """
    fd = os.environ.get(LIFELINE, "")
    if not fd:
        return

    def watch() -> None:
        while os.read(int(fd), 1):
            pass
        logging.getLogger("ROLE").warning("the supervisor is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
