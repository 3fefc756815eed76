"""What is said about join tokens over HTTPS. Instants are milliseconds since 1970, spans are seconds.

As in `protocol.messages`: frozen dataclasses, `to_dict` and `from_dict`, which raises `MessageError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol import limits, names
from protocol.events import Json
from protocol.fields import Fields, MessageError, flag, list_of, text, whole
from protocol.names import TokenText
from protocol.secret import Secret

USES_MAX = 1_000_000
TTL_SECONDS = int(limits.JOIN_TOKEN_TTL.total_seconds())
TTL_SECONDS_MAX = int(limits.JOIN_TOKEN_TTL_MAX.total_seconds())
EPHEMERAL_SECONDS_MIN = int(limits.EPHEMERAL_MIN.total_seconds())
EPHEMERAL_SECONDS_MAX = int(limits.EPHEMERAL_MAX.total_seconds())


def _bounded(value: object, least: int, most: int) -> int:
    found = whole(value)
    if not least <= found <= most:
        raise MessageError(f"not a whole number from {least} to {most}")
    return found


def _claimable(value: object) -> tuple[str, ...]:
    found = list_of(lambda name: names.parse_label(name, "")[0])(value)
    if len(found) > limits.LABELS_MAX or len(set(found)) != len(found):
        raise MessageError(f"not a list of at most {limits.LABELS_MAX} names of labels, each once")
    return found


@dataclass(frozen=True, slots=True)
class NewJoinToken:
    """A join token that is to be made.

    Attributes:
        uses: how many devices may join with it; None for any number.
        ttl: for how long.
        labels: what every device gets that joins with it.
        claimable: which labels the device may set itself; None for any that `labels` does not fix.
        approve: whether each device waits until an admin lets it in.
        ephemeral: after so long offline its devices are removed; None for never.
    """

    uses: int | None = 1
    ttl: int = TTL_SECONDS
    labels: Mapping[str, str] = field(default_factory=dict)
    claimable: tuple[str, ...] | None = None
    approve: bool = False
    ephemeral: int | None = None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "uses": "unlimited" if self.uses is None else self.uses,
            "ttl_seconds": self.ttl,
            "labels": dict(self.labels),
            "claimable": None if self.claimable is None else list(self.claimable),
            "approve": self.approve,
            "ephemeral_seconds": self.ephemeral,
        }

    @classmethod
    def from_dict(cls, data: object) -> NewJoinToken:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        one: int | None = 1
        return cls(
            uses=fields.get("uses", _uses, one),
            ttl=fields.get("ttl_seconds", lambda value: _bounded(value, 1, TTL_SECONDS_MAX), TTL_SECONDS),
            labels=fields.get("labels", names.parse_labels, {}),
            claimable=fields.get("claimable", _claimable, None),
            approve=fields.get("approve", flag, default=False),
            ephemeral=fields.get(
                "ephemeral_seconds",
                lambda value: _bounded(value, EPHEMERAL_SECONDS_MIN, EPHEMERAL_SECONDS_MAX),
                None,
            ),
        )


@dataclass(frozen=True, slots=True)
class JoinTokenEntry:
    """One join token in a listing.

    Attributes:
        token_id: what names it, where others end in the same four characters too.
        token: its last four characters, all that is shown of it, such as ``****1a2b``.
        uses: how many may join still; None for any number.
        expires: the first instant at which it is good for none; None for never.
    """

    token_id: str
    token: str
    uses: int | None
    expires: int | None
    labels: Mapping[str, str]
    claimable: tuple[str, ...] | None
    approve: bool
    ephemeral: int | None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "id": self.token_id,
            "token": self.token,
            "uses": self.uses,
            "expires": self.expires,
            "labels": dict(self.labels),
            "claimable": None if self.claimable is None else list(self.claimable),
            "approve": self.approve,
            "ephemeral_seconds": self.ephemeral,
        }

    @classmethod
    def from_dict(cls, data: object) -> JoinTokenEntry:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            token_id=fields.take("id", text),
            token=fields.take("token", text),
            uses=fields.get("uses", whole, None),
            expires=fields.get("expires", whole, None),
            labels=fields.take("labels", names.parse_labels),
            claimable=fields.get("claimable", _claimable, None),
            approve=fields.take("approve", flag),
            ephemeral=fields.get("ephemeral_seconds", whole, None),
        )


@dataclass(frozen=True, slots=True)
class JoinTokenList:
    """A page of join tokens, soonest to expire first; `next` is the cursor of the one after it."""

    tokens: tuple[JoinTokenEntry, ...]
    next: str | None = None

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"tokens": [token.to_dict() for token in self.tokens], "next": self.next}

    @classmethod
    def from_dict(cls, data: object) -> JoinTokenList:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(fields.take("tokens", list_of(JoinTokenEntry.from_dict)), fields.get("next", text, None))


@dataclass(frozen=True, slots=True)
class MadeJoinToken:
    """A join token that was made: it is shown whole this once.

    Attributes:
        entry: how it is listed.
        controller: ``HOST:PORT`` to give to the device.
        ca_pins: how the device knows the controller.
        install: the line that installs the agent on a device and joins it, the token included.
    """

    text: Secret[TokenText]
    entry: JoinTokenEntry
    controller: str
    ca_pins: tuple[str, ...]
    install: Secret[str]

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, the token included: for the wire alone."""
        whole_token: dict[str, Json] = {"token": self.text.reveal(), "shown_as": self.entry.token}
        way_in: dict[str, Json] = {"controller": self.controller, "ca_pins": list(self.ca_pins)}
        return self.entry.to_dict() | whole_token | way_in | {"install": self.install.reveal()}

    @classmethod
    def from_dict(cls, data: object) -> MadeJoinToken:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        shown = fields.take("shown_as", text)
        return cls(
            text=Secret(fields.take("token", names.parse_token)),
            entry=JoinTokenEntry.from_dict({**dict(_object(data)), "token": shown}),
            controller=fields.take("controller", text),
            ca_pins=fields.take("ca_pins", list_of(text)),
            install=Secret(fields.take("install", text)),
        )


def _object(data: object) -> Mapping[str, object]:
    return data if isinstance(data, dict) else {}


def _uses(value: object) -> int | None:
    return None if value == "unlimited" else _bounded(value, 1, USES_MAX)
