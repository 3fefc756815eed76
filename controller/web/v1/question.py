"""What a program asks with: parameters of the query, names in the path, and JSON bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from flask import request
from werkzeug.exceptions import NotFound, UnsupportedMediaType

from controller.policy.paging import Page, place_of, turn
from controller.web.v1.schema import LATEST
from protocol.fields import MessageError
from protocol.instants import from_milliseconds
from protocol.names import BadNameError

T = TypeVar("T")
_PARAMETER_MAX = 128
_WHOLE_END = 2**63


def body() -> object:
    """Return the JSON value of the request.

    Raises:
        MessageError: it is no JSON, or holds text that is not Unicode.
        UnsupportedMediaType: it says itself that it is something else.
    """
    if request.mimetype not in {"", "application/json"}:
        raise UnsupportedMediaType
    try:
        value: object = json.loads(request.get_data(cache=False), parse_float=_number)
    except (ValueError, RecursionError):
        raise MessageError("the body is not JSON") from None
    try:
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair would fail later, and further in
    except UnicodeEncodeError:
        raise MessageError("the body holds text that is not Unicode") from None
    return value


def _number(text: str) -> int | float:
    """Return a number with a fraction or an exponent: 4.0 is 4, as there is one kind of numbers in JSON (RFC 8259)."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < _WHOLE_END else value


def named(text: str, parse: Callable[[object], T]) -> T:
    """Return what the path names. Raises `NotFound` where that can be no such name."""
    try:
        return parse(text)
    except BadNameError:
        raise NotFound from None


def words(name: str, most: int = _PARAMETER_MAX) -> str | None:
    """Return a parameter of the query; None where it was not sent. Raises `MessageError`, also where it is repeated."""
    given = request.args.getlist(name)
    if len(given) > 1:
        raise MessageError(f"{name}: said more than once")
    if given and (len(given[0]) > most or "\0" in given[0]):
        raise MessageError(f"{name}: longer than {most} characters, or no text")
    return given[0] if given else None


def read(name: str, parse: Callable[[str], T]) -> T | None:
    """Return a parameter as `parse` reads it; None where it was not sent. Raises `MessageError`."""
    text = words(name)
    try:
        return None if text is None else parse(text)
    except ValueError as err:
        raise MessageError(f"{name}: {err}") from None


def every(name: str, parse: Callable[[str], T], most: int) -> tuple[T, ...]:
    """Return a parameter that may be repeated up to `most` times. Raises `MessageError`."""
    given = request.args.getlist(name)
    if len(given) > most or any(len(text) > _PARAMETER_MAX for text in given):
        raise MessageError(f"{name}: more than {most} times, or longer than {_PARAMETER_MAX} characters")
    try:
        return tuple(parse(text) for text in given)
    except ValueError as err:
        raise MessageError(f"{name}: {err}") from None


def number(name: str, least: int, most: int) -> int | None:
    """Return a whole number from `least` to `most`; None where it was not sent. Raises `MessageError`."""
    text = words(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise MessageError(f"{name}: not a whole number from {least} to {most}")
    return int(text)


def instant(name: str) -> datetime | None:
    """Return a moment, sent as milliseconds since 1970. Raises `MessageError`."""
    milliseconds = number(name, 0, LATEST)
    return None if milliseconds is None else from_milliseconds(milliseconds)


def flag(name: str) -> bool:
    """Return whether a parameter was sent as ``true``. Raises `MessageError` where it is neither that nor ``false``."""
    text = words(name)
    if text not in {None, "true", "false"}:
        raise MessageError(f"{name}: neither true nor false")
    return text == "true"


def page(items: Iterable[T], key: Callable[[T], str], most: int) -> Page[T]:
    """Return the page of `items` that ``limit`` and ``cursor`` of the query ask for. Raises `MessageError`.

    Args:
        items: all that there are; each key once.
        key: what they are in the order of.
        most: how many a page holds, at most and where it is not said.
    """
    limit = number("limit", 1, most) or most
    after = read("cursor", place_of)
    return turn(items, key, after, limit)
