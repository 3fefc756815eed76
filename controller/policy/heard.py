"""Has a node heard of a lock? What only the node can judge holds nowhere before it has."""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.policy.liveness import Standing

# A node that is online has heard, and its next heartbeat tells so: two heartbeats' time, or a minute.
_GRACE = timedelta(seconds=60)


def has_heard(standing: Standing, created: datetime, now: datetime) -> bool:
    """Tell whether a node is known to have heard of a lock: where nobody can say, it has not.

    Args:
        standing: what MQTT says of the node.
        created: when the lock was put on; no policy document that tells of it has a version below that instant in
            seconds since 1970 (`controller.policy.document.next_version`).
        now: the time, UTC.
    """
    if standing.beat is not None and standing.beat.policy >= int(created.timestamp()):
        return True
    interval = timedelta(seconds=standing.state.interval) if standing.state is not None else timedelta(0)
    return standing.presence == "online" and now - created < max(_GRACE, 2 * interval)
