from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.broker.lab import Lab, running


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Give a broker that runs, in a folder of its own."""
    with running(tmp_path) as lab:
        yield lab
