"""May this person see this recording? Asked of each one in a listing, and again before any of it is handed out.

A role that sees every recording is enough. Whoever holds none must pass both checks: V1 the person took part in the
session; V2 the person was there when it began: a name that was removed and given to somebody else does not bring the
old one's recordings along.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from protocol import limits
from protocol.access import PRESET_ROLES, AccessTarget, Person, Role, decide_access
from protocol.decision import Granted, Refused
from protocol.live_sessions import LiveSession
from protocol.names import RoleName, UserName
from protocol.recordings import RecordingEntry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Viewer(Protocol):
    """What is looked at in a person; a kept user is one."""

    @property
    def user(self) -> UserName:
        """The person's name."""
        ...

    @property
    def roles(self) -> tuple[RoleName, ...]:
        """The roles the person holds."""
        ...

    @property
    def created(self) -> datetime:
        """Since when the person is a user here, UTC."""
        ...


def sees_all(viewer: Viewer, roles: Mapping[RoleName, Role] = PRESET_ROLES) -> bool:
    """Tell whether `viewer` holds a role that sees every recording."""
    return any(roles[name].sees_recordings for name in viewer.roles if name in roles)


def decide_viewing(
    viewer: Viewer, entry: RecordingEntry, roles: Mapping[RoleName, Role] = PRESET_ROLES
) -> Granted[RecordingEntry] | Refused:
    """Decide whether `viewer` may see the recording that `entry` describes."""
    if sees_all(viewer, roles):
        return Granted(entry)
    if viewer.user not in entry.participants:
        return Refused(f'user "{viewer.user}" took no part in session {entry.session}', "V1")
    if entry.started < (viewer.created - limits.CLOCK_LEEWAY - _EPOCH) // _MILLISECOND:
        return Refused(f'session {entry.session} is older than user "{viewer.user}"', "V2")
    return Granted(entry)


def decide_watching(
    person: Person, node: AccessTarget, live: LiveSession, roles: Mapping[RoleName, Role] = PRESET_ROLES
) -> bool:
    """Decide whether `person` may know of a session that is going on.

    So may who sees every recording or administers the cluster, who takes part, and who could join it.
    """
    if any(roles[name].sees_recordings or roles[name].administers for name in person.roles if name in roles):
        return True
    if any(party.user == person.user for party in live.parties):
        return True
    return isinstance(decide_access(person, node, live.login, roles), Granted)
