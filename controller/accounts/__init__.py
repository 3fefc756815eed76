"""People: their accounts, their links, their sign-ins and their certificates.

`Accounts` is what the doors ask. It asks policy, applies the answer to the store, and tells the audit log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.accounts.changes import Changes
from controller.accounts.invites import Incomplete, Invitation, Invites
from controller.accounts.new_password import NewPassword
from controller.accounts.records import SessionKind, UserRecord
from controller.accounts.second_factors import FactorView, NewFactor, SecondFactors
from controller.accounts.sessions import Session, Sessions, SignInView
from controller.accounts.sign_in import LOCKED, SignedIn, SignIn, refuse_locked
from controller.accounts.users import Link, UserError, Users
from controller.accounts.voided import Voided
from controller.audit import AuditLog
from controller.authority import Authority, AuthorityError
from controller.authority.vault import Vault
from controller.locks import Locks
from controller.origin import Origin
from controller.store.interface import Store
from protocol import certificates, events, limits
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.instants import format_instant
from protocol.locks import Lock
from protocol.names import ClusterName, Login, NodeId, RoleName, UserName
from protocol.secret import Secret

__all__ = [
    "Accounts",
    "FactorView",
    "Incomplete",
    "Invitation",
    "IssuedCertificate",
    "Link",
    "NewFactor",
    "Origin",
    "Session",
    "SignInView",
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
        changes, proofs = Changes(store, clock), self._sign_in.proofs
        self._new_password = NewPassword(
            changes=changes,
            proofs=proofs,
            sessions=self._sessions,
            voided=Voided(store, clock),
            audit=audit,
            clock=clock,
        )
        self._factors = SecondFactors(
            changes=changes, proofs=proofs, vault=vault, audit=audit, clock=clock, cluster=cluster
        )
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
        return self._certify(signed_in, public_key_line, ttl, origin)

    def issue_terminal_certificate(
        self, signed_in: SignedIn, public_key_line: str, origin: Origin, node: NodeId
    ) -> Granted[IssuedCertificate] | Refused:
        """Certify a key that this process has made itself, to stand in for a person's browser at the proxy's door.

        Judged as `issue_certificate` does; good for `limits.TERMINAL_CERTIFICATE_TTL`, for `node` alone and without
        any forwarding, and it says where the person is.
        """
        stand_in = certificates.StandIn(origin.address, node)
        return self._certify(signed_in, public_key_line, limits.TERMINAL_CERTIFICATE_TTL, origin, stand_in)

    def _certify(
        self,
        signed_in: SignedIn,
        public_key_line: str,
        ttl: timedelta,
        origin: Origin,
        stand_in: certificates.StandIn | None = None,
    ) -> Granted[IssuedCertificate] | Refused:
        now = self._clock()  # from before the look at the user: a reset right after it voids what is issued
        record = self._unchanged(signed_in)
        if record is None:
            return self._refuse(signed_in, origin)
        now = max(now, record.valid_from)  # which may be the next whole second: `controller.accounts.voided`
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
            stand_in=stand_in,
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
        return Granted(self._sessions.open(signed_in, kind, expires, origin))

    def session(self, token: str, *, rests: bool = False) -> Session | None:
        """Return the session in force behind a cookie or bearer token, or None.

        `rests`: asking is no use of it: one that nobody uses ends in its time.
        """
        return self._sessions.find(token, rests=rests)

    def lock_on_session(self, token: str) -> Lock | None:
        """Return the lock that keeps the holder of a cookie or bearer token out, who would be let in without it."""
        return self._sessions.lock_on(token)

    def close_session(self, token: str, origin: Origin) -> None:
        """End a session."""
        self._sessions.close(token, origin)

    def sign_ins(self, user: UserName, token: str = "") -> tuple[SignInView, ...]:
        """Return the sign-ins of `user` that are in force; the one whose token is `token` comes first, marked."""
        return self._sessions.of(user, token)

    def end_sign_in(self, user: UserName, sign_in_id: str, origin: Origin) -> SignInView | None:
        """End one of the sign-ins of `user`; None where there is none of that id. A certificate of tsh's lives on."""
        return self._sessions.end(user, sign_in_id, origin)

    def end_other_sign_ins(self, user: UserName, keep_token: str, origin: Origin) -> int:
        """End every sign-in of `user` but the one whose token is `keep_token`; return how many."""
        return self._sessions.end_others(user, keep_token, origin)

    def change_password(
        self, user: UserName, old: Secret[str], new: Secret[str], otp: Secret[str], keep_token: str, origin: Origin
    ) -> Granted[None] | Refused | Incomplete:
        """Set a new password: see `controller.accounts.new_password`. All else from before is void."""
        return self._new_password.set(user, old, new, otp, keep_token, origin)

    def factors(self, user: UserName) -> tuple[FactorView, ...]:
        """Return the authenticator apps of `user`, the first added first."""
        return self._factors.of(user)

    def begin_factor(self, user: UserName) -> NewFactor | None:
        """Return what goes into a new authenticator app; nothing is kept. None where there is no such user."""
        return self._factors.begin(user)

    def show_factor(self, user: UserName, handle: Secret[str]) -> NewFactor | None:
        """Return what `begin_factor` returned with `handle`; None where it can be added no more."""
        return self._factors.show(user, handle)

    def add_factor(
        self,
        user: UserName,
        handle: Secret[str],
        name: str,
        otp: Secret[str],
        origin: Origin,
        *,
        approval: Secret[str],
    ) -> Granted[FactorView] | Refused | Incomplete:
        """Add an authenticator app: `otp` is a code of the new one, `approval` of one that is there already."""
        return self._factors.add(user, handle, name, otp, approval, origin)

    def remove_factor(
        self, user: UserName, factor_id: str, otp: Secret[str], origin: Origin
    ) -> Granted[FactorView] | Refused | Incomplete:
        """Remove an authenticator app with a code of any. The last one cannot go; check H4 where it is not there."""
        return self._factors.remove(user, factor_id, otp, origin)

    def _unchanged(self, signed_in: SignedIn) -> UserRecord | None:
        record = self.users.get(signed_in.user)
        return record if record is not None and record.valid_from == signed_in.valid_from else None

    def _refuse(self, signed_in: SignedIn, origin: Origin) -> Refused:
        return self._report(signed_in, Refused("the user was removed or reset during the sign-in", "C1"), origin)

    def _report(self, signed_in: SignedIn, refused: Refused, origin: Origin) -> Refused:
        self._sign_in.report(signed_in.user, refused, origin)
        return refused
