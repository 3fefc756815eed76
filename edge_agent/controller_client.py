"""Requests to the controller over HTTPS: standard library alone, in a thread, every size and time bounded."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from edge_agent.tls_times import ignore_clock, judge_dates
from protocol import endpoints, limits
from protocol.endpoints import Endpoint
from protocol.events import Json
from protocol.messages import ErrorReply, MessageError, decode

_TIMEOUT = limits.HTTP_TIMEOUT.total_seconds()
# A whole exchange; the timeout above is for one read or write, and a dripping server renews that for ever.
_EXCHANGE_MAX = 3 * _TIMEOUT
_ERROR_MAX = 64 * 1024
_PIECE = 64 * 1024
# What OpenSSL says of a certificate by an authority that is not trusted (X509_STORE_CTX_get_error(3)): a signature that
# does not fit, as two keys of one authority bear its name; itself self-signed; so its chain; no issuer; no chain.
_BY_ANOTHER = frozenset({7, 18, 19, 20, 21})


@dataclass(frozen=True, slots=True)
class Door:
    """One HTTPS door of the controller.

    Attributes:
        host: where to connect.
        port: where to connect.
        context: how to judge its certificate.
        name: the name its certificate must carry, where that is not `host`.
        span: the earliest and the latest that it can be now, to judge the certificate's dates by; None for a device
            that knows nothing of the time yet: that is for the controller to tell it.
    """

    host: str
    port: int
    context: ssl.SSLContext
    name: str | None = None
    span: tuple[datetime, datetime] | None = None


def system_trust() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities."""
    return _modern(ssl.create_default_context())


