"""Which part of a list is one page, and where the next one begins.

A cursor names the last item that was shown, not a number of it: what is added or removed meanwhile makes no item stand
on two pages, or on none.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_CURSOR = re.compile(r"(?:[0-9a-f]{2}){1,256}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page.

    Attributes:
        items: what stands on it.
        next: the cursor of the next one; None where this is the last.
    """

    items: tuple[T, ...]
    next: str | None


def turn(items: Iterable[T], key: Callable[[T], str], after: str | None, limit: int) -> Page[T]:
    """Return the first `limit` of `items` after the place `after`, in the order of their keys.

    Args:
        items: all that there are.
        key: an item's place in the order; each has another, and none is empty.
        after: the last item's place on the page before, see `place_of`; None for the first page.
        limit: how many, from 1.
    """
    later = (item for item in items if after is None or key(item) > after)
    found = heapq.nsmallest(limit + 1, later, key=key)
    return Page(tuple(found[:limit]), cursor_of(key(found[limit - 1])) if len(found) > limit else None)


def cursor_of(place: str) -> str:
    """Return the cursor that names a place in an order: hexadecimal, so that it needs no escapes in an address."""
    return place.encode("utf-8", "surrogateescape").hex()


def place_of(cursor: str) -> str:
    """Return the place that a cursor names. Raises `ValueError`."""
    if not _CURSOR.fullmatch(cursor):
        raise ValueError("not a cursor")
    return bytes.fromhex(cursor).decode("utf-8", "surrogateescape")
