from __future__ import annotations

from pathlib import Path

import pytest

from controller.store.interface import Collection, Store
from controller.store.memory import MemoryStore
from controller.store.tiny import TinyStore


@pytest.fixture(params=["memory", "tiny"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else TinyStore(tmp_path / "store")


@pytest.fixture
def tokens(store: Store) -> Collection:
    return store.collection("tokens")
