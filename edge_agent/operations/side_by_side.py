"""Several things at once that may hang: each in a thread of its own, which nobody waits for beyond its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def run_side_by_side(errands: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T]:
    """Run all of `errands`, and return by name what came of those that were done within `seconds`.

    What is not done is left alone, and ends with the process: a name server that never answers cannot be interrupted.
    An errand raises nothing.
    """
    found: dict[str, T] = {}

    def run(name: str, errand: Callable[[], T]) -> None:
        found[name] = errand()

    threads = [
        threading.Thread(target=run, args=(name, errand), name=f"look-{name}", daemon=True)
        for name, errand in errands.items()
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(found)
