"""One renewal: the challenge, the proof, the answer and what is wrong with it. Run as a process, for what that takes.

TLS, HTTP and X.509 take memory that an agent at rest has no use for; see `edge_agent.https_worker`. Nothing is written
here: the agent keeps what it gets.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edge_agent import errand
from edge_agent.controller_client import Door, anchored_trust, ask_and_wait, no_trust
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from edge_agent.identity import DataDirectory, IdentityError, Keys
from edge_agent.join import tls_request
from edge_agent.policy.renewal import Asker, Certified, judge_answer
from protocol import endpoints
from protocol.control import PolicyDocument
from protocol.decision import Granted, Refused
from protocol.endorsement import judge_endorsed, walk
from protocol.endpoints import Endpoint
from protocol.events import Json
from protocol.messages import JoinReply, MessageError
from protocol.names import ClusterName, NodeId
from protocol.renewals import Challenge, ChallengeRequest, RenewRequest, renewal_statement
from protocol.ssh.certificate import BadCertificateError, key_blob, parse_certificate_line
from protocol.version import __version__

_IDLE = 1.0
_ACCEPTED = 202
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be renewed, and where.

    Attributes:
        host: of the controller's web door; `port` likewise.
        directory: the agent's data directory, where its keys are.
        generation: of the certificates it has.
        attempt: the mark of this renewal.
        trusted: the host CA keys that the agent trusts, one line each.
        certificate: its host certificate, one line; empty where it has none yet.
        anchors: the TLS authorities that it trusts, PEM. A door that none of them vouches for is asked all the same.
    """

    host: str
    port: int
    directory: str
    node_id: NodeId
    cluster: ClusterName
    generation: int
    attempt: str
    trusted: tuple[str, ...]
    anchors: tuple[str, ...]
    certificate: str = ""


def main() -> None:
    """Answer requests until standard input ends or nothing has come for a moment."""
    with suppress(ConnectionError):  # the agent is gone
        for request in errand.orders(_IDLE):
            errand.reply(carry_out(Order(**request)))


def carry_out(order: Order) -> dict[str, Any]:
    """Carry out one renewal; a fault is part of the answer.

    The answer is ``granted`` with the reply as JSON and ``trusted`` with whether it came by a road that is trusted, or
    ``fault``: pending, refused, denied (a no that anybody may have said: who keeps a hotel's network, say),
    unreachable, unusable (a reply that is not for us, or not signed as it must be).
    """
    roads = _Roads(order)
    try:
        return _renew(order, roads)
    except RefusedError as err:
        return _no(err, is_trusted=roads.is_trusted)
    except (UnreachableError, UntrustedError) as err:
        return {"fault": "unreachable", "text": str(err), "retry_after": None}
    except IdentityError as err:
        return {"fault": "unusable", "text": str(err), "retry_after": None}


def _no(err: RefusedError, *, is_trusted: bool) -> dict[str, Any]:
    """Return what a refusal comes to: that the node is not wanted any more only the controller itself can say."""
    fault, text = "unreachable", str(err)
    if err.status == _ACCEPTED:
        fault = "pending"
    elif err.is_final and not is_trusted:
        fault, text = "denied", f"{text} (said by a door that did not prove to be the controller's)"
    elif err.status == _FORBIDDEN and err.is_ours:
        fault = "refused"
    return {"fault": fault, "text": text, "retry_after": err.retry_after}


def _renew(order: Order, door: _Roads) -> dict[str, Any]:
    keys = _read_keys(order)
    try:
        challenge = Challenge.from_dict(door.ask(endpoints.RENEW_CHALLENGE, ChallengeRequest(order.node_id).to_dict()))
        request = _request(order, keys, challenge.challenge)
        reply = JoinReply.from_dict(door.ask(endpoints.RENEW, request.to_dict()))
        if reply.pending:
            return {"fault": "pending", "text": "", "retry_after": None}
        answer = judge_reply(reply, order, keys)
    except (MessageError, BadCertificateError, ValueError) as err:
        answer = Refused(f"it makes no sense: {err}", "G0")
    if isinstance(answer, Refused):
        text = f"the answer cannot be used: {answer.reason} ({answer.check})"
        return {"fault": "unusable", "text": text, "retry_after": None}
    return {"granted": answer.value.to_dict(), "trusted": door.is_trusted}


def _read_keys(order: Order) -> Keys:
    try:
        keys = DataDirectory(Path(order.directory)).read_keys()
    except OSError as err:
        raise IdentityError(f"{order.directory}: the node's keys cannot be read: {err.strerror}") from None
    if keys is None:
        raise IdentityError(f"{order.directory}: the node's keys are not there")
    return keys


class _Roads:
    """The way to the web door: as one that the node's authorities vouch for, or, where they do not, any.

    Dates are not judged: who renews may have the wrong time.

    Attributes:
        is_trusted: whether all that was asked so far was asked of a door that proved itself.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self.is_trusted = True

    def ask(self, endpoint: Endpoint, message: dict[str, Json]) -> object:
        order = self._order
        if self.is_trusted:
            with suppress(UntrustedError, ValueError):
                context = anchored_trust(order.anchors)
                return ask_and_wait(Door(order.host, order.port, context), endpoint, message)
        self.is_trusted = False
        return ask_and_wait(Door(order.host, order.port, no_trust()), endpoint, message)


def _request(order: Order, keys: Keys, challenge: str) -> RenewRequest:
    asked = tls_request(keys)
    statement = renewal_statement(order.node_id, order.generation, order.attempt, challenge, asked)
    return RenewRequest(
        node_id=order.node_id,
        generation=order.generation,
        attempt=order.attempt,
        challenge=challenge,
        tls_request=asked,
        proof=base64.b64encode(keys.host.sign(statement)).decode(),
        version=__version__,
        certificate=order.certificate,
    )


def judge_reply(reply: JoinReply, order: Order, keys: Keys) -> Granted[JoinReply] | Refused:
    """Judge what came. Raises `ValueError` (`MessageError`, `BadCertificateError`) where it cannot even be read."""
    if reply.policy is None:
        return Refused("no policy document is with it", "G9")
    unproved = PolicyDocument.decode(reply.policy.body)
    trusted = walk(order.trusted, unproved.successions, order.cluster)
    endorsed = judge_endorsed(reply.policy, "policy", trusted=trusted, cluster=order.cluster)
    if isinstance(endorsed, Refused):
        return endorsed
    policy = PolicyDocument.decode(endorsed.value)
    certified = _read_certificates(reply, policy.tls_authorities)
    asker = Asker(order.node_id, order.cluster, order.generation, key_blob(keys.host_public), _public(keys.tls))
    host_authorities = {key_blob(line) for line in policy.host_authorities}
    return judge_answer(reply, policy, certified, asker, host_authorities=host_authorities)


def _read_certificates(reply: JoinReply, authorities: Sequence[str]) -> Certified:
    certificate = x509.load_pem_x509_certificate(reply.tls_certificate.encode())
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certified(
        host=parse_certificate_line(reply.host_certificate),
        tls_key=certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        tls_name=str(names[0].value) if names else "",
        tls_signer=next((pem for pem in authorities if _is_issued_by(certificate, pem)), ""),
    )


def _is_issued_by(certificate: x509.Certificate, authority: str) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _public(key: Any) -> bytes:  # noqa: ANN401 - of any kind
    public: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public


if __name__ == "__main__":
    main()
