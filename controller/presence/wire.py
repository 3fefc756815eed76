"""How the presence process tells the controller's other processes what it knows: one JSON object a line.

``{"snapshot": {…}, "broker": {…}}`` comes first, ``{"changes": {…}, "broker": {…}}`` afterwards. Standings are arrays:
there are ten thousand of them in a snapshot. Both ends are this program, of one version: what is read is not judged
field by field, only whether it is such a line at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from controller.policy.liveness import NO_SESSIONS, BrokerHealth, Standing
from controller.presence.history import NodeHistory
from protocol.instants import from_milliseconds, to_milliseconds
from protocol.live_sessions import LiveSessions
from protocol.names import NodeId, parse_node_id
from protocol.presences import Beat, NodeState

SOCKET = "presence.sock"
# One line: ten thousand nodes take some 3 MB.
LINE_MAX = 64 * 1024 * 1024
# What a reader that wants the present alone says first; one that goes on listening says nothing.
ONCE = b'{"once": true}\n'
# What one says that wants to know of the broker alone: the answer is a line of changes without any.
HEALTH = b'{"health": true}\n'

# What one says that wants one node's last day is this and the rest of `history_question`.
_HISTORY = b'{"history": "'
_HISTORY_END = b'"}\n'

# `dataclasses.astuple` copies deeply, at twenty times the cost.
_of_state = attrgetter(*(field.name for field in fields(NodeState)))
_of_beat = attrgetter(*(field.name for field in fields(Beat)))

Word = Literal["snapshot", "changes"]


class WireError(ValueError):
    """A line is not what the presence process writes."""


@dataclass(frozen=True, slots=True)
class News:
    """One line: all standings, or those that changed; None for a node that is no more."""

    word: Word
    standings: Mapping[NodeId, Standing | None]
    broker: BrokerHealth

    def encode(self) -> bytes:
        """Return the line, its end included."""
        broker = [self.broker.is_up, _to(self.broker.since), self.broker.reason]
        standings = {key: None if value is None else _row(value) for key, value in self.standings.items()}
        return json.dumps({self.word: standings, "broker": broker}, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> News:
        """Read a line. Raises `WireError`."""
        try:
            value = json.loads(line)
            word: Word = "snapshot" if "snapshot" in value else "changes"
            rows: dict[str, Any] = value[word]
            standings = {NodeId(key): None if row is None else _standing(row) for key, row in rows.items()}
            is_up, since, reason = value["broker"]
            return cls(word, standings, BrokerHealth(is_up, _from(since), reason))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as err:
            raise WireError("not a line of the presence process") from err


def history_question(node_id: NodeId) -> bytes:
    """Return what one says that wants to know a node's last day."""
    return _HISTORY + node_id.encode() + _HISTORY_END


def parse_history_question(request: bytes) -> NodeId | None:
    """Return which node is asked about; None where the request is another. Raises `WireError` where it is no node."""
    if not (request.startswith(_HISTORY) and request.endswith(_HISTORY_END)):
        return None
    try:
        return parse_node_id(request[len(_HISTORY) : -len(_HISTORY_END)].decode())
    except ValueError as err:
        raise WireError("no node is asked about") from err


def history_answer(history: NodeHistory | None) -> bytes:
    """Return the line that answers."""
    value = None if history is None else history.to_dict()
    return json.dumps({"history": value}, separators=(",", ":")).encode() + b"\n"


def read_history(line: bytes) -> NodeHistory | None:
    """Read that line. Raises `WireError`."""
    try:
        value = json.loads(line)["history"]
        return None if value is None else NodeHistory.from_dict(value)
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise WireError("not an answer of the presence process") from err


def _row(standing: Standing) -> list[Any]:
    state = None if standing.state is None else _of_state(standing.state)
    beat = None if standing.beat is None else _of_beat(standing.beat)
    row = [standing.presence, _to(standing.since), _to(standing.last_seen), standing.reason, state, beat]
    return row if standing.live is NO_SESSIONS else [*row, standing.live.encode().decode()]


def _standing(row: list[Any]) -> Standing:
    presence, since, last_seen, reason, state, beat, *live = row
    return Standing(
        presence,
        _from(since),
        _from(last_seen),
        reason,
        None if state is None else NodeState(*state),
        None if beat is None else Beat(*beat),
        _live(live[0]) if live else NO_SESSIONS,
    )


@lru_cache(maxsize=500)  # a node's standing changes with every heartbeat, its sessions do not
def _live(text: str) -> LiveSessions:
    return LiveSessions.decode(text.encode())


def _to(instant: datetime | None) -> int | None:
    return None if instant is None else to_milliseconds(instant)


def _from(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_milliseconds(milliseconds)
