"""The control groups of a device: a subtree of its own in each hierarchy that it uses; never the memory hierarchy."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_HIERARCHIES = ("pids", "cpu", "cpuacct", "freezer", "systemd", "unified")
_ENTER = 'for file in $1; do echo $$ >"$file"; done; shift; exec "$@"'


class Groups:
    """Made at once; `close` takes them away, once nothing runs in them."""

    def __init__(self, name: str) -> None:
        # Where there is one hierarchy (cgroup v2 alone) it is the root itself.
        parents = [_ROOT / kind for kind in _HIERARCHIES if (_ROOT / kind / "cgroup.procs").exists()]
        self._places = [parent / name for parent in parents or [_ROOT]]
        for place in self._places:
            place.mkdir()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands in front of a command that is to run in them."""
        return ("sh", "-c", _ENTER, "enter", " ".join(f"{place}/cgroup.procs" for place in self._places))

    def close(self) -> None:
        for place in self._places:
            _take_away(place)


def sweep(names: list[str]) -> None:
    """Take away those that a killed test run left behind."""
    for parent in [_ROOT / kind for kind in _HIERARCHIES] + [_ROOT]:
        for name in names:
            with suppress(OSError):
                _take_away(parent / name)


def _take_away(place: Path) -> None:
    for folder, _, _ in os.walk(place, topdown=False):
        with suppress(FileNotFoundError):
            Path(folder).rmdir()
