from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.api.running_api import Door, running_api


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """The running machine API."""
    with running_api(tmp_path) as running:
        yield running
