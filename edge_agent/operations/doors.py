"""Trying the controller's doors, as the agent uses them, but never as the node itself.

Whoever opened the tunnel or said CONNECT to the broker as the node would put out the agent that runs, and look like a
copy of it (docs/clones.md). So SSH is spoken until the door has proved its host key, and TLS until each side has taken
the other's certificate; only the machine API is asked something, which any number of callers may.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from edge_agent.controller_client import (
    Door,
    anchored_trust,
    ask_and_wait,
    no_trust,
    system_trust,
)
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from edge_agent.policy.checkup_facts import PortFacts, PortState
from edge_agent.tls_times import judge_dates
from protocol import endpoints
from protocol.addresses import join_address
from protocol.fields import MessageError, decode
from protocol.instants import from_milliseconds
from protocol.messages import Ping
from protocol.names import ClusterName
from protocol.pins import PinError, choose_anchors, read_bundle
from protocol.recordings import RecordingTerms

# For one door, all told.
PATIENCE = 5.0
_REPLY_MAX = 512 * 1024
# What a peer says of itself may be as long as it likes.
_TEXT_MAX = 300
_BANNER = re.compile(rb"SSH-2\.0-[\x21-\x7e]{1,200}", re.ASCII)
_OK = 200


@dataclass(frozen=True, slots=True)
class Trust:
    """By what a door is known.

    Attributes:
        pins: of the cluster's TLS authorities, as somebody said them.
        anchors: those authorities, PEM, as far as they are known.
        client: files of our certificate and its key; None for a device that has none.
        span: the earliest and the latest that it can be now; None to leave the dates of certificates alone.
    """

    pins: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    client: tuple[Path, Path] | None = None
    span: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of trying a door.

    Attributes:
        there: the controller's time, where it was told by a door that proved itself.
        ping: what the web door says of the controller.
        anchors: the authorities that the web door names and the pin vouches for, PEM.
    """

    port: PortFacts
    there: datetime | None = None
    ping: Ping | None = None
    anchors: tuple[str, ...] = ()


