"""Which of two versions is the newer one, the same everywhere: on devices, on the controller, and on its pages."""

from __future__ import annotations

import re

_PART = re.compile(r"[0-9]+|[A-Za-z]+", re.ASCII)
_NUMBER_MAX_DIGITS = 18
# What the end of a version is weighed against: a preview's letters stand below it, a further number above it.
_PREVIEW, _END, _AFTER, _NUMBER = range(4)
_LATER = {"post"}

Weight = tuple[tuple[tuple[int, int, str], ...], str]


def is_older(version: str, other: str) -> bool:
    """Tell whether `version` comes before `other`: see `weigh`."""
    return weigh(version) < weigh(other)


def weigh(version: str) -> Weight:
    """Return what versions are sorted by: numbers by value, a preview before the final one (semver.org 11, PEP 440).

    Zeros at a release's end do not count (1.0 is 1.0.0), nor does how a preview is set off: 1.0rc1 is 1.0~rc1. What
    follows a ``+`` says how it was built, and counts only where nothing else differs. Any text can be weighed.
    """
    public, _, build = version.partition("+")
    parts = [_weigh_part(part) for part in _PART.findall(public)]
    release = next((at for at, part in enumerate(parts) if part[0] != _NUMBER), len(parts))
    while release and parts[release - 1] == (_NUMBER, 0, ""):
        release -= 1
        del parts[release]
    return (*parts, (_END, 0, "")), build


def _weigh_part(part: str) -> tuple[int, int, str]:
    if part.isdigit():
        return _NUMBER, int(part[:_NUMBER_MAX_DIGITS]), ""
    return _AFTER if part in _LATER else _PREVIEW, 0, part
