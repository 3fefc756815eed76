"""The controller's web door, asked over HTTPS with nothing but the standard library.

Replies are read up to a limit and within a time; certificates are always checked, unless the person said
otherwise, and then each command says so.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
from dataclasses import dataclass

from protocol import limits
from protocol.addresses import join_address
from protocol.endpoints import Endpoint
from protocol.messages import ErrorReply, MessageError, decode
from protocol.table import escape_text
from protocol.version import __version__
from tsh.error import NotSignedInError, TshError

_PIECE = 256 * 1024
_DONE = (http.client.OK, http.client.CREATED, http.client.NO_CONTENT)


@dataclass(frozen=True, slots=True)
class Trust:
    """What the web door's certificate is checked against.

    Attributes:
        anchors: exactly these certificates, PEM; none means the system's.
        insecure: nothing is checked.
    """

    anchors: tuple[str, ...] = ()
    insecure: bool = False


class SignInRefusedError(NotSignedInError):
    """The web door answered 401."""


class UnreachableError(TshError):
    """The web door cannot be reached, or did not answer to the end."""


class NobodyListensError(UnreachableError):
    """Nothing listens on that port; another one may be tried."""


class DoorRefusedError(TshError):
    """The web door answered, and it was a refusal.

    Attributes:
        code: the HTTP status.
        field: what of what was asked has to be another; empty where it is not one thing.
    """

    def __init__(self, message: str, code: int, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


@dataclass(frozen=True, slots=True)
class Answer:
    """What the web door answered: HTTP status, headers, body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def tls_context(trust: Trust) -> ssl.SSLContext:
    """Return the context in which the web door is reached. Raises `TshError` for anchors that are none."""
    if trust.insecure:
        context = _unchecked()
    elif trust.anchors:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor need not be self-signed
        try:
            context.load_verify_locations(cadata="\n".join(trust.anchors))
        except ssl.SSLError as err:
            raise TshError("the profile's trusted certificates are damaged; log in again with --ca-pin") from err
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class WebDoor:
    """One controller's web door.

    Attributes:
        host: where it is, as the person named it.
        port: its port.
    """

    def __init__(self, host: str, port: int, trust: Trust, *, quiet: bool = False, user: str = "USER") -> None:
        """Make a door. `quiet` leaves out the warning, where what comes is checked in another way.

        `user` is whom a suggestion to log in is for.
        """
        self.host = host
        self.port = port
        self._user = user
        self._context = tls_context(trust)
        self._kept: http.client.HTTPSConnection | None = None
        if trust.insecure and not quiet:
            sys.stderr.write(f"WARNING: You are using insecure connection to Skerry proxy {self.url}\n")
            sys.stderr.flush()

    @property
    def url(self) -> str:
        """Its address, for people."""
        return f"https://{join_address(self.host, self.port)}"

    def ask(self, endpoint: Endpoint, body: object = None, token: str | None = None) -> object:
        """Return the JSON value the door answers with; None where it answers with no body, as after a removal.

        Args:
            endpoint: what is asked.
            body: the JSON value to send, if any.
            token: the session token, where the endpoint wants one.

        Raises:
            SignInRefusedError: 401.
            TshError: it cannot be reached, is not to be trusted, or refuses; the text says which.
        """
        answer = self._exchange(endpoint, body, token)
        self._check(answer)
        if answer.status == http.client.NO_CONTENT:
            return None
        try:
            return decode(answer.body)
        except MessageError:
            raise TshError(f"asking {self.url}{endpoint.path}: the answer is no JSON; is this Skerry?") from None

    def fetch(self, endpoint: Endpoint, token: str) -> Answer:
        """Return the bytes the door answers with. The connection is kept for the next `fetch`; raises as `ask` does."""
        reused, self._kept = self._kept, None
        connection = reused or self._connection()
        try:
            answer = self._send(connection, endpoint, None, {**_headers(token), "Accept": "*/*"})
        except UnreachableError as err:
            connection.close()
            if reused is None or isinstance(err.__cause__, TimeoutError):
                raise
            return self.fetch(endpoint, token)  # the door may have closed what was idle
        except BaseException:
            connection.close()
            raise
        self._kept = connection
        self._check(answer)
        return answer

    def close(self) -> None:
        """Close the connection that `fetch` kept."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _check(self, answer: Answer) -> None:
        if answer.status in _DONE:
            return
        reply = self._refusal(answer.status, answer.body)
        if answer.status == http.client.UNAUTHORIZED:
            raise SignInRefusedError(reply.message)
        raise DoorRefusedError(reply.message, answer.status, reply.field)

    def _refusal(self, status: int, data: bytes) -> ErrorReply:
        try:
            reply = ErrorReply.from_dict(decode(data))
        except MessageError:
            return ErrorReply(f"{self.url} answered with HTTP status {status}; is this the Skerry web address?")
        return ErrorReply(escape_text(reply.message), reply.field)

    def _connection(self) -> http.client.HTTPSConnection:
        timeout = limits.HTTP_TIMEOUT.total_seconds()
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self._context)

    def _exchange(self, endpoint: Endpoint, body: object, token: str | None) -> Answer:
        headers = {**_headers(token), "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            return self._send(connection, endpoint, None if body is None else json.dumps(body).encode(), headers)
        finally:
            connection.close()

    def _send(
        self, connection: http.client.HTTPSConnection, endpoint: Endpoint, body: bytes | None, headers: dict[str, str]
    ) -> Answer:
        try:
            connection.request(endpoint.method, endpoint.path, body, headers)
            response = connection.getresponse()
            deadline = time.monotonic() + limits.HTTP_TIMEOUT.total_seconds()
            with response:  # closed, it leaves the connection free for the next request
                return Answer(response.status, response.headers, _read_capped(response, deadline))
        except ConnectionRefusedError as err:
            raise NobodyListensError(self._explain(err)) from err
        except (OSError, http.client.HTTPException, ValueError) as err:
            raise UnreachableError(self._explain(err)) from err

    def _explain(self, err: Exception) -> str:
        return f"cannot reach {self.url}: {_explain(err, self.host, self._login_command)}"

    @property
    def _login_command(self) -> str:
        return f"tsh login --proxy={join_address(self.host, self.port)} --user={self._user}"


def _headers(token: str | None) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": f"tsh/{__version__}"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _read_capped(response: http.client.HTTPResponse, deadline: float) -> bytes:
    pieces = []
    size = 0
    while piece := response.read1(_PIECE):
        size += len(piece)
        if size > limits.HTTP_REPLY_MAX:
            raise ValueError("the answer is too long")
        if time.monotonic() > deadline:
            raise TimeoutError
        pieces.append(piece)
    if response.length:
        raise ValueError("the answer is cut short")
    return b"".join(pieces)


def _explain(err: Exception, host: str, login_command: str) -> str:
    if isinstance(err, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({err.verify_message}). If the controller issues its own certificate, "
            f"log in with the pin its administrator gives you: {login_command} --ca-pin=sha256:…"
        )
    if isinstance(err, ssl.SSLError):
        return f"no TLS connection ({err.reason or 'handshake failed'}). Is this the HTTPS address of the proxy?"
    if isinstance(err, TimeoutError):
        return "no answer in time. Is the address right, and the network up?"
    if isinstance(err, socket.gaierror):
        return f"the name {host!r} is not known ({err.strerror}). Is it spelt right?"
    if isinstance(err, OSError):
        return f"{err.strerror or type(err).__name__}. Is the address right, and the network up?"
    return f"it does not answer as a web server should ({type(err).__name__})"
