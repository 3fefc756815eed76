"""A process of ours that carries out orders, one at a time, and lives only while there are any.

An order is one line of JSON on its standard input, what came of it one line on its standard output.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from edge_agent.child import Children, Ended
from edge_agent.fault import UnreachableError

_ANSWER_MAX = 256 * 1024


class Worker:
    """Starts the process when there is an order, and again when it has ended for want of orders."""

    def __init__(self, module: str, children: Children, *, answer_max: int = _ANSWER_MAX) -> None:
        """Take note of `module`, which is run with ``python -m``, and of `children`, who wait for its end.

        No answer has more than `answer_max` bytes.
        """
        self._module = module
        self._answer_max = answer_max
        self._children = children
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def carry_out(self, order: Mapping[str, Any], patience: float) -> dict[str, Any]:
        """Return what came of `order`, which does no harm where it is carried out twice.

        Raises:
            UnreachableError: the process failed, or did not answer within `patience` seconds.
        """
        line = json.dumps(order).encode() + b"\n"
        try:
            async with asyncio.timeout(patience):
                answer = await self._exchange(line) or await self._exchange(line)
        except (OSError, TimeoutError, ValueError) as err:
            self.close()
            raise UnreachableError(f"{self._module} failed: {str(err) or 'no answer in time'}") from None
        except asyncio.CancelledError:
            self.close()
            raise
        if answer is None:
            raise UnreachableError(f"{self._module} could not be started")
        return answer

    def close(self) -> None:
        """End the process."""
        if self._streams:
            self._streams[1].close()
            self._streams = None
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()  # and whoever waits for children sees it end
        self._process = None

    async def _exchange(self, line: bytes) -> dict[str, Any] | None:
        """Return the process's answer; None where it had just ended."""
        reader, writer = self._streams or await self._start()
        with suppress(ConnectionError):
            writer.write(line)
            await writer.drain()
            if answer := await reader.readline():
                found: dict[str, Any] = json.loads(answer)
                return found
        self.close()
        return None

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        try:
            self._process = self._spawn(theirs.fileno())
            self._children.watch(self._process, _forget)
            self._streams = await asyncio.open_connection(sock=ours, limit=self._answer_max)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return self._streams

    def _spawn(self, fd: int) -> subprocess.Popen[bytes]:
        # -P: the directory we happen to run in is no place to import from, least of all as root.
        command = [sys.executable, "-P", "-m", self._module]
        return subprocess.Popen(command, stdin=fd, stdout=fd, start_new_session=True)


def _forget(how: Ended) -> None:
    """Take no notice of how the process ended: its streams tell."""
