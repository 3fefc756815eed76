"""The worker's side of `edge_agent.worker`: orders that come in, one a line, and the answers to them."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
from collections.abc import Iterator, Mapping
from typing import Any

# Standard input and output.
IN, OUT = 0, 1
_READ = 64 * 1024
# <linux/prctl.h>: which signal a process is sent when the one that started it has ended, however.
_PR_SET_PDEATHSIG = 1


def orders(idle: float) -> Iterator[dict[str, Any]]:
    """Yield each order, until the agent is gone or has had none for `idle` seconds. Raises `ConnectionError`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # also where it is in the middle of something
    rest = b""
    while select.select([IN], [], [], idle)[0]:
        piece = os.read(IN, _READ)
        if not piece:  # what stands in `rest` is part of an order that nobody waits for any more
            return
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield json.loads(line)


def reply(answer: Mapping[str, Any]) -> None:
    """Answer an order. Raises `ConnectionError` where the agent is gone."""
    # Not through a buffered file: what it still holds when the agent is gone would be a fault at exit.
    rest = memoryview(json.dumps(answer).encode() + b"\n")
    while rest:
        rest = rest[os.write(OUT, rest) :]
