"""The phases in which an authority's key is replaced, and which may follow which (Teleport's, by its names).

===============  =======================================  ================  =================================
phase            the new key                              the old key       what servers present
===============  =======================================  ================  =================================
standby          there is none                            signs             what it signed
init             is made, and told to everyone            signs             what the old one signed
update_clients   signs what clients show, and documents   is trusted still  what the old one signed
update_servers   signs all                                is trusted still  what the new one signed
standby          is the only one                          is gone
rollback         is trusted still                         signs all         what the old one signed; then standby
===============  =======================================  ================  =================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from protocol.decision import Granted, Refused
from protocol.messages import NodeStatus, TunnelState

Phase = Literal["standby", "init", "update_clients", "update_servers", "rollback"]
PHASES: tuple[Phase, ...] = get_args(Phase)

_FOLLOWING: Mapping[Phase, tuple[Phase, ...]] = {
    "standby": ("init",),
    "init": ("update_clients", "rollback"),
    "update_clients": ("update_servers", "rollback"),
    "update_servers": ("standby", "rollback"),
    "rollback": ("standby",),
}


def following(phase: Phase) -> tuple[Phase, ...]:
    """Return the phases that may come after `phase`, the usual one first."""
    return _FOLLOWING[phase]


def decide_phase(current: Phase, wanted: Phase) -> Granted[Phase] | Refused:
    """Judge whether an authority in the phase `current` may enter the phase `wanted`."""
    if wanted in _FOLLOWING[current]:
        return Granted(wanted)
    ways = " or ".join(_FOLLOWING[current])
    if wanted == current:
        return Refused(f"it is in the phase {current} already; what may come next is {ways}")
    return Refused(f"it is in the phase {current}, which {wanted} cannot follow; what may come next is {ways}")


def is_awake(status: NodeStatus, tunnel: TunnelState) -> bool:
    """Tell whether a node is there to renew now. One that sleeps comes home by itself, however late."""
    return status in {"online", "tunnel down"} or (status == "stale" and tunnel == "up")


def is_old_serving(phase: Phase) -> bool:
    """Tell whether servers still present what the old key signed, although the new one signs."""
    return phase == "update_clients"


def is_renewal_due(phase: Phase, *, rotated: bool) -> bool:
    """Tell whether certificates that another key than today's has signed are to be renewed now.

    Args:
        phase: the authority's.
        rotated: whether it ever had another key.
    """
    return phase in {"update_servers", "rollback"} or (phase == "standby" and rotated)
