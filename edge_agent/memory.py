"""What the C library holds back of memory that is free: where it is GNU's, as little as possible."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# <malloc.h>: how many arenas there may be. Each thread would have its own, and with it what its busiest moment took.
_M_ARENA_MAX = -8


def share_arena() -> None:
    """Have all threads that are yet to start share the main one's arena."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give the kernel what is free."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
