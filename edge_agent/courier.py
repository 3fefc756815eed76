"""Requests to the machine API, made by a worker process that lives only while it is needed."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from edge_agent.child import Children, Ended
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from protocol import limits
from protocol.endpoints import Endpoint
from protocol.events import Json

# The worker's own bounds on an exchange, and its start on a slow device.
_PATIENCE = 4 * limits.HTTP_TIMEOUT.total_seconds()
_KILLED = 1.0
_ANSWER_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request goes and who is trusted there.

    Attributes:
        name: the name the server's certificate must carry.
        anchors: the authorities that are trusted, PEM.
        client: paths of the client's certificate and key.
    """

    host: str
    port: int
    name: str
    anchors: tuple[str, ...]
    client: tuple[str, str]


class Courier:
    """Carries requests to one address, one at a time."""

    def __init__(self, address: Address, children: Children) -> None:
        self._address = address
        self._children = children
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def ask(self, endpoint: Endpoint, message: Mapping[str, Json]) -> object:
        """Send `message` and return the answer's JSON. Raises as `edge_agent.controller_client.ask`."""
        line = self._request(endpoint, message)
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await self._exchange(line) or await self._exchange(line)
        except (OSError, TimeoutError, ValueError) as err:
            self.close()
            raise UnreachableError(f"the HTTPS worker failed: {str(err) or 'no answer in time'}") from None
        except asyncio.CancelledError:
            self.close()
            raise
        return _unpack(answer)

    def close(self) -> None:
        """End the worker."""
        if self._streams:
            self._streams[1].close()
            self._streams = None
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait(_KILLED)
        self._process = None

    async def _exchange(self, line: bytes) -> dict[str, Any] | None:
        """Return the worker's answer; None where it had just ended for want of work."""
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
            self._process = _start_worker(theirs.fileno())
            self._children.watch(self._process, _forget)
            self._streams = await asyncio.open_connection(sock=ours, limit=_ANSWER_MAX)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return self._streams

    def _request(self, endpoint: Endpoint, message: Mapping[str, Json]) -> bytes:
        there = self._address
        request = {
            "host": there.host,
            "port": there.port,
            "name": there.name,
            "anchors": there.anchors,
            "client": there.client,
            "method": endpoint.method,
            "path": endpoint.path,
            "message": message,
        }
        return json.dumps(request).encode() + b"\n"


def _start_worker(fd: int) -> subprocess.Popen[bytes]:
    # -P: the directory we happen to run in is no place to import from, least of all as root.
    command = [sys.executable, "-P", "-m", "edge_agent.https_worker"]
    return subprocess.Popen(command, stdin=fd, stdout=fd, start_new_session=True)


def _forget(how: Ended) -> None:
    """Take no notice of how the worker ended: its streams tell."""


def _unpack(answer: dict[str, Any] | None) -> object:
    match (answer or {}).get("fault"):
        case None if answer:
            return answer.get("reply")
        case "refused" if answer:
            raise RefusedError(answer["status"], answer["text"], answer["retry_after"])
        case "untrusted" if answer:
            raise UntrustedError(answer["text"])
        case _:
            raise UnreachableError((answer or {}).get("text") or "the HTTPS worker could not be started")
