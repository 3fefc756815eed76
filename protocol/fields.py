"""How a body from a peer is read: field by field, each by a reader that answers or raises `MessageError`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from protocol.addresses import split_address
from protocol.events import Json

T = TypeVar("T")
_TEXT_MAX = 16 * 1024


class MessageError(ValueError):
    """A body is not the message that was expected. Its message is safe to show."""


class Fields:
    """Reads one JSON object field by field."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, dict):
            message = "the body is not a JSON object"
            raise MessageError(message)
        self._data = cast("dict[str, object]", data)

    def take(self, name: str, parse: Callable[[Any], T]) -> T:
        """Return field `name` as `parse` reads it."""
        if name not in self._data:
            message = f"{name}: missing"
            raise MessageError(message)
        try:
            return parse(self._data[name])
        except ValueError as err:
            message = f"{name}: {err}"
            raise MessageError(message) from None

    def get(self, name: str, parse: Callable[[Any], T], default: T) -> T:
        """Return field `name` as `parse` reads it, or `default` where it is absent or null."""
        return default if self._data.get(name) is None else self.take(name, parse)


def text(value: object) -> str:
    """Read a text of bounded length that is Unicode. Raises `MessageError`."""
    # Half a surrogate pair is text to JSON and to Python, but can be neither sent, signed nor shown.
    if not isinstance(value, str) or len(value) > _TEXT_MAX or not is_unicode(value):
        message = f"not a text of at most {_TEXT_MAX} characters"
        raise MessageError(message)
    return value


def address(value: object) -> str:
    """Return an address that `protocol.addresses.split_address` reads; the host may be empty."""
    found = text(value)
    split_address(found)
    return found


def is_unicode(value: str) -> bool:
    """Tell whether a text can be encoded: half a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def whole(value: object) -> int:
    """Read a whole number from 0 up, below 2 to the 63rd. Raises `MessageError`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        message = "not a whole number from 0 up"
        raise MessageError(message)
    return value


def flag(value: object) -> bool:
    """Read true or false. Raises `MessageError`."""
    if not isinstance(value, bool):
        message = "not true or false"
        raise MessageError(message)
    return value


def mapping(value: object) -> Mapping[str, Json]:
    """Read an object. Raises `MessageError`."""
    if not isinstance(value, dict):
        message = "not an object"
        raise MessageError(message)
    return cast("Mapping[str, Json]", value)


def list_of(parse: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    """Return a reader of lists whose items `parse` reads."""

    def parse_list(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            message = "not a list"
            raise MessageError(message)
        return tuple(parse(item) for item in value)

    return parse_list


def decode(body: bytes) -> object:
    """Return the JSON value in `body`. Raises `MessageError`, also where it nests too deep."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        message = "the body is not JSON"
        raise MessageError(message) from None
