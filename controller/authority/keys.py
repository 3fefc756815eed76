"""What the store keeps of an authority: its keys, which of them signs, which are only trusted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, cast, get_args

from controller.authority.error import AuthorityError
from protocol.events import Json

AuthorityKind = Literal["recording", "user", "host", "tls"]
KeyState = Literal["active", "trusted"]

# Shorter RSA keys are not certified (NIST SP 800-57 part 1: 128 bits of strength).
RSA_MIN_BITS = 3072
# The order in which a new cluster's authorities are made; who makes the last has made the cluster. A kind that is
# new in some version stands before that one: where an older cluster gets it, nobody makes the cluster again.
AUTHORITY_KINDS: tuple[AuthorityKind, ...] = get_args(AuthorityKind)


@dataclass(frozen=True, slots=True)
class AuthorityKey:
    """One key of an authority.

    Attributes:
        key_id: names it among the authority's keys; part of what its seal is bound to.
        state: ``active`` signs and is trusted; ``trusted`` is trusted only, before or after its time. Of recording
            keys, new recordings are wrapped to the active one, and every one opens those that were wrapped to it.
        public: an OpenSSH public key, one line; for the TLS authority its certificate in PEM; for a recording key
            the bytes of `protocol.recording.cipher`, base64.
        sealed_private: the private key in PEM, or the recording key's bytes, sealed by the vault.
        created: when it was made, RFC 3339.
        cross: of a TLS authority that took over while keys rotate, its certificate as the other key has signed it, PEM:
            who trusts only that one is led to this one by it, for a while. Empty where there is none.
    """

    key_id: str
    state: KeyState
    public: str
    sealed_private: str
    created: str
    cross: str = ""

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        crossed: dict[str, Json] = {"cross": self.cross} if self.cross else {}
        return {
            "key_id": self.key_id,
            "state": self.state,
            "public": self.public,
            "sealed_private": self.sealed_private,
            "created": self.created,
            **crossed,
        }


def seal_purpose(kind: AuthorityKind, key_id: str) -> str:
    """Return what the private key is sealed for, so that no key can be put in another's place."""
    return f"authority:{kind}:{key_id}"


def first_record(key: AuthorityKey) -> dict[str, Json]:
    """Return the store's value for an authority with one key."""
    return {"keys": [key.to_dict()]}


def rotated_record(keys: Sequence[AuthorityKey], new: AuthorityKey) -> dict[str, Json]:
    """Return the store's value where `new` is the active key and all of `keys` are trusted still."""
    return {"keys": [new.to_dict(), *(replace(key, state="trusted").to_dict() for key in keys)]}


def read_record(kind: AuthorityKind, value: Mapping[str, Json]) -> tuple[AuthorityKey, ...]:
    """Return an authority's keys, the active one first. Raises `AuthorityError` where there is not exactly one."""
    try:
        entries = cast("list[dict[str, str]]", value["keys"])
        keys = tuple(_read_key(entry) for entry in entries)
    except (KeyError, TypeError) as err:
        raise AuthorityError(f"the store's record of the {kind} authority is damaged") from err
    if [key.state for key in keys].count("active") != 1:
        raise AuthorityError(f"the store's record of the {kind} authority is damaged: not one active key")
    return tuple(sorted(keys, key=lambda key: key.state != "active"))


def _read_key(entry: Mapping[str, str]) -> AuthorityKey:
    return AuthorityKey(
        key_id=entry["key_id"],
        state="active" if entry["state"] == "active" else "trusted",
        public=entry["public"],
        sealed_private=entry["sealed_private"],
        created=entry["created"],
        cross=entry.get("cross", ""),
    )


def instant_text(now: datetime) -> str:
    """Return `now` as RFC 3339 text in whole seconds."""
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
