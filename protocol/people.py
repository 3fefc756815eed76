"""What is said about people over HTTPS: users, for who administers them; one's own account, for everybody.

As in `protocol.messages`: frozen dataclasses, `to_dict` and `from_dict`, which raises `MessageError` and passes over
what it does not know. Instants are milliseconds since 1970, spans are seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from protocol import limits, names
from protocol.access import PRESET_ROLES
from protocol.events import Json
from protocol.fields import Fields, MessageError, flag, list_of, text, whole
from protocol.names import Login, RoleName, UserName
from protocol.secret import Secret

# invited: the link to set a password is open; active: may sign in; locked: failed sign-ins, or a lock, keep them out.
UserStatus = Literal["invited", "active", "locked"]
LOGINS_MAX = 64


def _seconds(most: int, least: int = 1) -> Callable[[object], int]:
    def parse(value: object) -> int:
        found = whole(value)
        if not least <= found <= most:
            raise MessageError(f"not from {least} to {most} seconds")
        return found

    return parse


INVITE_SECONDS = int(limits.INVITE_TTL.total_seconds())
INVITE_SECONDS_MAX = int(limits.INVITE_TTL_MAX.total_seconds())
RESET_SECONDS = int(limits.RESET_TTL.total_seconds())
RESET_SECONDS_MAX = int(limits.RESET_TTL_MAX.total_seconds())


def _role(value: object) -> RoleName:
    name = names.parse_role_name(value)
    if name not in PRESET_ROLES:
        raise MessageError(f"there is no role {name!r} (there are: {', '.join(PRESET_ROLES)})")
    return name


def _roles(value: object) -> tuple[RoleName, ...]:
    found = list_of(_role)(value)
    if not found or len(set(found)) != len(found):
        raise MessageError("not a list of at least one role, each once")
    return found


def _logins(value: object) -> tuple[Login, ...]:
    found = list_of(names.parse_login)(value)
    if len(found) > LOGINS_MAX or len(set(found)) != len(found):
        raise MessageError(f"not a list of at most {LOGINS_MAX} logins, each once")
    return found


def _status(value: object) -> UserStatus:
    for status in get_args(UserStatus):
        if value == status:
            return status  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError("not a user's status")


def _cursor(fields: Fields) -> str | None:
    return fields.get("next", text, None)


@dataclass(frozen=True, slots=True)
class UserEntry:
    """One person, as who administers sees them.

    Attributes:
        locked_until: until when failed sign-ins keep the password locked; None where they do not.
        lock: the id of a lock in force on the person; None where there is none.
        factors: how many second factors they have.
    """

    name: UserName
    roles: tuple[RoleName, ...]
    logins: tuple[Login, ...]
    status: UserStatus
    locked_until: int | None
    lock: str | None
    factors: int
    created: int

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "name": self.name,
            "roles": list(self.roles),
            "logins": list(self.logins),
            "status": self.status,
            "locked_until": self.locked_until,
            "lock": self.lock,
            "factors": self.factors,
            "created": self.created,
        }

    @classmethod
    def from_dict(cls, data: object) -> UserEntry:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            name=fields.take("name", names.parse_user_name),
            roles=fields.take("roles", list_of(names.parse_role_name)),
            logins=fields.take("logins", list_of(names.parse_login)),
            status=fields.take("status", _status),
            locked_until=fields.get("locked_until", whole, None),
            lock=fields.get("lock", text, None),
            factors=fields.take("factors", whole),
            created=fields.take("created", whole),
        )


@dataclass(frozen=True, slots=True)
class UserList:
    """A page of users, by name; `next` is the cursor of the one after it."""

    users: tuple[UserEntry, ...]
    next: str | None = None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"users": [user.to_dict() for user in self.users], "next": self.next}

    @classmethod
    def from_dict(cls, data: object) -> UserList:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.take("users", list_of(UserEntry.from_dict)), _cursor(fields))


@dataclass(frozen=True, slots=True)
class NewUser:
    """Somebody who is to be invited; `ttl` is how long the link to set a password is good."""

    name: UserName
    logins: tuple[Login, ...] = ()
    roles: tuple[RoleName, ...] = (RoleName("access"),)
    ttl: int = INVITE_SECONDS

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"name": self.name, "logins": list(self.logins), "roles": list(self.roles), "ttl_seconds": self.ttl}

    @classmethod
    def from_dict(cls, data: object) -> NewUser:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            name=fields.take("name", names.parse_user_name),
            logins=fields.get("logins", _logins, ()),
            roles=fields.get("roles", _roles, (RoleName("access"),)),
            ttl=fields.get("ttl_seconds", _seconds(INVITE_SECONDS_MAX), INVITE_SECONDS),
        )


@dataclass(frozen=True, slots=True)
class UserChange:
    """What is to be different about a user; None stays as it is."""

    roles: tuple[RoleName, ...] | None = None
    logins: tuple[Login, ...] | None = None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        found: dict[str, Json] = {} if self.roles is None else {"roles": list(self.roles)}
        return found | ({} if self.logins is None else {"logins": list(self.logins)})

    @classmethod
    def from_dict(cls, data: object) -> UserChange:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.get("roles", _roles, None), fields.get("logins", _logins, None))


@dataclass(frozen=True, slots=True)
class NewReset:
    """How long the link to set a new password is to be good."""

    ttl: int = RESET_SECONDS

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"ttl_seconds": self.ttl}

    @classmethod
    def from_dict(cls, data: object) -> NewReset:
        """Read the JSON object. Raises `MessageError`."""
        return cls(Fields(data).get("ttl_seconds", _seconds(RESET_SECONDS_MAX), RESET_SECONDS))


@dataclass(frozen=True, slots=True)
class UserLink:
    """The link with which a person sets password and second factor: it is shown this once."""

    name: UserName
    url: Secret[str]
    expires: int

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, the link included: for the wire alone."""
        return {"name": self.name, "url": self.url.reveal(), "expires": self.expires}

    @classmethod
    def from_dict(cls, data: object) -> UserLink:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            fields.take("name", names.parse_user_name), Secret(fields.take("url", text)), fields.take("expires", whole)
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """Who one is.

    Attributes:
        signed_in: since when this sign-in is in force; `expires`: when it ends.
    """

    user: UserName
    roles: tuple[RoleName, ...]
    logins: tuple[Login, ...]
    created: int
    sees_audit: bool
    administers: bool
    signed_in: int
    expires: int

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "user": self.user,
            "roles": list(self.roles),
            "logins": list(self.logins),
            "created": self.created,
            "sees_audit": self.sees_audit,
            "administers": self.administers,
            "signed_in": self.signed_in,
            "expires": self.expires,
        }

    @classmethod
    def from_dict(cls, data: object) -> Profile:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            user=fields.take("user", names.parse_user_name),
            roles=fields.take("roles", list_of(names.parse_role_name)),
            logins=fields.take("logins", list_of(names.parse_login)),
            created=fields.take("created", whole),
            sees_audit=fields.take("sees_audit", flag),
            administers=fields.take("administers", flag),
            signed_in=fields.take("signed_in", whole),
            expires=fields.take("expires", whole),
        )


