"""Challenges for nodes that renew: nothing is kept of one until it is spent, so that asking for many costs nothing."""

from __future__ import annotations

import binascii
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime

from controller.authority.vault import Vault
from controller.store.interface import AlreadyExistsError, Store
from protocol import limits
from protocol.instants import from_milliseconds, to_milliseconds
from protocol.names import NodeId
from protocol.renewals import Challenge

COLLECTION = "spent_challenges"
_PURPOSE = "renewal challenge"
_TIME_BYTES = 8
_NONCE_BYTES = 16
_TAG_BYTES = 32


class Challenges:
    """Makes challenges, knows them again, and takes each once: in whatever process."""

    def __init__(self, store: Store, vault: Vault, clock: Callable[[], datetime]) -> None:
        self._spent = store.collection(COLLECTION)
        self._vault = vault
        self._clock = clock

    def make(self, node_id: NodeId) -> Challenge:
        """Return a fresh challenge for a node, whether there is such a node or not."""
        now = to_milliseconds(self._clock())
        head = now.to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_NONCE_BYTES)
        return Challenge(urlsafe_b64encode(head + self._tag(head, node_id)).decode(), now)

    def is_ours(self, text: str, node_id: NodeId) -> bool:
        """Tell whether `text` is a challenge for that node, made here no longer than `limits.CHALLENGE_TTL` ago."""
        read = _read(text)
        if read is None:
            return False
        head, tag = read
        if not hmac.compare_digest(tag, self._tag(head, node_id)):
            return False
        age = self._clock() - _made(head)
        return -limits.CLOCK_LEEWAY <= age < limits.CHALLENGE_TTL

    def spend(self, text: str) -> bool:
        """Take a challenge that is ours; False where it was taken before. Raises `StoreError`."""
        read = _read(text)
        if read is None:
            return False
        head, _ = read
        try:
            self._spent.create(head.hex(), {}, now=self._clock(), expires=_made(head) + limits.CHALLENGE_MEMORY)
        except AlreadyExistsError:
            return False
        return True

    def _tag(self, head: bytes, node_id: NodeId) -> bytes:
        return self._vault.mac(head + node_id.encode(), _PURPOSE)


def _made(head: bytes) -> datetime:
    return from_milliseconds(int.from_bytes(head[:_TIME_BYTES], "big"))


def _read(text: str) -> tuple[bytes, bytes] | None:
    """Return what is authenticated, and the tag over it."""
    try:
        data = urlsafe_b64decode(text.encode("ascii"))
    except (ValueError, binascii.Error):
        return None
    head = _TIME_BYTES + _NONCE_BYTES
    return (data[:head], data[head:]) if len(data) == head + _TAG_BYTES else None
