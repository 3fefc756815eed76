"""People: their accounts, their links, their sign-ins and their certificates.

`Accounts` is what the doors ask. It asks policy, applies the answer to the store, and tells the audit log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.accounts.invites import Incomplete, Invitation, Invites
from controller.accounts.records import SessionKind, UserRecord
from controller.accounts.sessions import Session, Sessions
from controller.accounts.sign_in import LOCKED, SignedIn, SignIn, refuse_locked
from controller.accounts.users import Link, UserError, Users
from controller.audit import AuditLog
from controller.authority import Authority, AuthorityError
from controller.authority.vault import Vault
from controller.locks import Locks
from controller.origin import Origin
from controller.store.interface import Store
from protocol import certificates, events
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.instants import format_instant
from protocol.locks import Lock
from protocol.names import ClusterName, Login, RoleName, UserName
from protocol.secret import Secret

__all__ = [
    "Accounts",
    "Incomplete",
    "Invitation",
    "IssuedCertificate",
    "Link",
    "Origin",
    "Session",
    "SignedIn",
    "UserError",
    "UserRecord",
    "what_to_say",
]


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A user certificate, one line, and what it says."""

    certificate: str
    roles: tuple[RoleName, ...]
    logins: tuple[Login, ...]
    valid_until: datetime


def what_to_say(refused: Refused, otherwise: str) -> str:
    """Return what a person is told who was refused: who proved who they are is told of a lock, else it is uniform."""
    return refused.reason if refused.check == LOCKED else otherwise


class Accounts:
    """The people of one cluster, as the doors see them."""

    def __init__(  # noqa: PLR0913 - the parts it is made of
        self,
        *,
        store: Store,
        vault: Vault,
        authority: Authority,
        locks: Locks,
        audit: AuditLog,
        cluster: ClusterName,
        clock: Callable[[], datetime],
    ) -> None:
        self._authority = authority
        self._locks = locks
        self._audit = audit
        self._clock = clock
        self._invites = Invites(store, vault, audit, clock, cluster)
        self._sign_in = SignIn(store, vault, locks, audit, clock)
        self._sessions = Sessions(store, vault, locks, audit, clock)
        self.users = Users(store, self._invites, audit, clock)

    def open_invite(self, token: str, origin: Origin) -> Granted[Invitation] | Refused:
        """Return what the page behind a link shows; nothing is spent."""
        return self._invites.open(token, origin)

    def complete_invite(
        self, token: str, password: Secret[str], otp: Secret[str], origin: Origin
    ) -> Granted[UserName] | Refused | Incomplete:
        """Set password and second factor and spend the link, in one atomic step."""
        return self._invites.complete(token, password, otp, origin)

    def sign_in(
        self, user: str, password: Secret[str], otp: Secret[str], origin: Origin
    ) -> Granted[SignedIn] | Refused:
        """Judge a sign-in: see `controller.accounts.sign_in` for the checks."""
        return self._sign_in.decide(user, password, otp, origin)

    def issue_certificate(
        self, signed_in: SignedIn, public_key_line: str, ttl: timedelta, origin: Origin
    ) -> Granted[IssuedCertificate] | Refused:
        """Certify a signed-in person's public key for at most `ttl`.

        Checks: C1 the user is as they were when the sign-in was judged; X1 no lock is on the user; C2 the key can be
        certified.
        """
        now = self._clock()  # from before the look at the user: a reset right after it voids what is issued
        record = self._unchanged(signed_in)
        if record is None:
            return self._refuse(signed_in, origin)
        lock = self._locks.find(user=record.name)
        if lock is not None:
            return self._report(signed_in, refuse_locked(lock), origin)
        order = certificates.user_order(
            user=record.name,
            roles=record.roles,
            logins=record.logins,
            ttl=ttl,
            serial=secrets.randbits(63),
            now=now,
        )
        try:
            line = self._authority.sign_ssh(order, public_key_line)
        except AuthorityError as err:
            return Refused(f"the public key cannot be certified: {err}", "C2")
        fields: dict[str, Json] = {
            "user": record.name,
            "cert_type": "user",
            "serial": str(order.serial),
            "expires": format_instant(order.valid_before),
            "roles": list(record.roles),
            "logins": list(record.logins),
            "addr.remote": origin.address,
            "via": origin.via,
        }
        self._audit.write(events.CERT_CREATE, fields)
        return Granted(IssuedCertificate(line, record.roles, record.logins, order.valid_before))

    def open_session(
        self, signed_in: SignedIn, kind: SessionKind, expires: datetime, origin: Origin
    ) -> Granted[Secret[str]] | Refused:
        """Begin a session of a signed-in person, and return its token; refused as a certificate is (C1)."""
        if self._unchanged(signed_in) is None:
            return self._refuse(signed_in, origin)
        return Granted(self._sessions.open(signed_in, kind, expires))

    def session(self, token: str) -> Session | None:
        """Return the session in force behind a cookie or bearer token, or None."""
        return self._sessions.find(token)

    def lock_on_session(self, token: str) -> Lock | None:
        """Return the lock that keeps the holder of a cookie or bearer token out, who would be let in without it."""
        return self._sessions.lock_on(token)

    def close_session(self, token: str, origin: Origin) -> None:
        """End a session."""
        self._sessions.close(token, origin)

    def _unchanged(self, signed_in: SignedIn) -> UserRecord | None:
        record = self.users.get(signed_in.user)
        return record if record is not None and record.valid_from == signed_in.valid_from else None

    def _refuse(self, signed_in: SignedIn, origin: Origin) -> Refused:
        return self._report(signed_in, Refused("the user was removed or reset during the sign-in", "C1"), origin)

    def _report(self, signed_in: SignedIn, refused: Refused, origin: Origin) -> Refused:
        self._sign_in.report(signed_in.user, refused, origin)
        return refused
