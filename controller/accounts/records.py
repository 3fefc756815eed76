"""What the store keeps of people: one dataclass each, with its form as a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from controller.policy.login import Attempts
from controller.store.interface import Value
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.names import Login, RoleName, UserName

# What the secrets of authenticator apps are sealed for.
FACTOR_PURPOSE = "totp"
# When each person last signed in.
LAST_SIGN_INS = "last_sign_ins"
InviteKind = Literal["invite", "reset"]
SessionKind = Literal["web", "tsh"]


def _fields(value: Value) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value)


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """One authenticator app. `sealed_secret` is the base32 secret, sealed by the vault."""

    factor_id: str
    name: str
    sealed_secret: str
    added: datetime

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "factor_id": self.factor_id,
            "name": self.name,
            "sealed_secret": self.sealed_secret,
            "added": format_instant(self.added),
        }

    @classmethod
    def from_value(cls, value: Value) -> SecondFactor:
        """Read the JSON object."""
        fields = _fields(value)
        return cls(fields["factor_id"], fields["name"], fields["sealed_secret"], parse_instant(fields["added"]))


@dataclass(frozen=True, slots=True)
class UserRecord:
    """One person.

    Attributes:
        password_hash: argon2id, PHC string; None until the invite is completed.
        invite: the key of the one link that is open for the user; None where there is none. Every other is spent.
        valid_from: certificates and sessions from before it are void: a name that is removed and made
            anew, or a password that is reset, does not bring the old ones back.
    """

    name: UserName
    logins: tuple[Login, ...]
    roles: tuple[RoleName, ...]
    created: datetime
    valid_from: datetime
    password_hash: str | None = None
    factors: tuple[SecondFactor, ...] = ()
    invite: str | None = None

    @property
    def user(self) -> UserName:
        """The name, as access rules call it."""
        return self.name

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "name": self.name,
            "logins": list(self.logins),
            "roles": list(self.roles),
            "created": format_instant(self.created),
            "valid_from": format_instant(self.valid_from),
            "password_hash": self.password_hash,
            "factors": [factor.to_value() for factor in self.factors],
            "invite": self.invite,
        }

    @classmethod
    def from_value(cls, value: Value) -> UserRecord:
        """Read the JSON object."""
        fields = _fields(value)
        return cls(
            name=fields["name"],
            logins=tuple(fields["logins"]),
            roles=tuple(fields["roles"]),
            created=parse_instant(fields["created"]),
            valid_from=parse_instant(fields["valid_from"]),
            password_hash=fields["password_hash"],
            factors=tuple(SecondFactor.from_value(factor) for factor in fields["factors"]),
            invite=fields["invite"],
        )


@dataclass(frozen=True, slots=True)
class InviteRecord:
    """A link for setting password and second factor. `sealed_secret` is the secret its page shows."""

    user: UserName
    kind: InviteKind
    sealed_secret: str

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"user": self.user, "kind": self.kind, "sealed_secret": self.sealed_secret}

    @classmethod
    def from_value(cls, value: Value) -> InviteRecord:
        """Read the JSON object."""
        fields = _fields(value)
        return cls(fields["user"], fields["kind"], fields["sealed_secret"])


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One sign-in, of a browser or of tsh.

    Attributes:
        valid_from: the user's, when the sign-in was judged: the session is void once the user has another.
        seen: the last use; it moves on in steps, for the idle limit of browsers.
        address: where it was begun from, ``HOST:PORT``; empty where that is not known.
        client: what the browser or program said it is.
    """

    user: UserName
    kind: SessionKind
    sealed_csrf: str
    valid_from: datetime
    created: datetime
    seen: datetime
    address: str = ""
    client: str = ""

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "user": self.user,
            "kind": self.kind,
            "sealed_csrf": self.sealed_csrf,
            "valid_from": format_instant(self.valid_from),
            "created": format_instant(self.created),
            "seen": format_instant(self.seen),
            "address": self.address,
            "client": self.client,
        }

    @classmethod
    def from_value(cls, value: Value) -> SessionRecord:
        """Read the JSON object."""
        fields = _fields(value)
        return cls(
            fields["user"],
            fields["kind"],
            fields["sealed_csrf"],
            parse_instant(fields["valid_from"]),
            parse_instant(fields["created"]),
            parse_instant(fields["seen"]),
            fields.get("address", ""),
            fields.get("client", ""),
        )


def attempts_to_value(attempts: Attempts) -> dict[str, Json]:
    """Return a count of sign-in tries as a JSON object."""
    until = attempts.locked_until
    return {"failures": attempts.failures, "locked_until": None if until is None else format_instant(until)}


def attempts_from_value(value: Value | None) -> Attempts:
    """Read a count of sign-in tries; no record is a count of none."""
    if value is None:
        return Attempts()
    fields = _fields(value)
    until = fields["locked_until"]
    return Attempts(fields["failures"], None if until is None else parse_instant(until))
