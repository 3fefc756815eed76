"""What a node may report to the audit log, under which numbers and with which time.

Checks of a batch: R0 its numbers go on from those that are held.
Checks of an event: R1 its kind is one that nodes report; R2 it speaks of the node that sent it;
R3 its fields are that kind's; R4 its time is one; R5 the session it speaks of, if any, is one of that node's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from protocol import events, limits
from protocol.access import AccessTarget
from protocol.decision import Granted, Refused
from protocol.events import BadEventError, EventKind
from protocol.instants import parse_instant
from protocol.messages import NodeEvent
from protocol.names import BadNameError, NodeId, parse_session_id
from protocol.session_ids import is_minted_by


def decide_fresh(held: int, batch: Sequence[NodeEvent]) -> Granted[tuple[NodeEvent, ...]] | Refused:
    """Return the events of `batch` that are new above number `held`, in order; of two with one number the first.

    Numbers far above `held` are refused: taken, they would make every true event after them look old.
    """
    numbered = {event.sequence: event for event in reversed(batch) if event.sequence > held}
    last = max(numbered, default=held)
    if last - held > limits.EVENT_SEQUENCE_JUMP_MAX:
        most = limits.EVENT_SEQUENCE_JUMP_MAX
        return Refused(f"event number {last} is more than {most} above {held}, the last that is held", "R0")
    return Granted(tuple(numbered[sequence] for sequence in sorted(numbered)))


def judge_event(node: AccessTarget, event: NodeEvent) -> Granted[EventKind] | Refused:
    """Judge one event reported by `node`; what is granted is its kind."""
    kind = events.BY_CODE.get(event.code)
    if kind is None or not kind.from_node:
        return Refused(f"a node may not report {event.code!r}", "R1")
    spoken = {"server_id": node.node_id, "server_hostname": node.name}
    wrong = [name for name, value in spoken.items() if event.fields.get(name, value) != value]
    if wrong or "server_id" not in event.fields:
        return Refused("it speaks of another node", "R2")
    try:
        events.check_event(kind, event.fields)
    except BadEventError as err:
        return Refused(str(err), "R3")
    try:
        parse_instant(event.time)
    except ValueError as err:
        return Refused(str(err), "R4")
    return _judge_session(node.node_id, event) or Granted(kind)


def _judge_session(node: NodeId, event: NodeEvent) -> Refused | None:
    """Judge of which session an event tells: what is told of a session decides who may see it. None is empty."""
    said = event.fields.get("sid", "")
    if said == "":
        return None
    try:
        session = parse_session_id(said)
    except BadNameError as err:
        return Refused(str(err), "R5")
    is_own = session == said and is_minted_by(session, node)
    return None if is_own else Refused(f"session {session} is not one of its own", "R5")


def believed_time(said: datetime, *, joined: datetime, now: datetime) -> datetime:
    """Return when an event happened: what its node said where that can be, `now` otherwise.

    Args:
        said: the node's own word.
        joined: when it was enrolled, by the controller's clock; nothing happened on it long before.
        now: the controller's time.
    """
    earliest, latest = joined - limits.EVENT_TIME_BEFORE_JOIN, now + limits.EVENT_TIME_AHEAD
    return said if earliest <= said <= latest else now
