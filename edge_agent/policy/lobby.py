"""Who may wait at the node's own door until they have proved who they are: so many in all, and from each network.

As at the proxy's doors: a newcomer to a full lobby takes the place of whoever has waited longest, among the guests of
the network that holds most places. A network that has used up its share gets a place back only from a guest of its
own who dawdles.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from protocol import limits
from protocol.decision import Granted, Refused

# An honest peer has authenticated by then, also over a slow radio link.
PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who waits.

    Attributes:
        number: by which the caller knows them.
        network: what counts as one asker, see `network_of`.
        since: when they came, in seconds.
    """

    number: int
    network: str
    since: float


def decide_entry(
    waiting: Sequence[Guest],
    network: str,
    now: float,
    *,
    limit: int = limits.UNAUTHENTICATED_CONNECTIONS,
    share: int = limits.UNAUTHENTICATED_PER_NETWORK,
) -> Granted[int | None] | Refused:
    """Decide on a newcomer from `network`. Granted holds the number of the guest who has to go, or None."""
    own = [guest for guest in waiting if guest.network == network]
    if len(own) >= share:
        first = _longest(own)
        if now - first.since < PATIENCE:
            return Refused("too many unauthenticated connections from there", "Q1")
        return Granted(first.number)
    if len(waiting) < limit:
        return Granted(None)
    crowds = Counter(guest.network for guest in waiting)
    most = max(crowds.values())
    return Granted(_longest([guest for guest in waiting if crowds[guest.network] == most]).number)


def _longest(guests: Sequence[Guest]) -> Guest:
    return min(guests, key=lambda guest: guest.since)


def network_of(address: str) -> str:
    """Return what counts as one asker: an IPv4 address, or the 64 bits that name an IPv6 network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
