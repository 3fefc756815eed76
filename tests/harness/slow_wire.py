"""A wire between two network namespaces that delays and loses frames: two TAP devices, and a program between them.

Run as ``python slow_wire.py SPACE LINK SPACE LINK``; each line on its standard input, ``DELAY LOSS``, says how many
milliseconds a frame is under way from then on, and how many of a thousand are lost. It ends where that input does.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import sys
import time
from contextlib import suppress

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME_MAX = 65536
_WAITING_MAX = 1000


def open_tap(space: str, link: str) -> int:
    """Make the device `link` in a namespace, and return what its frames are read from and written to."""
    handle = os.open(f"/run/netns/{space}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(handle)
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", link.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def carry(first: int, second: int) -> None:
    """Carry frames both ways until standard input ends."""
    other = {first: second, second: first}
    number, delay, loss = itertools.count(), 0.0, 0.0
    under_way: list[tuple[float, int, int, bytes]] = []
    while True:
        left = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        ready, _, _ = select.select([first, second, sys.stdin], [], [], left)
        if sys.stdin in ready:
            words = sys.stdin.readline().split()
            if not words:
                return
            delay, loss = float(words[0]) / 1000, float(words[1]) / 1000
        now = time.monotonic()
        for tap in (end for end in ready if end in other):
            try:
                frame = os.read(tap, _FRAME_MAX)
            except OSError:
                continue
            if len(under_way) < _WAITING_MAX and random.random() >= loss:  # noqa: S311 - weather, not a secret
                heapq.heappush(under_way, (now + delay, next(number), other[tap], frame))
        while under_way and under_way[0][0] <= now:
            _, _, tap, frame = heapq.heappop(under_way)
            with suppress(OSError):  # an end that is down takes nothing
                os.write(tap, frame)


if __name__ == "__main__":
    ends = open_tap(*sys.argv[1:3]), open_tap(*sys.argv[3:5])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    carry(*ends)
