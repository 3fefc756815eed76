"""The two answers every judgement gives. A refusal is a value, and its reason is private.

The reason of a `Refused` goes to the audit log and the operator's log. What the peer is told is the
door's own uniform message; nothing in here reaches a peer by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Granted(Generic[T_co]):
    """The request may go on, with `value`: what was established about it on the way."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Refused:
    """The request may not go on.

    Attributes:
        reason: why, for the audit log; never sent to a peer.
        check: the label of the numbered check that refused, for example ``"K3"``.
    """

    reason: str
    check: str = ""
