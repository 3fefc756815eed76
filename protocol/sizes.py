"""Numbers of bytes as people write and read them: ``512MiB``, ``1GB``, ``4096``."""

from __future__ import annotations

import re

_UNITS = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_TEXT = re.compile(r"(\d{1,15})(?:\.(\d{1,3}))? ?([A-Za-z]{0,3})", re.ASCII)
SIZE_MAX = 2**60


class BadSizeError(ValueError):
    """A text is no number of bytes. Its message is safe to show."""


def parse_size(value: object) -> int:
    """Return the bytes that `value` names: ``512MiB``, ``1GB``, ``1.5 GiB``, ``4096`` or the number 4096.

    KB, MB, GB, TB count in thousands; KiB, MiB, GiB, TiB in 1024s.

    Raises:
        BadSizeError: it is no such size, or above `SIZE_MAX`.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return _bounded(value)
    found = _TEXT.fullmatch(value) if isinstance(value, str) else None
    unit = _UNITS.get(found[3]) if found else None
    if found is None or unit is None or (found[2] and unit == 1):
        raise BadSizeError("not a number of bytes (write 512MiB, 1GB or 1048576)")
    fraction = found[2] or ""
    return _bounded(int(found[1] + fraction) * unit // 10 ** len(fraction))


def _bounded(size: int) -> int:
    if not 0 <= size <= SIZE_MAX:
        raise BadSizeError("not a number of bytes that can be: below nothing, or beyond all disks")
    return size


def format_size(size: int) -> str:
    """Return `size` bytes to read: ``0 B``, ``999 B``, ``1.5 KiB``, ``512 MiB``."""
    power = next((power for power in range(5) if size < 1024 ** (power + 1)), 4)
    if power == 0:
        return f"{size} B"
    number = size / 1024**power
    digits = 1 if number < 10 and round(number, 1) != round(number) else 0
    return f"{number:.{digits}f} {'KMGT'[power - 1]}iB"
