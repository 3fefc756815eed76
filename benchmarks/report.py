"""What a benchmark found, as a table for people and as JSON for machines, with what it was found on."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pair import Row, Spread
from protocol.version import __version__

_HEADER = ("what", "ours", "rival", "rival's", "ours / rival's", "goal")
_LIBRARIES = ("asyncssh", "cryptography", "uvloop")


def machine() -> dict[str, str | int]:
    """Return the facts that figures depend on: processor, cores, versions. Neither names nor places."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    return {
        "processor": model.group(1).strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssh": ssh.split(",")[0].strip(),
        "skerry": __version__,
        **{name: version for name in _LIBRARIES if (version := _version(name))},
    }


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


def write_json(path: Path, name: str, rows: Sequence[Row], turns: int) -> None:
    """Write one benchmark's result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"name": name, "machine": machine(), "turns": turns, "rows": [row.to_dict() for row in rows]}
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def render(rows: Sequence[Row]) -> str:
    """Return the table: medians, and in brackets the smallest and the largest."""
    table = [_HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def _cells(row: Row) -> tuple[str, ...]:
    ratios = row.ratios()
    goal = ""
    if row.goal:
        unit = f" {row.unit}" if row.goal.of == "ours" else ""
        goal = f"{row.goal.sense} {row.goal.number:g}{unit}: {'reached' if row.reached() else 'NOT reached'}"
    return (
        row.what,
        f"{_spread(row.ours)} {row.unit}",
        row.rival,
        f"{_spread(row.theirs)} {row.unit}" if row.theirs else "",
        _spread(ratios) if ratios else "",
        goal,
    )


def _spread(values: Sequence[float]) -> str:
    found = Spread.of(values)
    return f"{_short(found.median)} ({_short(found.lowest)} to {_short(found.highest)})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
