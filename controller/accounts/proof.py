"""What a person proves who they are with: a password, and a one-time code of any of their authenticator apps.

Every try is counted before it is judged, in one count for each person, at whatever door: `controller.policy.login`.
Checks, as `controller.accounts.sign_in` has them: S1 failed tries have not locked the account; S2 the password is
right; S3 the code is right; S4 the code was not used before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.accounts import codes, passwords, records
from controller.accounts.records import FACTOR_PURPOSE, SecondFactor, UserRecord
from controller.audit import AuditLog
from controller.authority.vault import Vault
from controller.origin import Origin
from controller.policy.login import Admitted, Attempts, Locked, count_attempt, forget_after, take_back
from controller.store.interface import AlreadyExistsError, ConflictError, Record, Store
from protocol import events, limits
from protocol.decision import Granted, Refused
from protocol.instants import format_instant
from protocol.names import UserName
from protocol.secret import Secret


@dataclass(frozen=True, slots=True)
class RightCode:
    """A code that is one of `factor`'s: that of the half minute number `step` since 1970."""

    factor: SecondFactor
    step: int


class Proofs:
    """Counts tries, and judges passwords and codes."""

    def __init__(self, store: Store, vault: Vault, audit: AuditLog, clock: Callable[[], datetime]) -> None:
        self._attempts = store.collection("attempts")
        self._spent = store.collection("spent_codes")
        self._vault = vault
        self._audit = audit
        self._clock = clock

    def decide(
        self, user: UserRecord, password: Secret[str] | None, otp: Secret[str], origin: Origin
    ) -> Granted[RightCode] | Refused:
        """Judge what somebody who is signed in proves once more; a code that is granted is spent.

        A code alone, where `password` is None, does not make the count begin anew: who has the app and not the
        password would guess the password for ever.
        """
        attempt = self.count(user.name)
        is_right = password is None or passwords.verify_password(user.password_hash, password)
        answer = self._judge(
            user, self.match(user.factors, otp), is_admitted=isinstance(attempt, Admitted), is_right=is_right
        )
        if isinstance(answer, Granted):
            self._settle(user.name, is_whole=password is not None)
        elif isinstance(attempt, Admitted):
            self.report_lock(attempt, user.name, origin)
        return answer

    def _judge(
        self, user: UserRecord, right: RightCode | None, *, is_admitted: bool, is_right: bool
    ) -> Granted[RightCode] | Refused:
        if not is_admitted:
            return Refused("the account is locked after too many failed tries", "S1")
        if not is_right:
            return Refused("wrong password", "S2")
        if right is None:
            return Refused("wrong one-time code", "S3")
        if not self.spend(user.name, right):
            return Refused("the one-time code was used before", "S4")
        return Granted(right)

    def match(self, factors: Iterable[SecondFactor], otp: Secret[str]) -> RightCode | None:
        """Return whose code `otp` is, and of when; None where it is nobody's. Every factor is looked at."""
        found = None
        for factor in factors:
            secret = Secret(self._vault.open(factor.sealed_secret, FACTOR_PURPOSE).reveal().decode())
            step = codes.matching_step(secret, otp.reveal(), self._clock())
            if step is not None:
                found = RightCode(factor, step)
        return found

    def spend(self, user: UserName, right: RightCode) -> bool:
        """Take the one use of a code: True to exactly one of all who try it."""
        now = self._clock()
        try:
            key = f"{user} {right.factor.factor_id} {right.step}"
            self._spent.create(key, {}, now=now, expires=now + limits.TOTP_MEMORY)
        except AlreadyExistsError:
            return False
        return True

    def count(self, key: str) -> Admitted | Locked:
        """Count one more try, of a user or of what strangers share."""
        while True:
            now = self._clock()
            record = self._attempts.get(key, now=now)
            before = records.attempts_from_value(record.value if record else None)
            answer = count_attempt(before, now)
            if isinstance(answer, Admitted):
                kept, expires = answer.attempts, forget_after(now)
            else:  # a try that finds a lock is not counted, and yet written: it takes as long as any other
                kept, expires = before, answer.until
            if self._keep(key, record, kept, now, expires):
                return answer  # else another process counted meanwhile: read anew

    def forget(self, key: str) -> None:
        """Begin the count anew."""
        self._attempts.delete(key, now=self._clock())

    def report_lock(self, answer: Admitted, name: str, origin: Origin) -> None:
        """Tell the audit log where that try was the last."""
        until = answer.attempts.locked_until
        if until is not None:  # for names of nobody too: it costs what it costs for others
            fields = {"user": name[:64], "expires": format_instant(until), "addr.remote": origin.address}
            self._audit.write(events.USER_LOCKED, fields | {"via": origin.via})

    def _settle(self, name: UserName, *, is_whole: bool) -> None:
        if is_whole:
            self.forget(name)
            return
        while True:
            now = self._clock()
            record = self._attempts.get(name, now=now)
            if record is None:
                return
            kept = take_back(records.attempts_from_value(record.value))
            if self._keep(name, record, kept, now, record.expires):
                return

    def _keep(
        self, key: str, record: Record | None, attempts: Attempts, now: datetime, expires: datetime | None
    ) -> bool:
        value = records.attempts_to_value(attempts)
        try:
            if record is None:
                self._attempts.create(key, value, now=now, expires=expires)
            else:
                self._attempts.replace(record, value, now=now, expires=expires)
        except (AlreadyExistsError, ConflictError):
            return False
        return True
