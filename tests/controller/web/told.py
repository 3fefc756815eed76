"""What is known over MQTT, as a test says it: in files, as the door may be another process."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from controller.policy.liveness import BrokerHealth, Standing
from controller.presence.history import NodeHistory
from controller.presence.mirror import NO_VIEW, View, view_of
from controller.presence.wire import News
from protocol.names import NodeId

BROKER_UP = BrokerHealth(is_up=True, since=datetime(2026, 11, 1, tzinfo=UTC))


class Told:
    """The view that was written last: the same object for as long as nothing is written."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file = data_dir / "told.json"
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._view = NO_VIEW

    def say(self, standings: Mapping[NodeId, Standing], health: BrokerHealth = BROKER_UP) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(News("snapshot", standings, health).encode())
        fresh.replace(self._file)

    def remember(self, node_id: NodeId, history: NodeHistory) -> None:
        (self._data_dir / f"history-{node_id}.json").write_text(json.dumps(history.to_dict()))

    def history(self, node_id: NodeId) -> NodeHistory | None:
        file = self._data_dir / f"history-{node_id}.json"
        return NodeHistory.from_dict(json.loads(file.read_text())) if file.exists() else None

    def __call__(self) -> View:
        with self._lock:
            if not self._file.exists():
                return NO_VIEW
            state = self._file.stat()
            if self._stamp != (state.st_mtime_ns, state.st_ino):
                news = News.decode(self._file.read_bytes())
                known = {key: each for key, each in news.standings.items() if each is not None}
                self._view = view_of(known, news.broker)
                self._stamp = (state.st_mtime_ns, state.st_ino)
            return self._view
