"""A node that has joined and waits for an administrator's approval: it asks for its first certificates now and then.

That is a renewal like any other, from generation 0.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Callable
from typing import Any

from edge_agent.identity import DataDirectory, Identity
from edge_agent.interruption import unless
from edge_agent.papers import Papers
from edge_agent.policy.renewal import decide_retry
from edge_agent.renewal import keep_attempt, make_order, read_granted
from edge_agent.renewal_worker import Order, carry_out
from edge_agent.side_thread import SideThread
from protocol import limits

_log = logging.getLogger("skerry.agent")
_PENDING_RETRY = limits.PENDING_RETRY.total_seconds()


async def wait_for_approval(
    controller: tuple[str, int],
    identity: Identity,
    directory: DataDirectory,
    tell: Callable[[str], None] = lambda _: None,
) -> str | None:
    """Wait until the node is approved and its certificates are in `directory`.

    Args:
        controller: host and port of the controller's web door.
        identity: of the node that waits.
        directory: where it is kept.
        tell: called with what it waits for, or what keeps it from asking.

    Returns:
        Nothing where it is approved, why it never will be, or None when told to stop.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    node_id = identity.granted.node_id
    failures, has_told = 0, False
    while not stopped.is_set():
        answer = await unless(stopped, _ask(controller, identity, directory), None)
        if answer is None:
            break
        if (problem := _settle(answer, identity, directory)) is not None:
            return problem
        tell(_describe(answer, node_id))
        if not has_told:  # not before it is known that there is something to wait for
            _log.info("waiting for an administrator's approval: tctl nodes approve %s", node_id)
            has_told = True
        failures = 0 if answer.get("fault") == "pending" else failures + 1
        await unless(stopped, asyncio.Event().wait(), _wait(answer, failures))
    return None


async def _ask(controller: tuple[str, int], identity: Identity, directory: DataDirectory) -> dict[str, Any]:
    try:
        attempt = keep_attempt(directory, identity.granted.generation)
    except OSError as err:
        return {"fault": "unreachable", "text": f"{directory.path}: {err.strerror}", "retry_after": None}
    order = Order(**make_order(Papers(identity), controller, attempt))
    thread = SideThread("approval")  # who is told to stop does not wait for it
    try:
        return await thread.submit(lambda: carry_out(order))
    finally:
        thread.close()


def _settle(answer: dict[str, Any], identity: Identity, directory: DataDirectory) -> str | None:
    """Take an answer. Returns nothing where it is done, what ends the waiting, or None to go on."""
    match answer.get("fault"):
        case None:
            try:
                granted = read_granted(answer, identity)
                directory.renew(identity, granted)
            except OSError as err:  # it is asked for again, with the same mark, and had again
                _log.warning("approved, but %s cannot be written: %s; it is tried again", directory.path, err.strerror)
                return None
            _log.info("approved: this node is %s (%s)", granted.name, granted.node_id)
            return ""
        case "refused":
            return (
                f"the controller refuses this node ({answer['text']}): an administrator has rejected, removed or "
                "locked it. To ask again, with a new token: edge-agent start --rejoin --token TOKEN"
            )
        case "pending":
            _log.debug("not approved yet")
        case _:
            _log.warning("cannot ask whether this node is approved: %s", answer["text"])
    return None


def _describe(answer: dict[str, Any], node_id: str) -> str:
    if answer.get("fault") == "pending":
        return f"waiting for an administrator's approval: tctl nodes approve {node_id}"
    return f"cannot ask whether this node is approved: {answer.get('text', 'the disk would not have its certificates')}"


def _wait(answer: dict[str, Any], failures: int) -> float:
    chance = random.random()  # noqa: S311 - spreads devices, hides nothing
    fault, asked = answer.get("fault"), answer.get("retry_after")
    if fault == "pending":
        return (_PENDING_RETRY if asked is None else min(asked, limits.RENEW_RETRY_MAX.total_seconds())) + chance
    # A no that nobody vouches for ends nothing, but may be true: it is asked ever more seldom.
    return decide_retry(failures - 1, asked, chance, is_urgent=fault != "denied")
