"""The project's own source, as the tests of its architecture read it."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("protocol", "controller", "edge_agent", "tsh")
OTHERS = ("tests", "benchmarks", "scripts")


@cache
def tracked() -> tuple[Path, ...]:
    """Return every file that is committed or would be, relative to the root."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(command, text=True).split("\0")
    return tuple(sorted({Path(name) for name in listed if name and (ROOT / name).is_file()}))


def modules(*tops: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield each Python file under `tops` and its syntax tree."""
    for path in tracked():
        if path.suffix == ".py" and path.parts[0] in tops:
            yield path, ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the full name of each module that is imported anywhere in `tree`, late imports included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