@dataclass(frozen=True, slots=True)
class PasswordChange:
    """A new password, and what proves that it is oneself who sets it."""

    old: Secret[str]
    new: Secret[str]
    otp: Secret[str]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, secrets included: for the wire alone."""
        return {"old": self.old.reveal(), "new": self.new.reveal(), "otp": self.otp.reveal()}

    @classmethod
    def from_dict(cls, data: object) -> PasswordChange:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(*(Secret(fields.take(name, text)) for name in ("old", "new", "otp")))


@dataclass(frozen=True, slots=True)
class FactorEntry:
    """One second factor: an authenticator app."""

    factor_id: str
    name: str
    added: int

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"id": self.factor_id, "name": self.name, "type": "totp", "added": self.added}

    @classmethod
    def from_dict(cls, data: object) -> FactorEntry:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.take("id", text), fields.take("name", text), fields.take("added", whole))


@dataclass(frozen=True, slots=True)
class FactorList:
    """One's own second factors, the oldest first."""

    factors: tuple[FactorEntry, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"factors": [factor.to_dict() for factor in self.factors]}

    @classmethod
    def from_dict(cls, data: object) -> FactorList:
        """Read the JSON object. Raises `MessageError`."""
        return cls(Fields(data).take("factors", list_of(FactorEntry.from_dict)))


