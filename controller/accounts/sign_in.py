"""Password and one-time code: the gate every sign-in passes, whatever the door.

The checks, in this order; the audit log bears the label of the first that failed, the peer learns none:
S1 failed sign-ins have not locked the account; S2 the password is right; S3 the code is right; S4 the code was not used
before; X1 no lock of the admin's is on the user: who has come so far is told that one.
Each check is made whatever the earlier ones said, and a user who does not exist costs the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from controller.accounts import codes, passwords
from controller.accounts.proof import Proofs, RightCode
from controller.accounts.records import FACTOR_PURPOSE, LAST_SIGN_INS, SecondFactor, UserRecord
from controller.audit import AuditLog
from controller.authority.vault import Vault
from controller.locks import Locks
from controller.origin import Origin
from controller.policy.login import Admitted
from controller.store.interface import Store
from protocol import events, names
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.instants import format_instant
from protocol.locks import Lock, describe_lock
from protocol.names import UserName
from protocol.secret import Secret

# Tries on names that belong to nobody are counted too, for the same cost, in a bounded number of records. Which
# names share one is known to nobody without the master key: else a lock on one could be laid through another.
_STRANGERS = 1024
_PURPOSE = "strangers' tries"
LOCKED = "X1"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person whose sign-in was granted, as they were when it was judged.

    What is issued on it is issued only while `valid_from` is still the user's own: a reset, or a removal and a
    new user of the same name, ends a sign-in that is under way.
    """

    user: UserName
    valid_from: datetime


@dataclass(frozen=True, slots=True)
class _Findings:
    admitted: bool
    password: bool
    code: RightCode | None


def refuse_locked(lock: Lock) -> Refused:
    """Return the refusal of a person whom `lock` keeps out."""
    return Refused(describe_lock(lock), LOCKED)


class SignIn:
    """Judges sign-ins."""

    def __init__(
        self, store: Store, vault: Vault, locks: Locks, audit: AuditLog, clock: Callable[[], datetime]
    ) -> None:
        self._users = store.collection("users")
        self._last = store.collection(LAST_SIGN_INS)
        self._vault = vault
        self._locks = locks
        self._audit = audit
        self._clock = clock
        self.proofs = Proofs(store, vault, audit, clock)
        self._stranger = SecondFactor("", "", vault.seal(codes.new_secret().reveal().encode(), FACTOR_PURPOSE), clock())

    def decide(self, name: str, password: Secret[str], otp: Secret[str], origin: Origin) -> Granted[SignedIn] | Refused:
        """Judge one sign-in and write it to the audit log."""
        user = self._find(name)
        key = user.name if user else self._stranger_key(name)
        attempt = self.proofs.count(key)
        findings = _Findings(
            admitted=isinstance(attempt, Admitted),
            password=passwords.verify_password(user.password_hash if user else None, password),
            code=self._match(user, otp),
        )
        answer = self._judge(user, findings)
        is_guess = isinstance(answer, Refused) and answer.check != LOCKED
        if not is_guess:
            self.proofs.forget(key)
        self.report(name, answer, origin)
        if is_guess and isinstance(attempt, Admitted):
            self.proofs.report_lock(attempt, name, origin)
        if isinstance(answer, Granted):
            now = self._clock()
            self._last.put_many({answer.value.user: {"at": format_instant(now)}}, now=now)
        return answer

    def _judge(self, user: UserRecord | None, findings: _Findings) -> Granted[SignedIn] | Refused:
        if not findings.admitted:
            return Refused("the account is locked after too many failed sign-ins", "S1")
        if user is None:
            return Refused("no such user", "S2")
        if not findings.password:
            return Refused("no password set yet" if user.password_hash is None else "wrong password", "S2")
        if findings.code is None:
            return Refused("wrong one-time code", "S3")
        if not self.proofs.spend(user.name, findings.code):
            return Refused("the one-time code was used before", "S4")
        lock = self._locks.find(user=user.name)
        return Granted(SignedIn(user.name, user.valid_from)) if lock is None else refuse_locked(lock)

    def _find(self, name: str) -> UserRecord | None:
        try:
            record = self._users.get(names.parse_user_name(name), now=self._clock())
        except names.BadNameError:
            return None
        return None if record is None else UserRecord.from_value(record.value)

    def _match(self, user: UserRecord | None, otp: Secret[str]) -> RightCode | None:
        factors = user.factors if user else ()
        if factors:
            return self.proofs.match(factors, otp)
        self.proofs.match((self._stranger,), otp)  # for the time that it takes
        return None

    def _stranger_key(self, name: str) -> str:
        digest = self._vault.mac(name.encode("utf-8", "replace"), _PURPOSE)
        return f"? {int.from_bytes(digest[:4], 'big') % _STRANGERS}"

    def report(self, name: str, answer: Granted[SignedIn] | Refused, origin: Origin) -> None:
        """Write to the audit log how a sign-in of `name` ended."""
        common: dict[str, Json] = {
            "user": name[:64],
            "method": "local",
            "addr.remote": origin.address,
            "client": origin.client,
            "via": origin.via,
        }
        if isinstance(answer, Granted):
            self._audit.write(events.USER_LOGIN, common | {"success": True})
        else:
            failed: dict[str, Json] = {"success": False, "error": answer.reason, "check": answer.check}
            self._audit.write(events.USER_LOGIN_FAILED, common | failed)
