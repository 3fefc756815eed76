"""What the controller said last, kept on disk as it came, signature and all."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

from edge_agent.identity import DataDirectory
from edge_agent.policy.control import read
from edge_agent.side_thread import SideThread
from protocol import limits
from protocol.decision import Refused
from protocol.endorsement import Endorsed

_log = logging.getLogger("skerry.agent")
# What the disk would not have is tried again after so long.
_AGAIN = 30.0


class KeptDocuments:
    """Signed documents, one a file. What is in them is for others to judge."""

    def __init__(self, directory: Path) -> None:
        self._directory = DataDirectory(directory)
        # The documents that hold, by file; those of them that are not on disk yet; and what is wrong with the disk.
        self._held: dict[str, Endorsed] = {}
        self._to_keep: set[str] = set()
        self._trouble: dict[str, str] = {}
        self._changed = asyncio.Event()

    def read(self, name: str) -> Endorsed | Refused | None:
        """Return what the file `name` holds; None where there is none, and a refusal where it makes no sense."""
        try:
            return read(self._directory.read(name, limits.MQTT_MESSAGE_MAX))
        except FileNotFoundError:
            return None
        except OSError as err:
            return Refused(f"it cannot be read: {err.strerror}", "Y1")
        except ValueError as err:
            return Refused(str(err), "Y1")

    def hold(self, name: str, endorsed: Endorsed, *, is_kept: bool = False) -> bool:
        """Have this document hold from now on; False where one that says the same did.

        It is written by `run`, unless the file has it (`is_kept`).
        """
        held = self._held.get(name)
        if held and held.body == endorsed.body:
            return False
        self._held[name] = endorsed
        if not is_kept:
            self._to_keep.add(name)
            self._changed.set()
        return True

    async def run(self) -> None:
        """Write what came, until cancelled."""
        thread = SideThread("documents")
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN):  # `wait_for` may miss that it is cancelled
                        await self._changed.wait()
                self._changed.clear()
                for name in sorted(self._to_keep):
                    await self._write(name, thread)
        finally:
            thread.close()

    async def _write(self, name: str, thread: SideThread) -> None:
        """Write one. A disk that will not have it is told to the log, once for each reason."""
        endorsed = self._held[name]
        trouble = ""
        try:
            await thread.submit(partial(self._directory.write, name, json.dumps(endorsed.to_dict()).encode()))
        except OSError as err:
            trouble = err.strerror or str(err)
        if trouble and trouble != self._trouble.get(name):
            _log.warning("cannot keep what the controller said: %s: %s; it is tried again", name, trouble)
        self._trouble[name] = trouble
        if not trouble and self._held[name] is endorsed:  # and not a newer one meanwhile
            self._to_keep.discard(name)
