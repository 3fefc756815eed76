"""A presence process's feed beside a test: it tells what the test says is known."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from controller.lookout import feed
from controller.lookout.feed import Feed
from controller.policy.liveness import BrokerHealth, Standing
from controller.presence.wire import News
from protocol.names import NodeId

UP = BrokerHealth(is_up=True)


@contextmanager
def telling(data_dir: Path, known: Mapping[NodeId, Standing], health: BrokerHealth = UP) -> Iterator[None]:
    """Serve at the socket in `data_dir`, in a thread."""
    loop = asyncio.new_event_loop()
    serving = loop.create_task(Feed(lambda: News("snapshot", dict(known), health)).run(feed.bind(data_dir)))

    def serve() -> None:
        try:
            loop.run_until_complete(serving)
        except asyncio.CancelledError:
            loop.close()

    thread = threading.Thread(target=serve, name="crier")
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()
