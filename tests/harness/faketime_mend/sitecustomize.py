"""Loaded by programs under libfaketime, which shifts the end of a sleep even by a clock that it leaves alone.

Python sleeps until a moment of the monotonic clock (clock_nanosleep with TIMER_ABSTIME): shifted, that is fifty years.
"""

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
