"""Sign-ins that are going on: a browser's cookie or tsh's bearer token. Only a hash of either is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
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
from protocol.events import EventKind, Json
from protocol.locks import Lock
from protocol.names import UserName
from protocol.secret import Secret

_PURPOSE = "csrf"
# How exactly the last use is known: one write in that time at the most, however busy a page or a script is.
_SEEN_STEP: Mapping[SessionKind, timedelta] = {"web": timedelta(minutes=1), "tsh": timedelta(minutes=10)}


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in in force. `csrf` is the token its forms must carry."""

    user: UserName
    kind: SessionKind
    csrf: Secret[str]
    created: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class SignInView:
    """A sign-in in force, as its person sees it.

    Attributes:
        sign_in_id: what it is called; good for nothing but naming it.
        seen: its last use, to a minute for a browser and to ten for tsh.
        expires: when it ends if it is used on; a tsh certificate ends with it.
        address: where it was begun from, ``HOST:PORT``; empty where that is not known.
        client: what the browser or program said it is.
        is_current: whether it is the one that asks.
    """

    sign_in_id: str
    kind: SessionKind
    created: datetime
    seen: datetime
    expires: datetime
    address: str
    client: str
    is_current: bool


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

    def open(self, signed_in: SignedIn, kind: SessionKind, expires: datetime, origin: Origin) -> Secret[str]:
        """Begin a session until `expires`, and return its token. It is void where the user was changed meanwhile."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        sealed = self._vault.seal(secrets.token_urlsafe(24).encode(), _PURPOSE)
        record = SessionRecord(
            signed_in.user, kind, sealed, signed_in.valid_from, now, now, origin.address, origin.client
        )
        self._sessions.create(_key(token), record.to_value(), now=now, expires=expires)
        return Secret(token)

    def find(self, token: str, *, rests: bool = False) -> Session | None:
        """Return the session in force, or None: unknown, over, idle too long, its user is gone, reset or locked."""
        now = self._clock()
        found = self._begun(token, now)
        if found is None or self._locks.find(user=found[1].user) is not None:
            return None
        record, session = found
        if not rests:
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
        if record is not None:
            fields = {"user": record.value["user"], "addr.remote": origin.address, "client": origin.client}
            self._finish(record, events.USER_LOGOUT, fields | {"via": origin.via})

    def of(self, user: UserName, token: str = "") -> tuple[SignInView, ...]:
        """Return the sign-ins of `user`, the last used first; the one whose token is `token` is marked."""
        own = _key(token)
        views = [_view(record, session, own) for record, session in self._all_of(user)]
        return tuple(sorted(views, key=lambda view: (view.is_current, view.seen, view.created), reverse=True))

    def end(self, user: UserName, sign_in_id: str, origin: Origin) -> SignInView | None:
        """End one of the sign-ins of `user` and return what it was; None where there is none of that id."""
        for record, session in self._all_of(user):
            if _name_of(record.key) == sign_in_id:
                return _view(record, session, "") if self._end(record, session, origin) else None
        return None

    def end_others(self, user: UserName, token: str, origin: Origin) -> int:
        """End every sign-in of `user` but the one whose token is `token`; return how many."""
        kept = _key(token)
        return sum(self._end(record, session, origin) for record, session in self._all_of(user) if record.key != kept)

    def carry_over(self, token: str, before: UserRecord, valid_from: datetime) -> None:
        """Let one sign-in go on whose person's `valid_from` has moved since `before`; all others are void by that."""
        while True:
            record = self._record(token)
            session = None if record is None else SessionRecord.from_value(record.value)
            if record is None or session is None or not _is_of(session, before):
                return
            value = replace(session, valid_from=valid_from).to_value()
            try:
                self._sessions.replace(record, value, now=self._clock(), expires=record.expires)
            except ConflictError:
                continue  # another request of the same browser noted that it is in use
            return

    def _end(self, record: Record, session: SessionRecord, origin: Origin) -> bool:
        fields: dict[str, Json] = {"user": session.user, "name": _name_of(record.key), "addr.remote": origin.address}
        fields |= {"client": session.client, "via": origin.via}
        return self._finish(record, events.USER_SIGN_IN_ENDED, fields)

    def _finish(self, record: Record, kind: EventKind, fields: Mapping[str, Json]) -> bool:
        """Tell of the end, then make it so: what is gone could not be put back. False where it is over already."""
        with self._sessions.alone():
            if self._sessions.get(record.key, now=self._clock()) is None:
                return False  # another request was quicker, and told
            self._audit.write(kind, fields)
            self._sessions.delete(record.key, now=self._clock())
        return True

    def _all_of(self, user: UserName) -> Iterator[tuple[Record, SessionRecord]]:
        now = self._clock()
        kept = self._users.get(user, now=now)
        for record in () if kept is None else self._sessions.list(now=now):
            session = SessionRecord.from_value(record.value)
            if kept is not None and _is_on(session, UserRecord.from_value(kept.value), now):
                yield record, session

    def _begun(self, token: str, now: datetime) -> tuple[Record, SessionRecord] | None:
        """Return a session that is not over, locks aside."""
        record = self._record(token)
        if record is None:
            return None
        session = SessionRecord.from_value(record.value)
        user = self._users.get(session.user, now=now)
        if user is None or not _is_on(session, UserRecord.from_value(user.value), now):
            return None
        return record, session

    def _record(self, token: str) -> Record | None:
        try:
            return self._sessions.get(_key(names.parse_token(token)), now=self._clock())
        except names.BadNameError:
            return None

    def _touch(self, record: Record, session: SessionRecord, now: datetime) -> None:
        if now < session.seen + _SEEN_STEP[session.kind]:
            return
        try:
            self._sessions.replace(record, replace(session, seen=now).to_value(), now=now, expires=record.expires)
        except ConflictError:
            return  # another request of the same browser said so first


def _is_of(session: SessionRecord, user: UserRecord) -> bool:
    return session.user == user.name and session.valid_from == user.valid_from


def _is_on(session: SessionRecord, user: UserRecord, now: datetime) -> bool:
    is_idle = session.kind == "web" and now >= session.seen + limits.WEB_SESSION_IDLE
    return _is_of(session, user) and not is_idle


def _view(record: Record, session: SessionRecord, own: str) -> SignInView:
    return SignInView(
        sign_in_id=_name_of(record.key),
        kind=session.kind,
        created=session.created,
        seen=session.seen,
        expires=record.expires or session.created,
        address=session.address,
        client=session.client,
        is_current=record.key == own,
    )


def _name_of(key: str) -> str:
    # Not the key itself: that is made from the token, and what is shown need not be.
    return hashlib.sha256(b"skerry sign-in\0" + key.encode()).hexdigest()[:32]


def _key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
