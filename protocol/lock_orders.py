"""What is said about locks over HTTPS, beside the lock itself (`protocol.locks`)."""

from __future__ import annotations

from dataclasses import dataclass

from protocol import limits
from protocol.events import Json
from protocol.fields import Fields, MessageError, list_of, whole
from protocol.locks import Lock, LockKind, parse_kind, parse_message, parse_value

# Ten years: what is to hold longer may as well hold for ever.
TTL_SECONDS_MAX = 10 * 366 * 86400


@dataclass(frozen=True, slots=True)
class NewLock:
    """A lock that is to be put on.

    Attributes:
        value: the user's name, the login, or the node's id.
        message: why, for those who are locked out.
        ttl: for how many seconds; None for until it is removed.
    """

    kind: LockKind
    value: str
    message: str = ""
    ttl: int | None = None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"kind": self.kind, "value": self.value, "message": self.message, "ttl_seconds": self.ttl}

    @classmethod
    def from_dict(cls, data: object) -> NewLock:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        kind = fields.take("kind", parse_kind)
        return cls(
            kind=kind,
            value=fields.take("value", lambda value: parse_value(kind, value)),
            message=fields.get("message", parse_message, ""),
            ttl=fields.get("ttl_seconds", _seconds, None),
        )


@dataclass(frozen=True, slots=True)
class LockList:
    """The locks in force, the oldest first: there are never more than `limits.LOCKS_MAX`."""

    locks: tuple[Lock, ...]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"locks": [lock.to_dict() for lock in self.locks]}

    @classmethod
    def from_dict(cls, data: object) -> LockList:
        """Read the JSON object. Raises `MessageError`."""
        found = Fields(data).take("locks", list_of(Lock.from_dict))
        if len(found) > limits.LOCKS_MAX:
            raise MessageError(f"locks: more than {limits.LOCKS_MAX}")
        return cls(found)


def _seconds(value: object) -> int:
    found = whole(value)
    if not 0 < found <= TTL_SECONDS_MAX:
        raise MessageError(f"not from 1 to {TTL_SECONDS_MAX} seconds")
    return found