@dataclass(frozen=True, slots=True)
class FactorOffer:
    """What an authenticator app is to be given: the secret, base32, and the same as an ``otpauth`` address.

    Attributes:
        handle: names the offer when the app is added.
    """

    handle: Secret[str]
    secret: Secret[str]
    uri: Secret[str]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, secrets included: for the wire alone."""
        return {"handle": self.handle.reveal(), "secret": self.secret.reveal(), "uri": self.uri.reveal()}

    @classmethod
    def from_dict(cls, data: object) -> FactorOffer:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(*(Secret(fields.take(name, text)) for name in ("handle", "secret", "uri")))


@dataclass(frozen=True, slots=True)
class NewFactor:
    """An authenticator app that was given an offer.

    Attributes:
        name: what to call it.
        otp: a code of its.
        approval: a code of an app that is there already.
    """

    handle: Secret[str]
    name: str
    otp: Secret[str]
    approval: Secret[str] = Secret("")  # noqa: RUF009 - it never changes

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, secrets included: for the wire alone."""
        return {
            "handle": self.handle.reveal(),
            "name": self.name,
            "otp": self.otp.reveal(),
            "approval": self.approval.reveal(),
        }

    @classmethod
    def from_dict(cls, data: object) -> NewFactor:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            handle=Secret(fields.take("handle", text)),
            name=fields.take("name", names.parse_factor_name),
            otp=Secret(fields.take("otp", text)),
            approval=Secret(fields.take("approval", text)),
        )


@dataclass(frozen=True, slots=True)
class OneTimeCode:
    """A code of one of one's authenticator apps."""

    otp: Secret[str]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, the code included: for the wire alone."""
        return {"otp": self.otp.reveal()}

    @classmethod
    def from_dict(cls, data: object) -> OneTimeCode:
        """Read the JSON object. Raises `MessageError`."""
        return cls(Secret(Fields(data).take("otp", text)))


@dataclass(frozen=True, slots=True)
class SignInEntry:
    """One of one's own sign-ins.

    Attributes:
        kind: ``web`` or ``tsh``.
        remote: where it came from, ``HOST:PORT``; empty where that was not noted.
        client: what the program or browser said of itself.
        is_current: whether it is the one that asks.
    """

    sign_in_id: str
    kind: str
    since: int
    used: int
    expires: int
    remote: str
    client: str
    is_current: bool

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "id": self.sign_in_id,
            "kind": self.kind,
            "since": self.since,
            "used": self.used,
            "expires": self.expires,
            "remote": self.remote,
            "client": self.client,
            "is_current": self.is_current,
        }

    @classmethod
    def from_dict(cls, data: object) -> SignInEntry:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            sign_in_id=fields.take("id", text),
            kind=fields.take("kind", text),
            since=fields.take("since", whole),
            used=fields.take("used", whole),
            expires=fields.take("expires", whole),
            remote=fields.get("remote", text, ""),
            client=fields.get("client", text, ""),
            is_current=fields.take("is_current", flag),
        )


@dataclass(frozen=True, slots=True)
class SignInList:
    """One's own sign-ins, the newest first."""

    sign_ins: tuple[SignInEntry, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"sign_ins": [each.to_dict() for each in self.sign_ins]}

    @classmethod
    def from_dict(cls, data: object) -> SignInList:
        """Read the JSON object. Raises `MessageError`."""
        return cls(Fields(data).take("sign_ins", list_of(SignInEntry.from_dict)))
