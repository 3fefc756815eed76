"""Join tokens: made by the admin, or fixed in controller.yaml; only their hashes are kept.

A token that is spent or has expired is remembered for a while, so that the audit log can say which it was.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from controller.audit import AuditError, AuditLog
from controller.origin import Origin
from controller.policy import join
from controller.policy.join import UNLIMITED, JoinToken
from controller.store.interface import ConflictError, Record, Store
from protocol import events, limits
from protocol.durations import describe_duration, format_duration
from protocol.events import Json
from protocol.instants import format_instant, parse_instant
from protocol.names import TokenText
from protocol.secret import Secret

# An id is the beginning of the record's key, a hash; and it is shorter than a token may be, so never taken for one.
_ID_SIZE = 12
_ID = re.compile(rf"[0-9a-f]{{{_ID_SIZE}}}")


class TokenError(Exception):
    """What the admin asked for cannot be done; the message says why, in words for the admin."""


class UnknownTokenError(TokenError):
    """There is no such token."""


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token as it was read: `record` is None for a static one, which is never spent.

    Attributes:
        mark: what tells it from every other token, and does not let anybody join.
    """

    token: JoinToken
    record: Record | None
    mark: str


class Tokens:
    """All join tokens. `static` are the ones in controller.yaml: reusable, without end."""

    def __init__(
        self, store: Store, audit: AuditLog, clock: Callable[[], datetime], static: Sequence[Secret[TokenText]] = ()
    ) -> None:
        self._tokens = store.collection("join_tokens")
        self._audit = audit
        self._clock = clock
        self._static = {_key(token.reveal()): hidden(token.reveal()) for token in static}

    def add(  # noqa: PLR0913 - what a token says
        self,
        *,
        ttl: timedelta,
        uses: int,
        labels: Mapping[str, str],
        claimable: tuple[str, ...] | None,
        origin: Origin,
        approve: bool = False,
        ephemeral: timedelta | None = None,
    ) -> tuple[Secret[TokenText], JoinToken]:
        """Make a token and return it: the only time it is shown whole. Raises `TokenError` for a span too long."""
        _require_spans(ttl, ephemeral)
        text = TokenText(secrets.token_hex(16))
        now = self._clock()
        key = _key(text)
        token = JoinToken(
            hidden(text), uses, now + ttl, dict(labels), claimable, approve, ephemeral, token_id=_id_of(key)
        )
        record = self._tokens.create(key, _to_value(token), now=now, expires=_forget_after(token))
        fields: dict[str, Json] = {
            "user": origin.actor,
            "roles": ["Node"],
            "join_method": "token",
            "expires": format_instant(now + ttl),
            "token": token.suffix,
            "labels": dict(labels),
            "uses": uses,
            "via": origin.via,
        }
        fields |= {"approve": True} if approve else {}
        fields |= {} if ephemeral is None else {"ephemeral": format_duration(ephemeral)}
        try:
            self._audit.write(events.JOIN_TOKEN_CREATE, fields)
        except AuditError:
            self._tokens.delete(record.key, now=self._clock())  # nobody was told of it yet
            raise
        return Secret(text), token

    def list(self) -> Sequence[JoinToken]:
        """Return all tokens that are still good for a join, soonest to expire first, static ones last."""
        now = self._clock()
        kept = [_from_record(record) for record in self._tokens.list(now=now)]
        kept = [token for token in kept if join.is_good(token, now)]
        kept.sort(key=lambda token: token.expires or now)
        return kept + [_static(key, suffix) for key, suffix in self._static.items()]

    def remove(self, text: str, origin: Origin) -> str:
        """Remove a token, named whole, by its id or as the listing shows it, and return how it is shown.

        Raises:
            TokenError: none has that name, or several are shown so.
        """
        shown = text if _is_hidden(text) or _ID.fullmatch(text) else hidden(text)
        if any(_is_called(text, key, suffix) for key, suffix in self._static.items()):
            raise TokenError(
                f"token {shown} stands in controller.yaml (auth_service.tokens): take it out there, restart"
            )
        found = [
            record
            for record in self._tokens.list(now=self._clock())
            if _is_called(text, record.key, str(record.value["suffix"]))
        ]
        if not found:
            raise UnknownTokenError(f"token {shown} is not known (`tctl tokens ls` lists them)")
        if len(found) > 1:
            raise TokenError(f"token {shown} names several tokens: give the ID of one (`tctl tokens ls` lists them)")
        suffix = str(found[0].value["suffix"])
        # The event comes first: what is gone could not be put back.
        self._audit.write(events.JOIN_TOKEN_DELETE, {"user": origin.actor, "token": suffix, "via": origin.via})
        self._tokens.delete(found[0].key, now=self._clock())
        return suffix

    def find(self, text: TokenText) -> FoundToken | None:
        """Return the token `text`, or None."""
        return self.marked(_key(text))

    def marked(self, mark: str) -> FoundToken | None:
        """Return the token with that mark (`mark_of`), spent or not, or None."""
        if mark in self._static:
            return FoundToken(_static(mark, self._static[mark]), None, mark)
        record = self._tokens.get(mark, now=self._clock())
        return None if record is None else FoundToken(_from_record(record), record, mark)

    def spend(self, found: FoundToken, mark: str = "") -> bool:
        """Take one use from a token for the host key with that mark.

        False where another join changed it meanwhile: read it anew and judge again.
        """
        if found.record is None:
            return True
        left = join.spend(found.token, mark)
        now = self._clock()
        try:
            self._tokens.replace(found.record, _to_value(left), now=now, expires=_forget_after(left))
        except ConflictError:
            return False
        return True


