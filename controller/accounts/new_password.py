"""A new password, by somebody who is signed in: it takes the old one, and a code of any authenticator app.

They are judged and counted as a sign-in is: S1 to S4, `controller.accounts.proof`; H6 is that the person is as they
were when it was begun. What is wrong with the new one is told to them, and spends nothing.

It ends every other sign-in, and voids every certificate from before as a reset does, those of the one that asks too:
who has learnt the old password must not stay. Teleport lets them live until they end by themselves; there an admin's
lock is what keeps somebody out, here a person can do it for themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controller.accounts import passwords
from controller.accounts.changes import GONE, Changes, told
from controller.accounts.invites import Incomplete
from controller.accounts.proof import Proofs
from controller.accounts.records import UserRecord
from controller.accounts.sessions import Sessions
from controller.accounts.voided import Voided, next_second
from controller.audit import AuditLog
from controller.origin import Origin
from controller.policy.login import password_problem
from controller.store.interface import ConflictError
from protocol import events
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.names import UserName
from protocol.secret import Secret


class NewPassword:
    """Sets new passwords."""

    def __init__(
        self,
        *,
        changes: Changes,
        proofs: Proofs,
        sessions: Sessions,
        voided: Voided,
        audit: AuditLog,
        clock: Callable[[], datetime],
    ) -> None:
        self._changes = changes
        self._audit = audit
        self._proofs = proofs
        self._sessions = sessions
        self._voided = voided
        self._clock = clock

    def set(
        self, user: UserName, old: Secret[str], new: Secret[str], otp: Secret[str], keep_token: str, origin: Origin
    ) -> Granted[None] | Refused | Incomplete:
        """Set a new password; of all sign-ins the one whose token is `keep_token` goes on."""
        problem = _problem(old, new)
        if problem is not None:
            return Incomplete(problem, "new")
        answer = self._judge(user, old, new, otp, keep_token, origin)
        if isinstance(answer, Refused):
            self._audit.write(events.PASSWORD_CHANGE_FAILED, told(user, answer, origin))
        return answer

    def _judge(
        self, user: UserName, old: Secret[str], new: Secret[str], otp: Secret[str], keep_token: str, origin: Origin
    ) -> Granted[None] | Refused:
        found = self._changes.find(user)
        if found is None:
            return GONE
        proven = self._proofs.decide(found[1], old, otp, origin)
        if isinstance(proven, Refused):
            return proven
        return self._apply(found[1], passwords.hash_password(new), keep_token, origin)

    def _apply(
        self, person: UserRecord, password_hash: str, keep_token: str, origin: Origin
    ) -> Granted[None] | Refused:
        valid_from = next_second(self._clock())
        self._voided.add(person.name, valid_from)  # first: what is void too early is only asked for anew
        while True:
            found = self._changes.unchanged(person)
            if found is None or found[1].password_hash != person.password_hash:
                return GONE
            record, before = found
            changed = replace(before, password_hash=password_hash, valid_from=valid_from)
            fields: dict[str, Json] = {"user": person.name, "addr.remote": origin.address, "via": origin.via}
            try:
                with self._changes.swap(record, changed):
                    self._audit.write(events.USER_PASSWORD_CHANGE, fields)
            except ConflictError:
                continue  # a second factor was changed meanwhile: look anew
            self._sessions.carry_over(keep_token, before, valid_from)
            return Granted(None)


def _problem(old: Secret[str], new: Secret[str]) -> str | None:
    wanted = passwords.normalise(new.reveal())
    if wanted == passwords.normalise(old.reveal()):
        return "The new password is the old one."
    return password_problem(wanted)