def resolve(host: str) -> tuple[tuple[str, ...], str]:
    """Return the addresses of a host, or the problem with that."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as err:
        return (), getattr(err, "strerror", None) or str(err)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found)), ""


# --- the web door -----------------------------------------------------------------------------------------------------


def try_web(host: str, port: int, trust: Trust) -> Answer:
    """Ask the web door what it is."""
    try:
        context, anchors, how = _web_trust(host, port, trust)
        body, there = _get(host, port, context, endpoints.PING.path)
        ping = Ping.from_dict(decode(body))
    except ssl.SSLCertVerificationError as err:
        return _answer("web", host, port, "untrusted", f"not who it should be: {err.verify_message or err}")
    except PinError as err:
        return _answer("web", host, port, "untrusted", f"not who it should be: {err}")
    except (MessageError, http.client.HTTPException) as err:
        return _answer("web", host, port, "untrusted", f"it does not answer as a controller: {err}")
    except (OSError, ValueError) as err:
        return _answer("web", host, port, "closed", _reason(err))
    text = f"the controller of the cluster {ping.cluster_name} answers, version {ping.server_version}{how}"
    return Answer(_port("web", host, port, "ok", text), there, ping, anchors)


def _web_trust(host: str, port: int, trust: Trust) -> tuple[ssl.SSLContext, tuple[str, ...], str]:
    """Return how to judge the door's certificate, the cluster's authorities as far as known, and a remark."""
    if trust.pins:
        bundle, _ = _get(host, port, no_trust(), endpoints.AUTHORITIES.path)
        anchors = _anchors(bundle)
        chosen = choose_anchors(anchors, trust.pins)
        return anchored_trust(chosen), read_bundle(anchors), ", and the pin is that of its authority"
    if not trust.anchors:
        return system_trust(), (), ""
    context = anchored_trust(trust.anchors)
    try:
        _shake_hands(host, port, context, host).close()
    except ssl.SSLCertVerificationError:  # a certificate of its owner's own, perhaps
        return system_trust(), trust.anchors, ""
    return context, trust.anchors, ""


def _anchors(body: bytes) -> str:
    found = decode(body)
    bundle = found.get("anchors") if isinstance(found, dict) else None
    return bundle if isinstance(bundle, str) else ""


def _get(host: str, port: int, context: ssl.SSLContext, path: str) -> tuple[bytes, datetime | None]:
    """Return the body of a page, and the time at which it was sent."""
    connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
        with connection.getresponse() as response:
            body = response.read(_REPLY_MAX)
            if response.status != _OK:
                raise http.client.HTTPException(f"HTTP status {response.status}")
            return body, _date(response.getheader("Date", ""))
    finally:
        connection.close()


def _date(text: str) -> datetime | None:
    with suppress(ValueError):
        found = parsedate_to_datetime(text)
        return found if found.tzinfo else None
    return None


# --- the doors for devices --------------------------------------------------------------------------------------------


def try_api(host: str, port: int, name: str, trust: Trust) -> Answer:
    """Ask the machine API something with our certificate; without one, see that it proves itself."""
    if trust.client is None:
        return try_tls("api", host, port, name, trust)
    try:
        context = anchored_trust(trust.anchors, trust.client)
        reply = ask_and_wait(Door(host, port, context, name, trust.span), endpoints.RECORDING_TERMS)
        there = from_milliseconds(RecordingTerms.from_dict(reply).time)
    except UntrustedError as err:
        return _answer("api", host, port, _whose_fault(str(err)), _distrust(str(err)))
    except RefusedError as err:
        state: PortState = "refused" if err.is_final else "closed"
        return _answer("api", host, port, state, f"it says no: {err}")
    except UnreachableError as err:
        return _answer("api", host, port, "closed", str(err))
    except (MessageError, ValueError, OverflowError) as err:
        return _answer("api", host, port, "refused", f"our certificate cannot be used: {err}")
    return Answer(_port("api", host, port, "ok", "it knows this node by its certificate"), there)


def try_tls(door: str, host: str, port: int, name: str, trust: Trust) -> Answer:
    """See that a door proves to be `name`, and takes our certificate where we have one."""
    if not trust.anchors:
        return _try_tcp(door, host, port)
    try:
        context = anchored_trust(trust.anchors, trust.client)
        with _shake_hands(host, port, context, name) as connection:
            if trust.span and (problem := judge_dates(connection.getpeercert(), trust.span)):
                return _answer(door, host, port, "untrusted", _distrust(problem))
            if trust.client:
                _say_goodbye(connection)
    except ssl.SSLCertVerificationError as err:
        return _answer(door, host, port, "untrusted", _distrust(err.verify_message or str(err)))
    except ssl.SSLError as err:
        said = (err.reason or str(err)).replace("_", " ").lower()
        state: PortState = "refused" if "alert" in said else "closed"
        return _answer(door, host, port, state, f"it would not have us: {said}" if state == "refused" else said)
    except (OSError, ValueError) as err:
        return _answer(door, host, port, "closed", _reason(err))
    proved = "it proved who it is" + (", and takes this node's certificate" if trust.client else "")
    return _answer(door, host, port, "ok", proved)


def _shake_hands(host: str, port: int, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    plain = socket.create_connection((host, port), timeout=PATIENCE)
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def _say_goodbye(connection: ssl.SSLSocket) -> None:
    """End the connection properly, and so read what the other end had to say of our certificate.

    With TLS 1.3 it says so only after the handshake (RFC 8446 section 4.4.2.4 and 6.2). Raises `ssl.SSLError`.
    """
    try:
        connection.unwrap()
    except ssl.SSLError as err:
        if "ALERT" in (err.reason or ""):
            raise
    except OSError:  # it just hangs up: it had nothing to say
        return


def try_banner(host: str, port: int) -> Answer:
    """See that SSH is spoken at the tunnel door: all that can be seen without knowing the cluster's host authority."""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE) as connection:
            said = connection.recv(255)
    except OSError as err:
        return _answer("tunnel", host, port, "closed", _reason(err))
    if not _BANNER.match(said):
        return _answer("tunnel", host, port, "untrusted", "what answers does not speak SSH")
    return _answer("tunnel", host, port, "ok", "SSH is spoken there")


def try_tunnel(
    host: str, port: int, cluster: ClusterName, node_id: str, authorities: tuple[str, ...], trust: Trust
) -> Answer:
    """See that the tunnel door proves to be the cluster's proxy."""
    from protocol.ssh.lean import load_asyncssh

    span = trust.span
    if span is None:
        return try_banner(host, port)
    load_asyncssh()
    from edge_agent.operations.tunnel_door import prove

    state, text = prove((host, port), cluster, node_id, authorities, span, PATIENCE)
    return _answer("tunnel", host, port, state, text)


def _try_tcp(door: str, host: str, port: int) -> Answer:
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except OSError as err:
        return _answer(door, host, port, "closed", _reason(err))
    return _answer(door, host, port, "ok", "something listens; who it is cannot be told without --ca-pin")


def too_late(door: str, host: str, port: int) -> Answer:
    """Return what it means that a door did not answer in time."""
    return _answer(door, host, port, "closed", f"no answer within {PATIENCE:.0f} s")


def _answer(door: str, host: str, port: int, state: PortState, text: str) -> Answer:
    return Answer(_port(door, host, port, state, text))


def _port(door: str, host: str, port: int, state: PortState, text: str) -> PortFacts:
    return PortFacts(door, join_address(host, port), state, text[:_TEXT_MAX])


def _whose_fault(text: str) -> PortState:
    """Tell whether it is our certificate that was not taken: that is said by an alert."""
    return "refused" if "alert" in text else "untrusted"


def _distrust(text: str) -> str:
    return f"it would not have us: {text}" if "alert" in text else f"not who it should be: {text}"


def _reason(err: Exception) -> str:
    if isinstance(err, TimeoutError):
        return f"no answer within {PATIENCE:.0f} s"
    return (getattr(err, "strerror", None) or str(err) or type(err).__name__).lower()
