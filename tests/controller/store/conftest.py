from __future__ import annotations

from pathlib import Path

import pytest

from controller.store.interface import Collection, Store
from controller.store.memory import MemoryStore
from controller.store.tiny import TinyStore

# By what is opened, the name of the collection whose contract is tried: the last is spread over many files.
KINDS = {"memory": "tokens", "tiny": "tokens", "sharded": "nodes"}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Store:
    return MemoryStore() if kind == "memory" else TinyStore(tmp_path / "store")


@pytest.fixture
def tokens(store: Store, kind: str) -> Collection:
    return store.collection(KINDS[kind])
