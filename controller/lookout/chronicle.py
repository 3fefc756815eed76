"""The days of all nodes on the disk: a file for each step, so that a restart of the presence process forgets nothing.

A step is written when it is over, and the open one when the process stops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from controller.presence.history import STEPS, History, HistoryError, ids
from controller.store.durable import make_private_directory, open_private, write_all
from protocol.names import NodeId

LOG = logging.getLogger("PRESENCE")
DIRECTORY = "presence"
_FILE = re.compile(r"history-(\d{1,12})\.(bin|tmp)", re.ASCII)
# Ten thousand nodes take 320 KB.
_FILE_MAX = 16 * 1024 * 1024
_TICK_SECONDS = 1.0
_FINISH_SECONDS = 3.0


class Chronicle:
    """Reads at the start what an earlier run knew, and writes each step.

    Args:
        history: what is kept.
        data_dir: the controller's.
        clock: the time, UTC.
        nodes: which nodes there are.
    """

    def __init__(
        self, history: History, data_dir: Path, clock: Callable[[], datetime], nodes: Callable[[], Collection[NodeId]]
    ) -> None:
        self._history = history
        self._directory = data_dir / DIRECTORY
        self._clock = clock
        self._nodes = nodes
        self._trouble = ""

    async def run(self) -> None:
        """Read, and then write until cancelled."""
        await self._load()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            closed = self._history.advance(self._clock())
            if closed is not None:
                await self._save(closed)

    async def finish(self) -> None:
        """Write the open step; wait for no disk that does not answer."""
        if self._history.open is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FINISH_SECONDS):
                    await self._save(self._history.open)

    async def _load(self) -> None:
        """Take up the files, one after the other: meanwhile nodes are heard. What is damaged is passed over."""
        known = ids(self._nodes())
        damaged: list[str] = []
        for path in await asyncio.to_thread(self._files):
            if path.suffix != ".bin":
                continue  # a crash left it
            try:
                self._history.restore(await asyncio.to_thread(_read, path), known, self._clock())
            except HistoryError as err:
                damaged.append(f"{path.name}: {err}")
            except OSError as err:
                damaged.append(f"{path.name}: {err.strerror}")
        if damaged:
            LOG.warning("what is known of the last day lacks %d of its files; the first: %s", len(damaged), damaged[0])

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self._directory.iterdir() if _FILE.fullmatch(path.name))
        except OSError:
            return []  # nothing was written yet

    async def _save(self, step: int) -> None:
        content = self._history.encode(step)
        try:
            await asyncio.to_thread(self._write, step, content)
            self._trouble = ""
        except OSError as err:
            trouble = str(err.strerror or err)
            if trouble != self._trouble:
                LOG.error("heartbeats of the last minutes will not outlive a restart: %s", trouble)  # noqa: TRY400 - one line
            self._trouble = trouble

    def _write(self, step: int, content: bytes) -> None:
        make_private_directory(self._directory)
        unnamed = self._directory / f"history-{step}.tmp"
        fd = open_private(unnamed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(fd, content)
        finally:
            os.close(fd)
        unnamed.replace(unnamed.with_suffix(".bin"))
        self._prune(step)

    def _prune(self, step: int) -> None:
        """Remove what nobody will read any more: what is older than a day, and what a clock that was wrong left."""
        for path in self._files():
            found = _FILE.fullmatch(path.name)
            if found and not step - STEPS < int(found[1]) <= step + STEPS:
                path.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_FILE_MAX + 1)
    if len(content) > _FILE_MAX:
        raise HistoryError("it is too large")
    return content
