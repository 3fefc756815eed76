"""Whether an ephemeral node has been away for too long."""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.policy.liveness import Standing, TunnelFact


def is_gone(
    patience: timedelta,
    *,
    certified: datetime,
    standing: Standing,
    tunnel: TunnelFact,
    now: datetime,
    clock_set: datetime | None = None,
) -> bool:
    """Tell whether a node is to be removed.

    Both facts have to say that it is not there: while MQTT cannot be asked, or says anything else than that the node is
    offline or was never heard of, it stays.

    Args:
        patience: how long it may be offline.
        certified: when it last got certificates: until then at least it was there.
        standing: what MQTT says of it.
        tunnel: what the proxy says.
        now: the time, UTC.
        clock_set: when the controller's clock was last set, as it shows that now; None for never. What lies before is
            measured by another clock, so that nothing counts that began before.
    """
    if tunnel.state == "up" or standing.presence not in {"offline", "unknown"}:
        return False
    signs = (certified, tunnel.since, standing.since, standing.last_seen, clock_set)
    return now - max(sign for sign in signs if sign is not None) > patience
