"""Whether a device may become a node, under which name and with which labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controller.policy.renew import is_crowded
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
        approve: whether an admin has to approve of each device that joins with it.
        ephemeral: after so long offline its nodes are removed; None for never.
        spent_by: the mark of the host key that took a use from it last; empty where none did.
        token_id: what names it where the suffix may be another's too; it lets nobody join.
    """

    suffix: str
    uses_left: int
    expires: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    claimable: tuple[str, ...] | None = None
    approve: bool = False
    ephemeral: timedelta | None = None
    spent_by: str = ""
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class JoinClaim:
    """What the device says of itself; `proven` tells whether it signed for the key it brings."""

    name: NodeName
    labels: Mapping[str, str]
    proven: bool


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """What the controller knows of the device by its host key.

    Attributes:
        repeats: whether this very token was spent by this very key: the answer was lost, or all but the keys.
        enrolled: whether it is a node: it holds certificates, or may have them for the asking.
        lock: what a lock on that node says; empty where there is none.
        labels: that node's labels, which are not the device's to choose any more; None where it is no node yet.
        stays: whether it remains called and labelled as it is: it is known, and no admin has made this token since, so
            that nothing the device says or repeats now is an admin's word.
        certificates: how many of its TLS certificates have not expired.
        idle: how long ago the last of them was handed out.
        waiting: how many nodes wait for approval beside it.
    """

    repeats: bool = False
    enrolled: bool = False
    lock: str = ""
    labels: Mapping[str, str] | None = None
    stays: bool = False
    certificates: int = 0
    idle: timedelta = timedelta.max
    waiting: int = 0


STRANGER = KnownDevice()


@dataclass(frozen=True, slots=True)
class JoinOrder:
    """How the node is to be enrolled; `pending` where an admin has to approve first."""

    name: NodeName
    labels: Mapping[str, str]
    pending: bool = False


def decide_join(  # noqa: PLR0911 - one return a check
    token: JoinToken | None,
    claim: JoinClaim,
    *,
    known: KnownDevice = STRANGER,
    principals: Collection[str],
    reserved: Collection[str],
    now: datetime,
) -> Granted[JoinOrder] | Refused:
    """Judge one join.

    A token that is spent is good for the key that spent it until it expires, so that a lost answer costs nothing.

    Args:
        token: what the device brings, None where it is not known.
        claim: what it says of itself.
        known: what is known of it.
        principals: every name that its certificate would be good for.
        reserved: names of the controller itself, which no node may be certified for.
        now: the time, UTC.
    """
    if token is None:
        return Refused("the token is not known", "J1")
    if token.expires is not None and now >= token.expires:
        return Refused("the token has expired", "J2")
    if token.uses_left == 0 and not known.repeats:
        return Refused("the token is spent", "J3")
    if not claim.proven:
        return Refused("the device did not prove that it holds its key", "J4")
    own = {name.lower() for name in reserved}
    taken = [name for name in principals if name.lower() in own]
    if taken:
        return Refused(f'the name "{taken[0]}" is the controller\'s own', "J5")
    labels = dict(known.labels or {}) if known.stays else decide_labels(token, claim.labels, known.labels)
    if len(labels) > limits.LABELS_MAX:
        return Refused(f"more than {limits.LABELS_MAX} labels", "J6")
    return _decide_return(token, known) or Granted(JoinOrder(claim.name, labels, token.approve and not known.enrolled))


def _decide_return(token: JoinToken, known: KnownDevice) -> Refused | None:
    """Judge what is known of the device."""
    if known.lock:
        return Refused(known.lock, "J9")
    if token.approve and known.enrolled and not known.repeats:
        return Refused("it is a node already, and this token is for devices that nobody has approved of yet", "J10")
    if token.approve and known.waiting >= limits.PENDING_NODES_MAX:
        return Refused(f"{known.waiting} nodes wait for approval already", "J11")
    if is_crowded(known.certificates, known.idle):
        return Refused(f"it holds {known.certificates} certificates that have not expired", "J12")
    return None


def decide_labels(
    token: JoinToken, claimed: Mapping[str, str], kept: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the labels a node gets: what the token fixes, and of the rest what it lets the device claim.

    A node that joins again keeps those it has (`kept`) beside what the token fixes, and claims nothing.
    """
    allowed = {key: value for key, value in claimed.items() if token.claimable is None or key in token.claimable}
    return dict(sorted(((allowed if kept is None else dict(kept)) | dict(token.labels)).items()))


def is_good(token: JoinToken, now: datetime) -> bool:
    """Tell whether a device can still join with `token`."""
    return token.uses_left != 0 and (token.expires is None or now < token.expires)


def spend(token: JoinToken, mark: str = "") -> JoinToken:
    """Return the token with one use less, taken by the host key with that mark."""
    left = token.uses_left if token.uses_left == UNLIMITED else token.uses_left - 1
    return replace(token, uses_left=left, spent_by=mark)
