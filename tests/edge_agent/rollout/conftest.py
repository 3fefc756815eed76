from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge_agent.rollout.made_device import MadeDevice


@pytest.fixture
def device(tmp_path: Path) -> Iterator[MadeDevice]:
    """A device on which nothing is installed."""
    made = MadeDevice(tmp_path / "device")
    yield made
    made.close()
