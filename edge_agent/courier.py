"""Requests to the machine API, made by a worker process that lives only while it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.child import Children
from edge_agent.clock import Span
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from edge_agent.worker import Worker
from protocol import limits
from protocol.endpoints import Endpoint
from protocol.events import Json
from protocol.instants import to_milliseconds

# The worker's own bounds on an exchange, and its start on a slow device.
_PATIENCE = 4 * limits.HTTP_TIMEOUT.total_seconds()
# The policy document travels in an answer, as text within text.
_ANSWER_MAX = 4 * limits.POLICY_MAX


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

    def __init__(self, address: Callable[[], Address], children: Children, *, span: Span) -> None:
        """Take note of what says where to go at the moment, and between which instants the time surely is."""
        self._address = address
        self._span = span
        # Called when the certificates are at fault: theirs, or ours.
        self.distrusted: Callable[[], None] = lambda: None
        self._worker = Worker("edge_agent.https_worker", children, answer_max=_ANSWER_MAX)
        self._turn = asyncio.Lock()

    async def ask(self, endpoint: Endpoint, message: Mapping[str, Json] | None = None) -> object:
        """Send `message` and return the answer's JSON. Raises as `edge_agent.controller_client.ask`."""
        async with self._turn:
            answer = await self._worker.carry_out(self._request(endpoint, message), _PATIENCE)
        if answer.get("fault") == "untrusted":
            self.distrusted()
        return _unpack(answer)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def _request(self, endpoint: Endpoint, message: Mapping[str, Json] | None) -> dict[str, Any]:
        there = self._address()
        return {
            "host": there.host,
            "port": there.port,
            "name": there.name,
            "anchors": there.anchors,
            "client": there.client,
            "method": endpoint.method,
            "path": endpoint.path,
            "message": message,
            "span": [to_milliseconds(instant) for instant in self._span()],
        }


def _unpack(answer: dict[str, Any]) -> object:
    match answer.get("fault"):
        case None:
            return answer.get("reply")
        case "refused":
            raise RefusedError(answer["status"], answer["text"], answer["retry_after"])
        case "untrusted":
            raise UntrustedError(answer["text"])
        case _:
            raise UnreachableError(answer["text"])
