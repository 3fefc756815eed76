"""The life of the link to the controller: states, events and orders, as one table.

The driver (`edge_agent.link`) feeds in what happened and does what it is ordered; it decides nothing.
Randomness and time are arguments: `chance` is a number from 0 up to 1, `now` counts seconds on any clock
that only goes forward.

Delays follow "full jitter": a number drawn evenly from nothing up to a ceiling that doubles with every
failure, from `limits.RECONNECT_FIRST` to `limits.RECONNECT_MAX`. A thousand devices that lost their controller
in the same second thus come back spread out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import assert_never

from protocol import limits

_FIRST = limits.RECONNECT_FIRST.total_seconds()
_MOST = limits.RECONNECT_MAX.total_seconds()
_STABLE = limits.RECONNECT_STABLE.total_seconds()
# What a server may ask for at most: a slip of its pen must not silence a device for a week.
RETRY_AFTER_MAX = 3600.0
_DOUBLINGS_MAX = 16
_RETRY_AFTER = re.compile(r"retry-after:\s*(\d{1,9})(?!\d)", re.ASCII | re.IGNORECASE)


class State(Enum):
    """Where the link is."""

    IDLE = "idle"
    DIALLING = "dialling"
    UP = "up"
    WAITING = "waiting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Started:
    """The agent has begun."""


@dataclass(frozen=True, slots=True)
class WaitOver:
    """The wait that was ordered is over.

    Attributes:
        anew: whether it ended early, since things may be right now: earlier failures count no more.
    """

    anew: bool = False


@dataclass(frozen=True, slots=True)
class DialSucceeded:
    """The tunnel stands."""


@dataclass(frozen=True, slots=True)
class DialFailed:
    """The tunnel did not come about.

    Attributes:
        retry_after: seconds the server asked to stay away; None where it said nothing.
        refused: whether the server was reached and would not have this node: no use in hurrying.
    """

    retry_after: float | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The tunnel stood and is gone. `retry_after` as in `DialFailed`."""

    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The agent is to end."""


Event = Started | WaitOver | DialSucceeded | DialFailed | LinkLost | StopAsked


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds, then report `WaitOver`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close what is open and report nothing more."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Keep the tunnel until it is lost."""


Order = Dial | Wait | HangUp | Serve


@dataclass(frozen=True, slots=True)
class Link:
    """The link as it stands.

    Attributes:
        failures: how often in a row it did not come about or did not last.
        up_since: `now` when the tunnel last came up.
    """

    state: State = State.IDLE
    failures: int = 0
    up_since: float = 0.0


class LocalProtocolError(Exception):
    """An event came that cannot come in this state: a mistake in the driver."""


TRANSITIONS: Mapping[State, Mapping[type[Event], State]] = {
    State.IDLE: {Started: State.DIALLING, StopAsked: State.CLOSED},
    State.DIALLING: {DialSucceeded: State.UP, DialFailed: State.WAITING, StopAsked: State.CLOSED},
    State.UP: {LinkLost: State.WAITING, StopAsked: State.CLOSED},
    State.WAITING: {WaitOver: State.DIALLING, StopAsked: State.CLOSED},
    State.CLOSED: {StopAsked: State.CLOSED},
}


def step(link: Link, event: Event, *, now: float, chance: float) -> tuple[Link, Order]:
    """Return the link after `event`, and what is to be done.

    Raises:
        LocalProtocolError: `event` cannot come in this state.
    """
    state = TRANSITIONS[link.state].get(type(event))
    if state is None:
        raise LocalProtocolError(f"{type(event).__name__} cannot come while the link is {link.state.value}")
    after = replace(link, state=state)
    match event:
        case Started():
            return after, Dial()
        case WaitOver(anew):
            return replace(after, failures=0) if anew else after, Dial()
        case DialSucceeded():
            return replace(after, up_since=now), Serve()
        case DialFailed(retry_after, refused):
            return _wait(after, retry_after, chance, refused=refused)
        case LinkLost(retry_after):
            stable = now - link.up_since >= _STABLE
            return _wait(replace(after, failures=0) if stable else after, retry_after, chance)
        case StopAsked():
            return after, HangUp()
        case _:  # pragma: no cover - the type checker proves that nothing is left
            assert_never(event)


def _wait(link: Link, retry_after: float | None, chance: float, *, refused: bool = False) -> tuple[Link, Wait]:
    seconds = decide_wait(link.failures, retry_after, chance, refused=refused)
    return replace(link, failures=link.failures + 1), Wait(seconds)


def decide_wait(failures: int, retry_after: float | None, chance: float, *, refused: bool = False) -> float:
    """Return how many seconds to wait before the next try, whatever is tried.

    Args:
        failures: how many tries had failed before the last one.
        retry_after: seconds the server asked to stay away; None where it said nothing.
        chance: from 0 up to 1.
        refused: whether the server would not have this node: half to the whole of the longest wait.
    """
    jitter = chance * ceiling(failures)
    if retry_after is not None:
        return min(max(retry_after, 0.0), RETRY_AFTER_MAX) + jitter
    return _MOST * (1 + chance) / 2 if refused else jitter


def ceiling(failures: int) -> float:
    """Return the longest wait in seconds after `failures` earlier failures in a row."""
    return min(_MOST, _FIRST * 2.0 ** min(failures, _DOUBLINGS_MAX))


def parse_retry_after(text: str) -> float | None:
    """Return the seconds that a server asks for in a disconnect message or banner: ``retry-after: N``.

    None where `text` asks for nothing.
    """
    found = _RETRY_AFTER.search(text)
    return float(found[1]) if found else None