def no_trust() -> ssl.SSLContext:
    """Return a context that checks nothing: for `--insecure`, and to fetch what a pin then judges."""
    context = _modern(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def anchored_trust(anchors: Sequence[str], client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Return a context that trusts exactly the certificates `anchors` (PEM), and shows `client`'s.

    A pinned certificate need not be self-signed: a leaf may be pinned as well (RFC 5280 leaves the choice of
    anchors to the one who trusts).

    Raises:
        ValueError: an anchor is no certificate, or the client's files cannot be used.
    """
    context = _modern(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata="\n".join(anchors))
        if client:
            context.load_cert_chain(*client)
    except (ssl.SSLError, OSError) as err:
        raise ValueError(f"certificates that cannot be used ({err.strerror or err})") from None
    return context


def _modern(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return ignore_clock(context)


async def pinned_trust(host: str, port: int, pins: Collection[str]) -> ssl.SSLContext:
    """Return a context for the controller whose CA has one of `pins`.

    The authorities are fetched unchecked, which tells nobody anything; only what fits a pin is trusted.

    Raises:
        UnreachableError, RefusedError: they could not be fetched.
        UntrustedError: none fits.
    """
    from protocol.pins import PinError, choose_anchors

    reply = await ask(Door(host, port, no_trust()), endpoints.AUTHORITIES)
    bundle = reply.get("anchors") if isinstance(reply, dict) else None
    try:
        return anchored_trust(choose_anchors(bundle if isinstance(bundle, str) else "", pins))
    except (PinError, ValueError) as err:
        raise UntrustedError(str(err)) from None


async def ask(door: Door, endpoint: Endpoint, message: Mapping[str, Json] | None = None) -> object:
    """Send `message` and return the JSON of the answer.

    Raises:
        UnreachableError: no answer, or one that is not HTTP and JSON.
        UntrustedError: the door's certificate is not good.
        RefusedError: the answer is an error.
    """
    exchange = _Exchange(door, endpoint, message)
    try:
        async with asyncio.timeout(_EXCHANGE_MAX):
            return await asyncio.to_thread(exchange.run)
    except TimeoutError:
        raise UnreachableError(f"no whole answer within {_EXCHANGE_MAX:.0f} s") from None
    finally:
        exchange.abort()  # the thread that still reads ends at once


def ask_and_wait(door: Door, endpoint: Endpoint, message: Mapping[str, Json] | None = None) -> object:
    """Do what `ask` does, in the calling thread."""
    return _Exchange(door, endpoint, message).run()


class _Connection(http.client.HTTPSConnection):
    """A connection whose certificate is checked against a name of our choice."""

    def __init__(self, door: Door) -> None:
        super().__init__(door.host, door.port, timeout=_TIMEOUT, context=door.context)
        self._door = door
        # The library forgets its own `sock` once a response that will close the connection has begun.
        self.wire: socket.socket | None = None

    def connect(self) -> None:
        plain, name = self._connect_plain(), self._door.name or self._door.host
        wrapped = self._door.context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
        self.sock = self.wire = wrapped
        wrapped.do_handshake()
        problem = judge_dates(wrapped.getpeercert(), self._door.span) if self._door.span else ""
        if problem:
            raise UntrustedError(problem)

    def _connect_plain(self) -> socket.socket:
        """Connect to the first address that answers. `wire` is set before, so that an abort reaches every step."""
        failure = OSError("no address")
        found = socket.getaddrinfo(self._door.host, self._door.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            plain = self.wire = socket.socket(family, kind, protocol)
            plain.settimeout(_TIMEOUT)
            try:
                plain.connect(address)
            except OSError as err:
                plain.close()
                failure = err
            else:
                return plain
        raise failure


class _Exchange:
    def __init__(self, door: Door, endpoint: Endpoint, message: Mapping[str, Json] | None) -> None:
        self._endpoint = endpoint
        self._body = None if message is None else json.dumps(message, separators=(",", ":")).encode()
        self._connection = _Connection(door)
        self._deadline = time.monotonic() + _EXCHANGE_MAX

    def run(self) -> object:
        try:
            return self._run()
        except ssl.SSLCertVerificationError as err:
            is_by_another = err.verify_code in _BY_ANOTHER
            raise UntrustedError(err.verify_message or str(err), is_by_another=is_by_another) from None
        except ssl.SSLError as err:
            reason = err.reason or str(err)
            fault = UntrustedError if _is_about_us(reason) else UnreachableError
            raise fault(reason.replace("_", " ").lower()) from None
        except (OSError, http.client.HTTPException, ValueError) as err:
            if isinstance(err, MessageError):
                raise UnreachableError(f"an answer that makes no sense: {err}") from None
            reason = getattr(err, "strerror", None) or getattr(err, "reason", None) or str(err) or type(err).__name__
            raise UnreachableError(str(reason)) from None
        finally:
            self._connection.close()

    def _run(self) -> object:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._body is not None:
            headers["Content-Type"] = "application/json"
        self._connection.request(self._endpoint.method, self._endpoint.path, self._body, headers)
        with self._connection.getresponse() as response:
            if response.status != http.client.OK:
                raise _refusal(response, self._read(response, _ERROR_MAX))
            return decode(self._read(response, limits.HTTP_REPLY_MAX))

    def _read(self, response: http.client.HTTPResponse, most: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := response.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise MessageError(f"more than {most} bytes")
            if time.monotonic() > self._deadline:
                raise TimeoutError("the answer took too long")
        if response.length:
            raise MessageError(f"{response.length} bytes are missing")
        return b"".join(pieces)

    def abort(self) -> None:
        """End the exchange from another thread."""
        if self._connection.wire is not None:
            with suppress(OSError):
                self._connection.wire.shutdown(socket.SHUT_RDWR)


def _is_about_us(reason: str) -> bool:
    """Tell whether OpenSSL's word for an alert (RFC 8446 section 6.2) is that the peer would not have our own."""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _refusal(response: http.client.HTTPResponse, body: bytes) -> RefusedError:
    message, is_ours = f"HTTP status {response.status}", False
    with suppress(MessageError):
        message, is_ours = ErrorReply.from_dict(decode(body)).message[:500], True
    seconds = response.getheader("Retry-After", "")
    wait = float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 10 else None
    return RefusedError(response.status, message, wait, is_ours=is_ours)
