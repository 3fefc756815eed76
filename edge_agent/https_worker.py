"""A process that speaks HTTPS for the agent, and ends when it has been idle for a while.

TLS and HTTP take some 8 MiB that an agent at rest has no use for; so they live here, for as long as there is
something to send. Standard input carries one request a line, standard output one answer a line, both JSON.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent import errand
from edge_agent.controller_client import Door, anchored_trust, ask_and_wait
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from protocol.endpoints import Endpoint
from protocol.instants import from_milliseconds

IDLE = 20.0


def main() -> None:
    """Answer requests until standard input ends or nothing has come for `IDLE` seconds."""
    with suppress(ConnectionError):  # the agent is gone
        for order in errand.orders(IDLE):
            errand.reply(answer(order))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one request; a fault is part of the answer."""
    try:
        earliest, latest = request["span"]
        span = (from_milliseconds(earliest), from_milliseconds(latest))
        context = anchored_trust(request["anchors"], tuple(Path(path) for path in request["client"]))  # type: ignore[arg-type]  # a pair
        door = Door(request["host"], request["port"], context, request["name"], span)
        endpoint = Endpoint(request["method"], request["path"])
        return {"reply": ask_and_wait(door, endpoint, request["message"])}
    except RefusedError as err:
        return {"fault": "refused", "text": str(err), "status": err.status, "retry_after": err.retry_after}
    except UntrustedError as err:
        return {"fault": "untrusted", "text": str(err)}
    except (UnreachableError, ValueError, OverflowError) as err:
        return {"fault": "unreachable", "text": str(err)}


if __name__ == "__main__":
    main()
