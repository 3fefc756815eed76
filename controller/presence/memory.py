"""What the controller keeps of each node on the broker, in retained messages that nobody else may write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from controller.policy.damping import Told
from controller.policy.liveness import Standing
from protocol import limits
from protocol.events import Json
from protocol.fields import Fields, MessageError, decode, text, whole
from protocol.instants import from_milliseconds, to_milliseconds

_EPOCH = from_milliseconds(0)
# Where it is kept until when the controller has been watching: no node has such a name.
WATCH = "seen/watch"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept: what the node was, and what the audit log knows of it."""

    state: Literal["online", "offline"]
    since: datetime
    last_seen: datetime
    reason: str = ""
    told: Told = ""

    def encode(self) -> bytes:
        """Return the payload."""
        value: dict[str, Json] = {
            "state": self.state,
            "since": to_milliseconds(self.since),
            "last_seen": to_milliseconds(self.last_seen),
            "reason": self.reason,
            "told": self.told,
        }
        return json.dumps(value, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Memory:
        """Read a payload. Raises `MessageError`."""
        if len(payload) > limits.NODE_STATE_MAX:
            raise MessageError("too long")
        fields = Fields(decode(payload))
        return cls(
            state="online" if fields.take("state", text) == "online" else "offline",
            since=fields.take("since", _instant),
            last_seen=fields.take("last_seen", _instant),
            reason=fields.get("reason", text, "")[:100],
            told=fields.get("told", told_as, ""),
        )


def _instant(value: object) -> datetime:
    try:
        return from_milliseconds(whole(value))
    except OverflowError:
        raise MessageError("beyond the calendar's end") from None


def told_as(value: object) -> Told:
    """Return the word for the audit log; empty where `value` is none."""
    if value == "online":
        return "online"
    return "offline" if value == "offline" else ""


def word_for(standing: Standing) -> Literal["online", "offline"]:
    """Return what a node is remembered as: nobody remembers that it was stale."""
    return "offline" if standing.presence == "offline" else "online"


def remember(standing: Standing, told: Told) -> Memory:
    """Return what is to be kept of a node."""
    since = standing.since or standing.last_seen or _EPOCH
    return Memory(word_for(standing), since, standing.last_seen or since, standing.reason, told)


def encode_watch(now: datetime) -> bytes:
    """Return the payload that says that the controller watches at `now`."""
    return json.dumps({"at": to_milliseconds(now)}, separators=(",", ":")).encode()


def decode_watch(payload: bytes) -> datetime:
    """Read that payload. Raises `MessageError`."""
    if len(payload) > limits.NODE_STATE_MAX:
        raise MessageError("too long")
    return Fields(decode(payload)).take("at", _instant)
