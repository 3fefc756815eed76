"""Becoming a node: a token, a proof of the key, and back come certificates."""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edge_agent import controller_client
from edge_agent.clock import Clock, time_told
from edge_agent.config import Settings
from edge_agent.controller_client import Door
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from edge_agent.identity import DataDirectory, Identity, Keys
from edge_agent.interruption import unless
from edge_agent.policy.link import decide_wait
from protocol import endpoints
from protocol.messages import JoinReply, JoinRequest, MessageError, join_statement
from protocol.names import TokenText, format_labels
from protocol.secret import Secret
from protocol.ssh.certificate import BadCertificateError, key_blob, parse_certificate_line
from protocol.version import __version__

_log = logging.getLogger("skerry.agent")
# When the controller turns to another authority, its web door follows within seconds (`ServerSettings.tls_check`): so
# often, and every so many seconds, it is looked at anew.
_LOOKS = 5
_LOOK_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class JoinFailed:
    """The device is no node yet.

    Attributes:
        reason: what went wrong and what to do about it, for the person at the device.
        is_final: whether trying again is useless until somebody changes something.
        retry_after: seconds the controller asked to wait.
    """

    reason: str
    is_final: bool
    retry_after: float | None = None


async def join(
    settings: Settings, token: Secret[TokenText], directory: DataDirectory, *, look_pause: float = _LOOK_PAUSE
) -> Identity | JoinFailed:
    """Join the cluster and keep the identity in `directory`. The token is sent only to a controller that is trusted.

    The keys are those of an earlier join, where there are any: the controller knows the device by them.

    Args:
        settings: by which it joins.
        token: the join token.
        directory: where the keys are, and the identity goes.
        look_pause: for how many seconds a door is left alone that is turning to another authority.

    Raises:
        IdentityError: the disk would not take the identity.
    """
    keys = directory.prepare_keys()
    try:
        granted = JoinReply.from_dict(await _ask(settings, make_request(settings, token, keys), look_pause))
    except UntrustedError as err:
        return JoinFailed(_untrusted(settings, str(err)), is_final=True)
    except RefusedError as err:
        hint = "; ask for a new token (tctl tokens add --type=node)" if err.status in (401, 403) else ""
        return JoinFailed(f"{settings.web_address} refused: {err}{hint}", err.is_final, err.retry_after)
    except (UnreachableError, MessageError) as err:
        return JoinFailed(f"{settings.web_address} cannot be reached: {err}", is_final=False)
    if fault := _fault(granted, keys):
        return JoinFailed(f"{settings.web_address} sent what cannot be used: {fault}", is_final=True)
    identity = directory.save(keys, granted, settings.controller)
    _set_clock(identity)
    return identity


async def _ask(settings: Settings, request: JoinRequest, look_pause: float) -> object:
    """Send the request to a door that is trusted, and return the answer.

    Where the authority that the pin names is the controller's, but not yet, or no longer, the one behind the door's
    certificate, an admin may just be turning it. Whom to trust is then asked anew; the pin decides every time.

    Raises what `controller_client.ask` does.
    """
    for _ in range(_LOOKS - 1):
        try:
            return await controller_client.ask(await _trusted_door(settings), endpoints.JOIN, request.to_dict())
        except UntrustedError as err:
            if not (settings.ca_pins and err.is_by_another):
                raise
            _log.info("%s shows a certificate by another authority: looking again", settings.web_address)
        await asyncio.sleep(look_pause)
    return await controller_client.ask(await _trusted_door(settings), endpoints.JOIN, request.to_dict())


def _set_clock(identity: Identity) -> None:
    """Have the node know the controller's time from the start, whatever the device's clock says."""
    clock = Clock(identity.directory)
    clock.learn(time_told(identity.granted))
    clock.keep()


async def _trusted_door(settings: Settings) -> Door:
    host, port = settings.controller
    if settings.insecure:
        context = controller_client.no_trust()
    elif settings.ca_pins:
        context = await controller_client.pinned_trust(host, port, settings.ca_pins)
    else:
        context = controller_client.system_trust()
    return Door(host, port, context)


def _untrusted(settings: Settings, problem: str) -> str:
    mend = (
        "compare --ca-pin with `tctl status`"
        if settings.ca_pins
        else "say --ca-pin sha256:… as `tctl tokens add` prints it"
    )
    return f"{settings.web_address} did not prove to be the controller: {problem}; the token was not sent; {mend}"


def make_request(settings: Settings, token: Secret[TokenText], keys: Keys) -> JoinRequest:
    """Return the request to join: the token, what the device would like to be, and the proof of its key."""
    public, request = keys.host_public, tls_request(keys)
    proof = keys.host.sign(join_statement(token.reveal(), public, request))
    return JoinRequest(
        token=token,
        name=settings.nodename,
        labels=settings.labels,
        ssh_public_key=public,
        tls_request=request,
        proof=base64.b64encode(proof).decode(),
        version=__version__,
    )


def tls_request(keys: Keys) -> str:
    """Return a request for a TLS certificate, PEM."""
    # The controller ignores the name in here: it knows the node by the id it assigns.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "skerry node")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(keys.tls, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def _fault(granted: JoinReply, keys: Keys) -> str:
    """Return what is wrong with the certificates in `granted`; nothing where they are for our keys."""
    if granted.pending:
        return "" if granted.host_authorities else "no authorities"
    try:
        if parse_certificate_line(granted.host_certificate).public_key != key_blob(keys.host_public):
            return "a host certificate for another key"
        theirs = x509.load_pem_x509_certificate(granted.tls_certificate.encode()).public_key()
        for authority in (*granted.user_authorities, *granted.host_authorities):
            key_blob(authority)
    except (BadCertificateError, ValueError) as err:
        return str(err)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if theirs.public_bytes(*form) != keys.tls.public_key().public_bytes(*form):
        return "a TLS certificate for another key"
    return "" if granted.user_authorities and granted.host_authorities else "no authorities"


async def join_patiently(
    settings: Settings,
    token: Secret[TokenText],
    directory: DataDirectory,
    tell: Callable[[str], None] = lambda _: None,
) -> Identity | JoinFailed | None:
    """Join, however often it takes. Returns the identity, a failure that is final, or None when told to stop.

    What keeps it from succeeding is also said to `tell`.

    Raises:
        IdentityError: the disk would not take the identity.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    failures = 0
    while not stopped.is_set():
        answer = await unless(stopped, join(settings, token, directory), None)
        if answer is None:
            break
        if isinstance(answer, Identity):
            _log_joined(answer.granted)
            return answer
        if answer.is_final:
            return answer
        tell(answer.reason)
        wait = decide_wait(failures, answer.retry_after, random.random())  # noqa: S311 - spreads devices, hides nothing
        _log.warning("not joined yet: %s; trying again in %.1f s", answer.reason, wait)
        failures += 1
        await unless(stopped, asyncio.Event().wait(), wait)
    return None


def _log_joined(granted: JoinReply) -> None:
    labels = format_labels(granted.labels) or "no labels"
    if granted.pending:
        _log.info("asked to join cluster %s as %s (%s)", granted.cluster_name, granted.name, granted.node_id)
        return
    _log.info("joined cluster %s as %s (%s), labels: %s", granted.cluster_name, granted.name, granted.node_id, labels)
