from __future__ import annotations

from pathlib import Path

import pytest

from controller.store.memory import MemoryStore
from tests.controller.harbour import HandClock, Harbour
from tests.controller.recordings.lab import Gateway


@pytest.fixture
def harbour(tmp_path: Path) -> Harbour:
    """One cluster: recordings lie in files whatever its store is."""
    return Harbour(MemoryStore(), tmp_path, HandClock())


@pytest.fixture
def gateway(harbour: Harbour) -> Gateway:
    return Gateway(harbour)
