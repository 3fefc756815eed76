"""What tells, without reading it all, whether something that the pages show has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.presence.mirror import View


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """Equal to what holds the very same objects: they are the same for as long as nothing of them changes."""

    held: tuple[object, ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or len(self.held) != len(other.held):
            return False
        return all(mine is theirs for mine, theirs in zip(self.held, other.held, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.held)))


class Changes:
    """The stamps of one controller.

    Args:
        data_dir: where the audit log and the recordings lie.
        nodes, tunnels, told: each the very same object for as long as nothing changes.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        nodes: Callable[[], object],
        tunnels: Callable[[], object],
        told: Callable[[], View],
    ) -> None:
        self._log = data_dir / "log"
        self._arriving = data_dir / "recordings" / "arriving"
        self._nodes = nodes
        self._tunnels = tunnels
        self._told = told

    def stamps(self) -> Mapping[str, object]:
        """Return the stamp of each topic; it reads directories. Raises `OSError` and what the store raises."""
        view, audit = self._told(), _newest(self._log)
        return {
            "nodes": Same((self._nodes(), self._tunnels(), view)),
            "sessions": Same(tuple(each.live for each in view.standings.values() if each.live.sessions)),
            # A recording that ends or is removed is told of in the audit log; one that begins or grows is seen here.
            "recordings": (_touched(self._arriving), audit),
            "audit": audit,
        }


def _newest(folder: Path) -> tuple[str, int, int]:
    """Return name, size and time of the last file of the audit log."""
    last = max((path for path in folder.glob("audit-*.log")), default=None)
    if last is None:
        return ("", 0, 0)
    status = last.stat()
    return (last.name, status.st_size, status.st_mtime_ns)


def _touched(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
