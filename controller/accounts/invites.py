"""Links by which a person sets password and second factor: made by the admin, spent once.

The user's record names its one open link. Completing it swaps that record, which sets everything and spends the
link in one step; whatever else is kept of a link that no user names is good for nothing.

Checks of a link: I1 it is known, alive and the one its user names; I2 its user exists; I3 neither changed meanwhile.
What the person types is checked before the link is spent, and told to them: that spends nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.accounts import codes, passwords
from controller.accounts.records import FACTOR_PURPOSE, InviteKind, InviteRecord, SecondFactor, UserRecord
from controller.audit import AuditError, AuditLog
from controller.authority.vault import Vault
from controller.origin import Origin
from controller.policy.login import password_problem
from controller.store.interface import ConflictError, Record, Store, StoreError
from protocol import events, limits, names
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.names import ClusterName, UserName
from protocol.secret import Secret

_PURPOSE = "invite"
WRONG_DIGITS = "The six digits are not right: take the ones your app shows now."


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the page behind a link shows. `secret` is base32, `uri` the same as ``otpauth://``."""

    user: UserName
    kind: InviteKind
    secret: Secret[str]
    uri: Secret[str]
    expires: datetime


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The person has to type something again; `problem` says what, in words for them.

    `field` is what it is about: ``password``, ``otp``, ``name`` or ``approval``; empty where it is none of these.
    """

    problem: str
    field: str = ""


class Invites:
    """All links that are open."""

    def __init__(
        self, store: Store, vault: Vault, audit: AuditLog, clock: Callable[[], datetime], cluster: ClusterName
    ) -> None:
        self._invites = store.collection("invites")
        self._users = store.collection("users")
        self._spent = store.collection("spent_codes")
        self._vault = vault
        self._audit = audit
        self._clock = clock
        self._cluster = cluster

    def create(self, user: UserName, kind: InviteKind, ttl: timedelta) -> tuple[str, Secret[str]]:
        """Make a link and return its key and its token, of which only a hash is kept.

        It is good for nothing until the user's record names the key.
        """
        token = secrets.token_hex(16)
        now = self._clock()
        sealed = self._vault.seal(codes.new_secret().reveal().encode(), _PURPOSE)
        self._invites.create(_key(token), InviteRecord(user, kind, sealed).to_value(), now=now, expires=now + ttl)
        return _key(token), Secret(token)

    def forget(self, key: str | None) -> None:
        """Drop what is kept of a link that no user names any more."""
        if key is not None:
            self._invites.delete(key, now=self._clock())

    def expires(self, key: str) -> datetime | None:
        """Return when the link of that key expires; None where it is gone."""
        record = self._invites.get(key, now=self._clock())
        return None if record is None else record.expires

    def open(self, token: str, origin: Origin) -> Granted[Invitation] | Refused:
        """Return what the page shows; opening it spends nothing."""
        found = self._find(token)
        if isinstance(found, Refused):
            return self._refuse(found, origin)
        record, _ = found.value
        invite = InviteRecord.from_value(record.value)
        secret = self._secret(invite)
        uri = codes.provisioning_uri(secret, invite.user, self._cluster)
        expires = record.expires or self._clock()
        return Granted(Invitation(invite.user, invite.kind, secret, uri, expires))

    def complete(
        self, token: str, password: Secret[str], otp: Secret[str], origin: Origin
    ) -> Granted[UserName] | Refused | Incomplete:
        """Set the password and the second factor, and spend the link: exactly one of all who try at once does."""
        found = self._find(token)
        if isinstance(found, Refused):
            return self._refuse(found, origin)
        record, user_record = found.value
        invite = InviteRecord.from_value(record.value)
        problem = password_problem(passwords.normalise(password.reveal()))
        if problem is not None:
            return Incomplete(problem, "password")
        now = self._clock()
        step = codes.matching_step(self._secret(invite), otp.reveal(), now)
        if step is None:
            return Incomplete(WRONG_DIGITS, "otp")
        answer = self._apply(invite, user_record, passwords.hash_password(password), step, origin)
        with suppress(StoreError):  # it is spent as it is, and expires by itself
            self.forget(record.key)
        return answer

    def _apply(
        self, invite: InviteRecord, user_record: Record, password_hash: str, step: int, origin: Origin
    ) -> Granted[UserName] | Refused:
        now = self._clock()
        factor = SecondFactor(str(uuid.uuid4()), "authenticator", self._seal_factor(invite), now)
        user = UserRecord.from_value(user_record.value)
        changed = replace(user, password_hash=password_hash, factors=(factor,), valid_from=now, invite=None)
        spent = f"{user.name} {factor.factor_id} {step}"
        self._spent.create(spent, {}, now=now, expires=now + limits.TOTP_MEMORY)
        try:
            completed = self._users.replace(user_record, changed.to_value(), now=now)
        except ConflictError:
            return self._refuse(Refused("the link was spent, or its user changed, meanwhile", "I3"), origin, user.name)
        try:
            self._report(user.name, factor, origin)
        except AuditError:
            self._users.replace(completed, user_record.value, now=self._clock())
            raise
        return Granted(user.name)

    def _report(self, user: UserName, factor: SecondFactor, origin: Origin) -> None:
        common: dict[str, Json] = {"user": user, "addr.remote": origin.address, "via": origin.via}
        added: dict[str, Json] = {
            "mfa_device_name": factor.name,
            "mfa_device_type": "TOTP",
            "mfa_device_uuid": factor.factor_id,
        }
        self._audit.write(events.USER_PASSWORD_CHANGE, common)
        self._audit.write(events.MFA_ADD, common | added)

    def _seal_factor(self, invite: InviteRecord) -> str:
        return self._vault.seal(self._secret(invite).reveal().encode(), FACTOR_PURPOSE)

    def _secret(self, invite: InviteRecord) -> Secret[str]:
        return Secret(self._vault.open(invite.sealed_secret, _PURPOSE).reveal().decode())

    def _find(self, token: str) -> Granted[tuple[Record, Record]] | Refused:
        try:
            key = _key(names.parse_token(token))
        except names.BadNameError:
            return Refused("not a link's token", "I1")
        record = self._invites.get(key, now=self._clock())
        if record is None:
            return Refused("the link is spent, expired or was never made", "I1")
        user = self._users.get(str(record.value["user"]), now=self._clock())
        if user is None:
            return Refused("the link's user does not exist any more", "I2")
        if UserRecord.from_value(user.value).invite != key:
            return Refused("the link is spent, or a newer one was made", "I1")
        return Granted((record, user))

    def _refuse(self, refused: Refused, origin: Origin, user: str = "") -> Refused:
        fields: dict[str, Json] = {
            "success": False,
            "error": refused.reason,
            "addr.remote": origin.address,
            "via": origin.via,
        }
        self._audit.write(events.INVITE_REFUSED, fields | ({"user": user} if user else {}))
        return refused


def _key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
