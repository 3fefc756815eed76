"""Locks: who and what is kept out, whatever certificates say. Judged alike at the web door, the proxy and the node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from protocol import limits, names
from protocol.events import Json
from protocol.fields import Fields, MessageError, text, whole
from protocol.instants import from_milliseconds, to_milliseconds

LockKind = Literal["user", "login", "node"]
# strict: nobody works on a node whose view of locks is stale; best_effort: the last one known goes on to hold.
LockingMode = Literal["strict", "best_effort"]


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock.

    Attributes:
        lock_id: a UUID.
        value: the user's name, the login, or the node's id.
        message: why, in the admin's words; may be empty. People who are locked out read it.
        expires: the first instant at which it holds no more; None for never.
        created_by: who made it, for listings; not told to nodes.
    """

    lock_id: str
    kind: LockKind
    value: str
    message: str
    expires: datetime | None
    created: datetime
    created_by: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "id": self.lock_id,
            "kind": self.kind,
            "value": self.value,
            "message": self.message,
            "expires": None if self.expires is None else to_milliseconds(self.expires),
            "created": to_milliseconds(self.created),
            "created_by": self.created_by,
        }

    @classmethod
    def from_dict(cls, data: object) -> Lock:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        kind = fields.take("kind", parse_kind)
        return cls(
            lock_id=fields.take("id", names.parse_session_id),
            kind=kind,
            value=fields.take("value", lambda value: parse_value(kind, value)),
            message=fields.get("message", parse_message, ""),
            expires=fields.get("expires", _instant, None),
            created=fields.take("created", _instant),
            created_by=fields.get("created_by", text, ""),
        )


def parse_kind(value: object) -> LockKind:
    """Return what a lock is aimed at. Raises `MessageError`."""
    for kind in get_args(LockKind):
        if value == kind:
            return kind  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError("neither user, login nor node")


def parse_value(kind: LockKind, value: object) -> str:
    """Return the name of what is locked. Raises `BadNameError`."""
    if kind == "user":
        return names.parse_user_name(value)
    return names.parse_login(value) if kind == "login" else names.parse_node_id(value)


def parse_message(value: object) -> str:
    """Return a lock's message: one line of printable text. Raises `MessageError`."""
    found = text(value).strip()
    if len(found) > limits.LOCK_MESSAGE_MAX_CHARS or not found.isprintable():
        raise MessageError(f"not one line of at most {limits.LOCK_MESSAGE_MAX_CHARS} printable characters")
    return found


def parse_locking_mode(value: object) -> LockingMode:
    """Return what to do where the view of locks is stale. Raises `MessageError`."""
    for mode in get_args(LockingMode):
        if value == mode:
            return mode  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError("neither strict nor best_effort")


def _instant(value: object) -> datetime:
    try:
        return from_milliseconds(whole(value))
    except OverflowError:
        raise MessageError("beyond the calendar's end") from None


def is_in_force(lock: Lock, now: datetime) -> bool:
    """Tell whether `lock` holds at `now`."""
    return lock.expires is None or now < lock.expires


def find_lock(
    locks: Iterable[Lock], now: datetime, *, user: str | None = None, login: str | None = None, node: str | None = None
) -> Lock | None:
    """Return a lock in force on any of these; None where there is none. What is None is not asked about."""
    wanted: dict[LockKind, str | None] = {"user": user, "login": login, "node": node}
    for lock in locks:
        value = wanted[lock.kind]
        if value is not None and lock.value == value and is_in_force(lock, now):
            return lock
    return None


def describe_lock(lock: Lock) -> str:
    """Return what somebody who is locked out is told: ``lock targeting User:"x" is in force: M``."""
    said = f'lock targeting {lock.kind.capitalize()}:"{lock.value}" is in force'
    return f"{said}: {lock.message}" if lock.message else said