def _require_spans(ttl: timedelta, ephemeral: timedelta | None) -> None:
    if ttl > limits.JOIN_TOKEN_TTL_MAX:
        raise TokenError(f"a token may live {format_duration(limits.JOIN_TOKEN_TTL_MAX)} at most")
    if ephemeral is not None and not limits.EPHEMERAL_MIN <= ephemeral <= limits.EPHEMERAL_MAX:
        least, most = describe_duration(limits.EPHEMERAL_MIN), describe_duration(limits.EPHEMERAL_MAX)
        said = describe_duration(ephemeral)
        raise TokenError(f"ephemeral nodes are removed after {least} to {most} offline, not after {said}")


def _forget_after(token: JoinToken) -> datetime | None:
    return None if token.expires is None else token.expires + limits.JOIN_TOKEN_MEMORY


def hidden(text: str) -> str:
    """Return how a token is shown: its last four characters."""
    return "****" + text[-4:]


def mark_of(text: str) -> str:
    """Return what tells a token from every other, and does not let anybody join: `FoundToken.mark`."""
    return _key(text)


def _is_called(text: str, key: str, suffix: str) -> bool:
    return text == suffix if _is_hidden(text) else text == _id_of(key) or _key(text) == key


def _id_of(key: str) -> str:
    return key[:_ID_SIZE]


def _is_hidden(text: str) -> bool:
    return text.startswith("****")


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _to_value(token: JoinToken) -> dict[str, Json]:
    return {
        "suffix": token.suffix,
        "uses_left": token.uses_left,
        "expires": None if token.expires is None else format_instant(token.expires),
        "labels": dict(token.labels),
        "claimable": None if token.claimable is None else list(token.claimable),
        "approve": token.approve,
        "ephemeral": None if token.ephemeral is None else int(token.ephemeral.total_seconds()),
        "spent_by": token.spent_by,
    }


def _static(key: str, suffix: str) -> JoinToken:
    return JoinToken(suffix, UNLIMITED, None, token_id=_id_of(key))


def _from_record(record: Record) -> JoinToken:
    fields = cast("Mapping[str, Any]", record.value)
    ephemeral = fields.get("ephemeral")
    return JoinToken(
        suffix=fields["suffix"],
        uses_left=fields["uses_left"],
        expires=None if fields["expires"] is None else parse_instant(fields["expires"]),
        labels=fields["labels"],
        claimable=None if fields["claimable"] is None else tuple(fields["claimable"]),
        approve=fields.get("approve", False),
        ephemeral=None if ephemeral is None else timedelta(seconds=ephemeral),
        spent_by=fields.get("spent_by", ""),
        token_id=_id_of(record.key),
    )
