from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.api.running_api import Door, running_api


@pytest.fixture(scope="module")
def whole_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A running machine API for all that does not harm it."""
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def door(whole_door: Door) -> Door:
    """The module's machine API, its logs as if it had begun now."""
    return whole_door.from_now()


@pytest.fixture
def own_door(tmp_path: Path) -> Iterator[Door]:
    """A running machine API that the test may harm, or that nobody else may have asked before."""
    with running_api(tmp_path) as running:
        yield running
