"""A process that sends recordings for the agent, and ends when it has been idle for a while.

As in `edge_agent.https_worker`, TLS and HTTP live here for as long as there is something to send. Standard input
carries one order a line, standard output one answer a line, both JSON. What is to be done is the agent's to decide;
the file is read here. The protocol is tus 1.0 (tus.io/protocols/resumable-upload).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import math
import os
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent import errand
from edge_agent.controller_client import anchored_trust
from edge_agent.wire import HungUpError, Place, Throttle, Wire
from protocol import endpoints, limits
from protocol.instants import from_milliseconds
from protocol.messages import ErrorReply, MessageError, decode
from protocol.recording import framing
from protocol.recording.framing import Position

IDLE = 20.0
PATIENCE = limits.HTTP_TIMEOUT.total_seconds()
# One turn at reading a file for its hash: others come in between.
_READ_MAX = 4 * 1024 * 1024
_ERROR_MAX = 64 * 1024
_HEADER_CLIP = 200
_HEADERS = ("upload-offset", "skerry-recording-state", "skerry-recording-hash", "retry-after")
_NICENESS = 5

Order = dict[str, Any]
Reply = dict[str, Any]


def main() -> None:
    """Carry out orders until standard input ends or nothing has come for `IDLE` seconds."""
    with suppress(OSError):
        os.nice(_NICENESS)
    sender = Sender(errand.IN)
    with suppress(HungUpError, ConnectionError):  # the agent is gone
        for order in errand.orders(IDLE):
            errand.reply(sender.carry_out(order))


class Sender:
    """Carries out orders over one connection, which is kept while it is good."""

    def __init__(self, orders: int) -> None:
        self._orders = orders
        self._there: Order = {}
        self._throttle = Throttle.at(None, orders)
        self._wire: Wire | None = None

    def carry_out(self, order: Order) -> Reply:
        """Return what came of `order`; a fault is part of the reply. Raises `HungUpError`."""
        try:
            if order["do"] == "check":
                return check_on(Path(order["path"]), order["mark"])
            self._aim(order["there"])
            body = read_piece(Path(order["path"]), order["offset"], order["size"]) if order["do"] == "send" else b""
        except (OSError, ValueError) as err:
            return {"broken": _say(err)}
        try:
            return self._ask(order, body)
        except ssl.SSLCertVerificationError as err:
            return {"status": 0, "text": f"the controller's certificate is not good: {err.verify_message}"}
        except (OSError, ValueError, http.client.HTTPException) as err:
            return {"status": 0, "text": _say(err)}

    def _aim(self, there: Order) -> None:
        if there != self._there:
            self._hang_up()
            self._there, self._throttle = there, Throttle.at(there["rate"], self._orders)

    def _ask(self, order: Order, body: bytes) -> Reply:
        """Ask over the connection that stands; where it turns out to be gone, over a new one."""
        if self._wire and not self._wire.is_stale():
            with suppress(ConnectionError, http.client.BadStatusLine):  # nothing that is asked here does harm twice
                return self._exchange(self._wire, order, body)
        self._hang_up()
        there = self._there
        context = anchored_trust(there["anchors"], (Path(there["client"][0]), Path(there["client"][1])))
        earliest, latest = (from_milliseconds(moment) for moment in order["span"])
        place = Place(there["host"], there["port"], there["name"], (earliest, latest))
        self._wire = Wire(place, context, self._throttle, PATIENCE)
        return self._exchange(self._wire, order, body)

    def _exchange(self, wire: Wire, order: Order, body: bytes) -> Reply:
        begun = time.monotonic()
        wire.deadline = begun + 3 * PATIENCE + 2 * len(body) / (self._there["rate"] or math.inf)
        keep = False
        try:
            wire.sendall(request(order, self._there["name"], body))
            response = http.client.HTTPResponse(wire, method=METHODS[order["do"]])  # type: ignore[arg-type]  # as a socket
            with response:
                response.begin()
                reply = _reply(response)
                keep = not response.will_close
        finally:
            if not keep:
                self._hang_up()
        return reply | {"seconds": time.monotonic() - begun}

    def _hang_up(self) -> None:
        if self._wire:
            self._wire.close()
            self._wire = None


METHODS = {"begin": "POST", "look": "HEAD", "send": "PATCH"}


def request(order: Order, host: str, body: bytes) -> bytes:
    """Return a tus request, headers and body: nothing in it that the link could be spared."""
    session, path = order["session"], endpoints.UPLOADS
    headers = {"Host": host, "Tus-Resumable": "1.0.0"}
    match order["do"]:
        case "begin":
            headers |= {"Upload-Defer-Length": "1", "Upload-Metadata": f"session {_base64(session.encode())}"}
            headers["Content-Length"] = "0"
        case "look":
            path = f"{path}/{session}"
        case _:
            path = f"{path}/{session}"
            headers |= {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(order["offset"])}
            headers |= {"Content-Length": str(len(body))}
            headers |= {"Upload-Checksum": f"sha256 {_base64(hashlib.sha256(body).digest())}"} if body else {}
            headers |= {"Upload-Length": str(order["length"])} if order["length"] is not None else {}
    lines = (f"{METHODS[order['do']]} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()))
    return "\r\n".join((*lines, "\r\n")).encode() + body


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _reply(response: http.client.HTTPResponse) -> Reply:
    body = response.read(_ERROR_MAX + 1)
    if len(body) > _ERROR_MAX:
        raise http.client.HTTPException(f"an answer of more than {_ERROR_MAX} bytes")
    found = {name: response.headers[name][:_HEADER_CLIP] for name in _HEADERS if name in response.headers}
    return {"status": response.status, "text": _words(body), "headers": found}


def _words(body: bytes) -> str:
    try:
        return ErrorReply.from_dict(decode(body)).message[:500]
    except MessageError:
        return ""


def _say(err: Exception) -> str:
    return str(getattr(err, "strerror", None) or getattr(err, "reason", None) or err) or type(err).__name__


# --- the file ---------------------------------------------------------------------------------------------------


def read_piece(path: Path, offset: int, size: int) -> bytes:
    """Return exactly `size` bytes of a recording. Raises `OSError`, and `ValueError` where it has fewer."""
    with open(path, "rb", opener=_no_link) as file:
        file.seek(offset)
        piece = file.read(size)
    if len(piece) != size:
        raise ValueError(f"the file has shrunk: {size} bytes expected at {offset}, {len(piece)} there")
    return piece


def check_on(path: Path, mark: str) -> Reply:
    """Read some way on from `mark` for the hash of the whole.

    Returns ``mark``, and ``digest`` where the end has been reached. Raises `OSError`, and `ValueError` where the file
    is not a sequence of whole records.
    """
    with open(path, "rb", opener=_no_link) as file:
        position = _from_mark(mark)
        if not mark and file.read(len(framing.MAGIC)) != framing.MAGIC:
            raise ValueError("the file does not begin as a recording does")
        file.seek(position.offset)
        until = position.offset + _READ_MAX
        while position.offset < until:
            prefix = file.read(framing.PREFIX.size)
            if not prefix:
                return {"mark": "", "digest": position.chain.hex()}
            position = framing.advance(position, prefix + _body(prefix, file.read))
    return {"mark": f"{position.number}:{position.offset}:{position.chain.hex()}", "digest": ""}


def _body(prefix: bytes, read: Callable[[int], bytes]) -> bytes:
    if len(prefix) < framing.PREFIX.size:
        raise ValueError("the file ends in the middle of a record")
    kind, size, _, _ = framing.PREFIX.unpack(prefix)
    if kind not in framing.KINDS or size > framing.BODY_MAX[framing.KINDS[kind]]:
        raise ValueError("the file is damaged: a record that cannot be")
    body = read(size)
    if len(body) < size:
        raise ValueError("the file ends in the middle of a record")
    return body


def _from_mark(mark: str) -> Position:
    if not mark:
        return framing.START
    number, offset, chain = mark.split(":")
    return Position(int(number), int(offset), bytes.fromhex(chain))


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


if __name__ == "__main__":
    main()
