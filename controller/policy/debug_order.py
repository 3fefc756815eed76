"""What an admin may ask of a controller that runs, over its debug socket: one line of JSON, answered by one."""

from __future__ import annotations

import json
from dataclasses import dataclass

from controller.policy.severity import parse_severity

SOCKET = "debug.sock"
LINE_MAX = 64 * 1024


class OrderError(Exception):
    """It is no order, or no severity; the message says what would be."""


@dataclass(frozen=True, slots=True)
class SetLevel:
    """Log what is of this severity and above, until the settings are read again."""

    severity: str


@dataclass(frozen=True, slots=True)
class Describe:
    """Say by which level is logged, and which processes run."""


Order = SetLevel | Describe


def encode_order(order: Order) -> bytes:
    """Return the line that asks for `order`."""
    fields = {"order": "set_level", "level": order.severity} if isinstance(order, SetLevel) else {"order": "describe"}
    return json.dumps(fields).encode() + b"\n"


def parse_order(line: bytes) -> Order:
    """Return the order that a line is. Raises `OrderError`."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise OrderError("the order should be one line of JSON") from None
    match fields:
        case {"order": "describe"}:
            return Describe()
        case {"order": "set_level", "level": str(text)}:
            return SetLevel(_severity(text))
        case _:
            raise OrderError("the order should be describe, or set_level with a level")


def _severity(text: str) -> str:
    try:
        return parse_severity(text)
    except ValueError as err:
        raise OrderError(f"the level {err}") from None
