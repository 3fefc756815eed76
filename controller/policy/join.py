"""Whether a device may become a node, under which name and with which labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import NodeName

UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a join token allows.

    Attributes:
        suffix: its last four characters, all that is shown of it.
        uses_left: how many joins it is still good for; `UNLIMITED` for a static token.
        expires: first instant at which it is good for none; None for never.
        labels: labels every node that joins with it gets, whatever the device says.
        claimable: label names the device may set itself; None for any that `labels` does not fix.
    """

    suffix: str
    uses_left: int
    expires: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    claimable: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class JoinClaim:
    """What the device says of itself; `proven` tells whether it signed for the key it brings."""

    name: NodeName
    labels: Mapping[str, str]
    proven: bool


@dataclass(frozen=True, slots=True)
class JoinOrder:
    """How the node is to be enrolled."""

    name: NodeName
    labels: Mapping[str, str]


def decide_join(  # noqa: PLR0911 - one return a check
    token: JoinToken | None,
    claim: JoinClaim,
    *,
    principals: Collection[str],
    reserved: Collection[str],
    now: datetime,
) -> Granted[JoinOrder] | Refused:
    """Judge one join.

    Args:
        token: what the device brings, None where it is not known.
        claim: what it says of itself.
        principals: every name that its certificate would be good for.
        reserved: names of the controller itself, which no node may be certified for.
        now: the time, UTC.
    """
    if token is None:
        return Refused("the token is not known", "J1")
    if token.expires is not None and now >= token.expires:
        return Refused("the token has expired", "J2")
    if token.uses_left == 0:
        return Refused("the token is spent", "J3")
    if not claim.proven:
        return Refused("the device did not prove that it holds its key", "J4")
    own = {name.lower() for name in reserved}
    taken = [name for name in principals if name.lower() in own]
    if taken:
        return Refused(f'the name "{taken[0]}" is the controller\'s own', "J5")
    labels = decide_labels(token, claim.labels)
    if len(labels) > limits.LABELS_MAX:
        return Refused(f"more than {limits.LABELS_MAX} labels", "J6")
    return Granted(JoinOrder(claim.name, labels))


def decide_labels(token: JoinToken, claimed: Mapping[str, str]) -> dict[str, str]:
    """Return the labels a node gets: what the token fixes, and of the rest what it lets the device claim."""
    allowed = {key: value for key, value in claimed.items() if token.claimable is None or key in token.claimable}
    return dict(sorted((allowed | dict(token.labels)).items()))


def is_good(token: JoinToken, now: datetime) -> bool:
    """Tell whether a device can still join with `token`."""
    return token.uses_left != 0 and (token.expires is None or now < token.expires)


def spend(token: JoinToken) -> JoinToken:
    """Return the token with one use less."""
    left = token.uses_left if token.uses_left == UNLIMITED else token.uses_left - 1
    return JoinToken(token.suffix, left, token.expires, token.labels, token.claimable)
