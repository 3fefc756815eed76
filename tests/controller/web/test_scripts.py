"""The pages' scripts without a browser: each file beside this one is run by node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent / "scripts").glob("*.test.mjs"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_script_promises_holds_in_node(file: Path) -> None:
    node = shutil.which("node")
    assert node, "node builds the assets and runs these tests: apt-get install nodejs"
    command = [node, "--test", "--test-reporter=spec", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_there_are_such_files() -> None:
    assert FILES
