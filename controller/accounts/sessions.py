"""Sign-ins that are going on: a browser's cookie or tsh's bearer token. Only a hash of either is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.accounts.records import SessionKind, SessionRecord, UserRecord
from controller.accounts.sign_in import SignedIn
from controller.audit import AuditLog
from controller.authority.vault import Vault
from controller.locks import Locks
from controller.origin import Origin
from controller.store.interface import ConflictError, Record, Store
from protocol import events, limits, names
from protocol.locks import Lock
from protocol.names import UserName
from protocol.secret import Secret

_PURPOSE = "csrf"
# How exactly the last use is known: one write a minute at the most, however busy a page is.
_SEEN_STEP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in in force. `csrf` is the token its forms must carry."""

    user: UserName
    kind: SessionKind
    csrf: Secret[str]
    created: datetime
    expires: datetime


class Sessions:
    """All sign-ins in force."""

    def __init__(
        self, store: Store, vault: Vault, locks: Locks, audit: AuditLog, clock: Callable[[], datetime]
    ) -> None:
        self._sessions = store.collection("sessions")
        self._users = store.collection("users")
        self._vault = vault
        self._locks = locks
        self._audit = audit
        self._clock = clock

    def open(self, signed_in: SignedIn, kind: SessionKind, expires: datetime) -> Secret[str]:
        """Begin a session until `expires`, and return its token. It is void where the user was changed meanwhile."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        sealed = self._vault.seal(secrets.token_urlsafe(24).encode(), _PURPOSE)
        record = SessionRecord(signed_in.user, kind, sealed, signed_in.valid_from, created=now, seen=now)
        self._sessions.create(_key(token), record.to_value(), now=now, expires=expires)
        return Secret(token)

    def find(self, token: str) -> Session | None:
        """Return the session in force, or None: unknown, over, idle too long, its user is gone, reset or locked."""
        now = self._clock()
        found = self._begun(token, now)
        if found is None or self._locks.find(user=found[1].user) is not None:
            return None
        record, session = found
        self._touch(record, session, now)
        csrf = Secret(self._vault.open(session.sealed_csrf, _PURPOSE).reveal().decode())
        return Session(session.user, session.kind, csrf, session.created, record.expires or now)

    def lock_on(self, token: str) -> Lock | None:
        """Return the lock that keeps out whoever holds this token: without it the session would be in force."""
        found = self._begun(token, self._clock())
        return None if found is None else self._locks.find(user=found[1].user)

    def close(self, token: str, origin: Origin) -> None:
        """End a session; ending one that is not in force does nothing."""
        record = self._record(token)
        if record is None or self._sessions.delete(record.key, now=self._clock()) is None:
            return
        fields = {"user": record.value["user"], "addr.remote": origin.address, "client": origin.client}
        self._audit.write(events.USER_LOGOUT, fields | {"via": origin.via})

    def _begun(self, token: str, now: datetime) -> tuple[Record, SessionRecord] | None:
        """Return a session that is not over, locks aside."""
        record = self._record(token)
        if record is None:
            return None
        session = SessionRecord.from_value(record.value)
        user = self._users.get(session.user, now=now)
        if user is None or session.valid_from != UserRecord.from_value(user.value).valid_from:
            return None
        is_idle = session.kind == "web" and now >= session.seen + limits.WEB_SESSION_IDLE
        return None if is_idle else (record, session)

    def _record(self, token: str) -> Record | None:
        try:
            return self._sessions.get(_key(names.parse_token(token)), now=self._clock())
        except names.BadNameError:
            return None

    def _touch(self, record: Record, session: SessionRecord, now: datetime) -> None:
        if session.kind != "web" or now < session.seen + _SEEN_STEP:
            return
        try:
            self._sessions.replace(record, replace(session, seen=now).to_value(), now=now, expires=record.expires)
        except ConflictError:
            return  # another request of the same browser said so first


def _key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
