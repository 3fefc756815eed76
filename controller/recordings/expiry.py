"""Recordings that are to go: judged by `controller.policy.retention`, told to the audit log, removed."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from controller.audit import AuditLog
from controller.policy.retention import Removal, Retention, decide_removals
from controller.recordings import Recordings, Stored
from protocol import events, limits
from protocol.events import Json


def expire(recordings: Recordings, audit: AuditLog, retention: Retention, now: datetime) -> int:
    """Remove what `retention` does not keep, the oldest first; return how many, at most `limits.RETENTION_ROUND`.

    The event comes before the removal: what is gone could not be put back, should the audit log refuse it.

    Raises:
        RecordingsError, AuditError: not all could be removed; what was until then is told.
    """
    if retention == Retention():
        return 0
    held = {one.session: one for one in recordings.held()}
    removals = decide_removals(held.values(), retention, now, most=limits.RETENTION_ROUND)
    removed = 0
    for removal in removals:
        tell = partial(_tell, audit, removal)
        # Where it is not as it was, somebody removed it, or its node came back, since the round began.
        removed += recordings.remove(removal.session, if_unchanged=held[removal.session], before=tell) is not None
    return removed


def _tell(audit: AuditLog, removal: Removal, stored: Stored) -> None:
    audit.write(events.RECORDING_DELETE, _fields(stored, removal))


def _fields(stored: Stored, removal: Removal) -> dict[str, Json]:
    return {
        "sid": removal.session,
        "size": stored.entry.size,
        "server_id": stored.entry.node,
        "server_hostname": stored.entry.hostname,
        "reason": removal.reason,
    }
