from __future__ import annotations

from pathlib import Path

import pytest

from controller.store.memory import MemoryStore
from controller.store.tiny import TinyStore
from tests.controller.harbour import HandClock, Harbour


@pytest.fixture(params=["memory", "tiny"])
def harbour(request: pytest.FixtureRequest, tmp_path: Path) -> Harbour:
    """Give one cluster of real parts, on either store."""
    store = MemoryStore() if request.param == "memory" else TinyStore(tmp_path / "store")
    return Harbour(store, tmp_path, HandClock())
