"""The people of a cluster: made, listed, removed and reset by the admin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.accounts.invites import Invites
from controller.accounts.records import UserRecord, attempts_from_value
from controller.accounts.voided import Voided
from controller.audit import AuditError, AuditLog
from controller.origin import Origin
from controller.store.interface import AlreadyExistsError, Record, Store
from protocol import access, events
from protocol.durations import format_duration
from protocol.events import Json
from protocol.instants import format_instant
from protocol.names import Login, RoleName, UserName
from protocol.secret import Secret


class UserError(Exception):
    """What the admin asked for cannot be done; the message says why, in words for the admin."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link for a person to set password and second factor: its token, and how long it is good."""

    user: UserName
    token: Secret[str]
    ttl: timedelta


class Users:
    """All people. Every change is written to the audit log."""

    def __init__(self, store: Store, invites: Invites, audit: AuditLog, clock: Callable[[], datetime]) -> None:
        self._users = store.collection("users")
        self._attempts = store.collection("attempts")
        self._voided = Voided(store, clock)
        self._invites = invites
        self._audit = audit
        self._clock = clock

    def get(self, name: str) -> UserRecord | None:
        """Return the user, or None."""
        record = self._users.get(name, now=self._clock())
        return None if record is None else UserRecord.from_value(record.value)

    def list(self) -> Sequence[UserRecord]:
        """Return all users, by name."""
        return [UserRecord.from_value(record.value) for record in self._users.list(now=self._clock())]

    def locked_until(self, name: str) -> datetime | None:
        """Return until when failed sign-ins keep the user's password locked, or None."""
        now = self._clock()
        record = self._attempts.get(name, now=now)
        until = attempts_from_value(record.value if record else None).locked_until
        return until if until is not None and now < until else None

    def add(
        self,
        name: UserName,
        logins: tuple[Login, ...],
        ttl: timedelta,
        origin: Origin,
        roles: tuple[RoleName, ...] = (access.ACCESS,),
    ) -> Link:
        """Create a user without a password, and the link to set one. Raises `UserError` for a name that is taken."""
        now = self._clock()
        key, token = self._invites.create(name, "invite", ttl)
        user = UserRecord(name=name, logins=logins, roles=roles, created=now, valid_from=now, invite=key)
        try:
            record = self._users.create(name, user.to_value(), now=now)
        except AlreadyExistsError:
            self._invites.forget(key)
            raise UserError(
                f"user({name}) already registered: `tctl users reset {name}` makes a new link, "
                f"`tctl users rm {name}` removes the user"
            ) from None
        fields: dict[str, Json] = {
            "user": origin.actor,
            "name": name,
            "roles": list(roles),
            "logins": list(logins),
            "connector": "local",
            "expires": format_instant(now + ttl),
            "via": origin.via,
        }
        try:
            self._audit.write(events.USER_CREATE, fields)
        except AuditError:
            self._users.delete(name, now=self._clock(), revision=record.revision)
            self._invites.forget(key)
            raise
        return Link(name, token, ttl)

    def remove(self, name: str, origin: Origin) -> None:
        """Remove a user: sign-ins, certificates and links of theirs are void at once. Raises `UserError`."""
        user = UserRecord.from_value(self._record(name).value)
        # The event comes first, here and in `reset`: what is gone could not be put back.
        self._audit.write(events.USER_DELETE, {"user": origin.actor, "name": name, "via": origin.via})
        self._voided.add(name)
        self._users.delete(name, now=self._clock())
        self._invites.forget(user.invite)
        self._attempts.delete(name, now=self._clock())

    def reset(self, name: str, ttl: timedelta, origin: Origin) -> Link:
        """Void a user's password and second factors, and make the link to set new ones. Raises `UserError`.

        It also lifts a lock that failed sign-ins have put on the account.
        """
        now, record = self._clock(), self._record(name)
        user = UserRecord.from_value(record.value)
        fields = {"user": origin.actor, "name": name, "ttl": format_duration(ttl), "via": origin.via}
        self._audit.write(events.RESET_CREATE, fields)
        self._voided.add(name)
        key, token = self._invites.create(user.name, "reset", ttl)
        changed = replace(user, password_hash=None, factors=(), valid_from=now, invite=key)
        self._users.replace(record, changed.to_value(), now=now)
        self._attempts.delete(name, now=now)
        self._invites.forget(user.invite)
        return Link(user.name, token, ttl)

    def _record(self, name: str) -> Record:
        record = self._users.get(name, now=self._clock())
        if record is None:
            raise UserError(f'user "{name}" not found: `tctl users ls` lists them')
        return record


def check_ttl(ttl: timedelta, most: timedelta) -> timedelta:
    """Return `ttl` if a link may live that long. Raises `UserError`."""
    if not timedelta(0) < ttl <= most:
        raise UserError(f"a link may be valid for {format_duration(most)} at most, not {format_duration(ttl)}")
    return ttl
