"""A person's authenticator apps, added and removed by that person.

Being signed in is not enough: it takes a code of an app that is there, as Teleport has an existing device approve. The
code is judged and counted as a sign-in is: S1, S3, S4, `controller.accounts.proof`. H1 to H5 are the checks of
`controller.policy.factors`, H6 is that the person is as they were when it was begun. What the person has to type again
is told to them, and spends nothing. Neither ends a sign-in: to end them all there is a new password.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from controller.accounts import codes
from controller.accounts.changes import GONE, Changes, told
from controller.accounts.invites import WRONG_DIGITS, Incomplete
from controller.accounts.proof import Proofs, RightCode
from controller.accounts.records import FACTOR_PURPOSE, SecondFactor, UserRecord
from controller.audit import AuditLog
from controller.authority.vault import Vault, VaultError
from controller.origin import Origin
from controller.policy.factors import decide_adding, decide_removing, decide_set_up
from controller.store.interface import ConflictError
from protocol import events, limits, names
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.names import BadNameError, ClusterName, FactorName, UserName
from protocol.secret import Secret

_PURPOSE = "second factor under way"
_PROBLEMS = {
    "H1": Incomplete("This took too long, or was begun before a reset: begin again."),
    "H2": Incomplete("You have a second factor of that name: choose another name.", "name"),
    "H3": Incomplete(f"You have {limits.FACTORS_PER_USER} second factors, which is the most: remove one first."),
    "H5": Incomplete("This is your only second factor: add another one first, then remove this one."),
}
_NO_NAME = Incomplete(f"Give it a name: one line of at most {limits.FACTOR_NAME_MAX_CHARS} characters.", "name")


@dataclass(frozen=True, slots=True)
class FactorView:
    """An authenticator app, as its person sees it."""

    factor_id: str
    name: str
    added: datetime


@dataclass(frozen=True, slots=True)
class NewFactor:
    """An authenticator app that is being set up.

    Attributes:
        handle: what brings it back; it holds all that is known of it, sealed, and nothing of it is kept until it is
            added.
        secret: base32, as a person types it.
        uri: the same as ``otpauth://``, for the QR code.
        expires: until when it can be added.
    """

    handle: Secret[str]
    secret: Secret[str]
    uri: Secret[str]
    expires: datetime


@dataclass(frozen=True, slots=True)
class _SetUp:
    """What is sealed in a handle."""

    user: UserName
    valid_from: datetime
    expires: datetime
    factor_id: str
    secret: Secret[str]

    def encode(self) -> bytes:
        times = [format_instant(self.valid_from), format_instant(self.expires)]
        return json.dumps([self.user, *times, self.factor_id, self.secret.reveal()]).encode()

    @classmethod
    def decode(cls, data: bytes) -> _SetUp:
        user, valid_from, expires, factor_id, secret = json.loads(data)
        return cls(user, parse_instant(valid_from), parse_instant(expires), factor_id, Secret(secret))


class SecondFactors:
    """Lists, adds and removes authenticator apps. Every change is written to the audit log."""

    def __init__(
        self,
        *,
        changes: Changes,
        proofs: Proofs,
        vault: Vault,
        audit: AuditLog,
        clock: Callable[[], datetime],
        cluster: ClusterName,
    ) -> None:
        self._changes = changes
        self._audit = audit
        self._proofs = proofs
        self._vault = vault
        self._clock = clock
        self._cluster = cluster

    def of(self, user: UserName) -> tuple[FactorView, ...]:
        """Return the authenticator apps of `user`, the first added first."""
        found = self._changes.find(user)
        return tuple(_view(factor) for factor in found[1].factors) if found else ()

    def begin(self, user: UserName) -> NewFactor | None:
        """Return what a person puts into a new authenticator app; None where there is no such user."""
        found = self._changes.find(user)
        if found is None:
            return None
        expires = self._clock() + limits.FACTOR_SETUP_TTL
        begun = _SetUp(user, found[1].valid_from, expires, str(uuid.uuid4()), codes.new_secret())
        return self._show(begun, Secret(self._vault.seal(begun.encode(), _PURPOSE)))

    def show(self, user: UserName, handle: Secret[str]) -> NewFactor | None:
        """Return again what `begin` returned with `handle`; None where it can be added no more."""
        found = self._changes.find(user)
        begun = None if found is None else self._open(found[1], handle)
        return self._show(begun.value, handle) if isinstance(begun, Granted) else None

    def add(
        self,
        user: UserName,
        handle: Secret[str],
        name: str,
        otp: Secret[str],
        approval: Secret[str],
        origin: Origin,
    ) -> Granted[FactorView] | Refused | Incomplete:
        """Add the app that was begun as `handle`: `otp` is a code of it, `approval` one of an app that is there.

        Adding the same one twice adds it once.
        """
        try:
            wanted = names.parse_factor_name(name)
        except BadNameError:
            return _NO_NAME
        answer = self._judge(user, handle, wanted, otp, approval, origin)
        if isinstance(answer, Refused):
            self._audit.write(events.MFA_FAILED, told(user, answer, origin, wanted))
        return answer

    def remove(
        self, user: UserName, factor_id: str, otp: Secret[str], origin: Origin
    ) -> Granted[FactorView] | Refused | Incomplete:
        """Remove an app; `otp` is a code of any, also of the one that goes. H4 where it is not there."""
        found = self._changes.find(user)
        may = decide_removing(found[1].factors, factor_id) if found else GONE
        if found is None or isinstance(may, Refused):
            return _PROBLEMS.get(may.check, may) if isinstance(may, Refused) else GONE
        proven = self._proofs.decide(found[1], None, otp, origin)
        answer = self._take_out(found[1], factor_id, origin) if isinstance(proven, Granted) else proven
        if isinstance(answer, Refused):
            name = FactorName(may.value.name)
            self._audit.write(events.MFA_DELETE_FAILED, told(user, answer, origin, name))
        return answer

    def _judge(
        self,
        user: UserName,
        handle: Secret[str],
        name: FactorName,
        otp: Secret[str],
        approval: Secret[str],
        origin: Origin,
    ) -> Granted[FactorView] | Refused | Incomplete:
        """Judge what was typed, the new app's code first: a slip of the finger must not cost an approval."""
        found = self._changes.find(user)
        begun = self._open(found[1], handle) if found else GONE
        if found is None or isinstance(begun, Refused):
            return _PROBLEMS.get(begun.check, begun) if isinstance(begun, Refused) else GONE
        factor = SecondFactor(begun.value.factor_id, name, self._seal(begun.value), self._clock())
        if any(there.factor_id == factor.factor_id for there in found[1].factors):
            return Granted(_view(factor))  # the form was sent twice
        may = decide_adding(found[1].factors, name)
        if isinstance(may, Refused):
            return _PROBLEMS[may.check]
        right = self._proofs.match([factor], otp)
        if right is None:
            return Incomplete(WRONG_DIGITS, "otp")
        proven = self._proofs.decide(found[1], None, approval, origin)
        return self._put_in(found[1], right, origin) if isinstance(proven, Granted) else proven

    def _put_in(
        self, person: UserRecord, right: RightCode, origin: Origin
    ) -> Granted[FactorView] | Refused | Incomplete:
        factor = right.factor
        self._proofs.spend(person.name, right)  # nobody signs in with the code that was seen here
        while True:
            found = self._changes.unchanged(person)
            if found is None:
                return GONE
            record, present = found
            may = decide_adding(present.factors, FactorName(factor.name))
            if isinstance(may, Refused):
                return _PROBLEMS[may.check]
            changed = replace(present, factors=(*present.factors, factor))
            try:
                with self._changes.swap(record, changed):
                    self._audit.write(events.MFA_ADD, _fields(person.name, factor, origin))
            except ConflictError:
                continue  # something else of the person was changed meanwhile: judge anew
            return Granted(_view(factor))

    def _take_out(
        self, person: UserRecord, factor_id: str, origin: Origin
    ) -> Granted[FactorView] | Refused | Incomplete:
        while True:
            found = self._changes.unchanged(person)
            if found is None:
                return GONE
            record, present = found
            may = decide_removing(present.factors, factor_id)
            if isinstance(may, Refused):
                return _PROBLEMS.get(may.check, may)
            left = tuple(factor for factor in present.factors if factor.factor_id != factor_id)
            try:
                with self._changes.swap(record, replace(present, factors=left)):
                    self._audit.write(events.MFA_DELETE, _fields(person.name, may.value, origin))
            except ConflictError:
                continue  # perhaps the other one of the last two went meanwhile: judge anew
            return Granted(_view(may.value))

    def _open(self, person: UserRecord, handle: Secret[str]) -> Granted[_SetUp] | Refused:
        try:
            begun = _SetUp.decode(self._vault.open(handle.reveal(), _PURPOSE).reveal())
        except VaultError:
            begun = None
        return decide_set_up(begun, person.name, person.valid_from, self._clock())

    def _show(self, begun: _SetUp, handle: Secret[str]) -> NewFactor:
        uri = codes.provisioning_uri(begun.secret, begun.user, self._cluster)
        return NewFactor(handle, begun.secret, uri, begun.expires)

    def _seal(self, begun: _SetUp) -> str:
        return self._vault.seal(begun.secret.reveal().encode(), FACTOR_PURPOSE)


def _view(factor: SecondFactor) -> FactorView:
    return FactorView(factor.factor_id, factor.name, factor.added)


def _fields(user: UserName, factor: SecondFactor, origin: Origin) -> dict[str, Json]:
    return {
        "user": user,
        "mfa_device_name": factor.name,
        "mfa_device_type": "TOTP",
        "mfa_device_uuid": factor.factor_id,
        "addr.remote": origin.address,
        "via": origin.via,
    }
