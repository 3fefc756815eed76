from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.lookout.lab import Port


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    """Give a cluster and its broker, which runs."""
    port = Port(tmp_path)
    try:
        port.broker.start()
        yield port
    finally:
        port.broker.close()
