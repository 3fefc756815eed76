from __future__ import annotations

import ast

import pytest

from tests.architecture.source import OTHERS, PROGRAMS, ROOT, modules, tracked

FILE_MAX = 600
FUNCTION_MAX = 60
WRITTEN = (".py", ".html", ".css", ".js", ".mjs", ".sh", ".md")
GROWS = {"CHANGELOG.md"}


def test_no_file_is_longer_than_six_hundred_lines() -> None:
    long = {
        str(path): lines
        for path in tracked()
        if path.suffix in WRITTEN and path.name not in GROWS
        if (lines := len((ROOT / path).read_text(encoding="utf-8").splitlines())) > FILE_MAX
    }
    assert long == {}


@pytest.mark.parametrize("top", [*PROGRAMS, *OTHERS])
def test_no_function_is_longer_than_sixty_lines(top: str) -> None:
    long = {
        f"{path}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path, tree in modules(top)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
        if node.end_lineno - node.lineno + 1 > FUNCTION_MAX
    }
    assert long == {}
