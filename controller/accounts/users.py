"""The people of a cluster: made, listed, removed and reset by the admin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from controller.accounts.invites import Invites
from controller.accounts.records import LAST_SIGN_INS, UserRecord, attempts_from_value
from controller.accounts.voided import Voided, next_second
from controller.audit import AuditError, AuditLog
from controller.origin import Origin
from controller.policy.rights import Rights, are_fewer, check_rights, decide_change, decide_ending, is_anybody_admin
from controller.store.interface import AlreadyExistsError, ConflictError, Record, Store
from protocol import access, events
from protocol.decision import Granted, Refused
from protocol.durations import format_duration
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.names import Login, RoleName, UserName
from protocol.secret import Secret


class UserError(Exception):
    """What the admin asked for cannot be done; the message says why, in words for the admin."""


class UnknownUserError(UserError):
    """There is no such user."""


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
        self._last = store.collection(LAST_SIGN_INS)
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

    def last_sign_ins(self) -> Mapping[str, datetime]:
        """Return when each person signed in last, by their names; who never did is not in it."""
        return {record.key: parse_instant(record.value["at"]) for record in self._last.list(now=self._clock())}

    def locked_out(self) -> Mapping[str, datetime]:
        """Return until when failed sign-ins keep whose password locked."""
        now = self._clock()
        found = {record.key: attempts_from_value(record.value).locked_until for record in self._attempts.list(now=now)}
        return {name: until for name, until in found.items() if until is not None and now < until}

    def link_until(self, user: UserRecord) -> datetime | None:
        """Return until when the open link of `user` is good; None where there is none, or it has expired."""
        return None if user.invite is None else self._invites.expires(user.invite)

    def is_anybody_admin(self) -> bool:
        """Tell whether anybody administers the cluster, beside tctl on the controller's host."""
        return is_anybody_admin(user.roles for user in self.list())

    def add(
        self,
        name: UserName,
        logins: tuple[Login, ...],
        ttl: timedelta,
        origin: Origin,
        roles: tuple[RoleName, ...] = (access.ACCESS,),
    ) -> Link:
        """Create a user without a password, and the link to set one.

        Raises `UserError` for a name that is taken, and for rights that nobody may have.
        """
        _require(check_rights(Rights(roles, logins)))
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

    def update(
        self,
        name: str,
        *,
        roles: tuple[RoleName, ...] | None = None,
        logins: tuple[Login, ...] | None = None,
        origin: Origin,
    ) -> UserRecord:
        """Change a user's roles, logins or both, and return the user; what is None stays. Raises `UserError`.

        Where any are taken away, `valid_from` moves: sign-ins and certificates from before are void at once, as
        `controller.policy.rights` has it.
        """
        while True:
            record = self._record(name)
            user = UserRecord.from_value(record.value)
            before = Rights(user.roles, user.logins)
            after = Rights(user.roles if roles is None else roles, user.logins if logins is None else logins)
            _require(decide_change(before, after, is_own=_is_own(user.name, origin)))
            if after == before:
                return user
            try:
                return self._change(record, before, after, origin)
            except ConflictError:
                continue  # somebody else changed the user meanwhile: judge anew

    def _change(self, record: Record, before: Rights, after: Rights, origin: Origin) -> UserRecord:
        user = UserRecord.from_value(record.value)
        changed = replace(user, roles=after.roles, logins=after.logins)
        if are_fewer(before, after):
            changed = replace(changed, valid_from=next_second(self._clock()))
            self._voided.add(user.name, changed.valid_from)  # first: what is void too early is only asked for anew
        written = self._users.replace(record, changed.to_value(), now=self._clock())
        fields: dict[str, Json] = {
            "user": origin.actor,
            "name": user.name,
            "roles": list(after.roles),
            "logins": list(after.logins),
            "before": {"roles": list(before.roles), "logins": list(before.logins)},
            "via": origin.via,
        }
        try:
            self._audit.write(events.USER_UPDATE, fields)
        except AuditError:
            self._users.replace(written, record.value, now=self._clock())
            raise
        return changed

    def remove(self, name: str, origin: Origin) -> None:
        """Remove a user: sign-ins, certificates and links of theirs are void at once. Raises `UserError`."""
        _require(decide_ending(is_own=_is_own(name, origin)))
        user = UserRecord.from_value(self._record(name).value)
        # The event comes first, here and in `reset`: what is gone could not be put back.
        self._audit.write(events.USER_DELETE, {"user": origin.actor, "name": name, "via": origin.via})
        self._voided.add(name)
        self._users.delete(name, now=self._clock())
        self._invites.forget(user.invite)
        self._attempts.delete(name, now=self._clock())
        self._last.delete(name, now=self._clock())

    def reset(self, name: str, ttl: timedelta, origin: Origin) -> Link:
        """Void a user's password and second factors, and make the link to set new ones. Raises `UserError`.

        It also lifts a lock that failed sign-ins have put on the account.
        """
        _require(decide_ending(is_own=_is_own(name, origin)))
        fields = {"user": origin.actor, "name": name, "ttl": format_duration(ttl), "via": origin.via}
        record = self._record(name)
        self._audit.write(events.RESET_CREATE, fields)
        while True:
            try:
                return self._reset(record, ttl)
            except ConflictError:
                record = self._record(name)  # somebody else changed the user meanwhile

    def _reset(self, record: Record, ttl: timedelta) -> Link:
        user, now = UserRecord.from_value(record.value), self._clock()
        self._voided.add(user.name)
        key, token = self._invites.create(user.name, "reset", ttl)
        changed = replace(user, password_hash=None, factors=(), valid_from=now, invite=key)
        try:
            self._users.replace(record, changed.to_value(), now=now)
        except ConflictError:
            self._invites.forget(key)  # nobody was told of it
            raise
        self._attempts.delete(user.name, now=now)
        self._invites.forget(user.invite)
        return Link(user.name, token, ttl)

    def _record(self, name: str) -> Record:
        record = self._users.get(name, now=self._clock())
        if record is None:
            raise UnknownUserError(f'user "{name}" not found: `tctl users ls` lists them')
        return record


def _is_own(name: str, origin: Origin) -> bool:
    """Tell whether somebody asks for themselves; tctl's people are the operating system's, whatever they are called."""
    return origin.via in {"web", "api"} and origin.actor == name


def _require(answer: Granted[Any] | Refused) -> None:
    if isinstance(answer, Refused):
        raise UserError(answer.reason)


def check_ttl(ttl: timedelta, most: timedelta) -> timedelta:
    """Return `ttl` if a link may live that long. Raises `UserError`."""
    if not timedelta(0) < ttl <= most:
        raise UserError(f"a link may be valid for {format_duration(most)} at most, not {format_duration(ttl)}")
    return ttl
