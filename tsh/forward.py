"""Port forwarding as OpenSSH's ``-L`` names it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIECES = re.compile(r"\[([^\]]*)\]|([^:\[\]]*)")


@dataclass(frozen=True, slots=True)
class Forward:
    """Listen here, connect from the node to there."""

    listen_host: str
    listen_port: int
    host: str
    port: int


def parse_forward(spec: str) -> Forward:
    """Return what ``[BIND:]PORT:HOST:PORT`` names, IPv6 addresses in brackets. Binds to localhost by default.

    Raises:
        ValueError: it is no such text.
    """
    pieces = [first or second for first, second in _split(spec)]
    if len(pieces) == 3:
        pieces.insert(0, "localhost")
    if len(pieces) != 4 or not pieces[2]:
        raise ValueError(f"not a forwarding: {spec!r} (write [BIND:]PORT:HOST:PORT)")
    bind, listen, host, port = pieces
    return Forward("" if bind == "*" else bind, _port(listen, spec), host, _port(port, spec))


def _split(spec: str) -> list[tuple[str, str]]:
    found = []
    at = 0
    while match := _PIECES.match(spec, at):
        found.append((match[1] or "", match[2] or ""))
        at = match.end() + 1
        if match.end() == len(spec):
            return found
        if spec[match.end()] != ":":
            break
    raise ValueError(f"not a forwarding: {spec!r} (write [BIND:]PORT:HOST:PORT)")


def _port(text: str, spec: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65535):
        raise ValueError(f"not a port: {text!r} in {spec!r} (write [BIND:]PORT:HOST:PORT)")
    return int(text)
