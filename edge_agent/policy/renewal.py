"""When a node renews its certificates, what it asks for, and whether what it gets is what it asked for.

Times are UTC; `chance` is a number from 0 up to 1. The moments are spread over the nodes by their ids, so that the
same node comes at the same moment however often it is asked, and a thousand do not come at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from protocol import limits
from protocol.certificates import GENERATION_EXTENSION, HOST_ROLE_EXTENSION, SshCertificate
from protocol.control import PolicyDocument, RenewableKind
from protocol.decision import Granted, Refused
from protocol.messages import JoinReply
from protocol.names import ClusterName, NodeId

# Of a short life, the spread takes no more than this share of what is left when renewal begins.
_SPREAD_SHARE = 0.5
_RETRY_FIRST = 4.0
_RETRY_MOST = limits.RENEW_RETRY_MAX.total_seconds()
# A node that cannot work without new certificates asks again within this.
_RETRY_URGENT = 2 * limits.RECONNECT_MAX.total_seconds()
_DOUBLINGS_MAX = 16
# A node whose certificates no authority of today signed renews within this, as it may be cut off.
_ORPHAN_SPREAD = timedelta(seconds=5)
# New certificates that did not help: others are asked for after so long, and then half as often each time.
_PAUSE_FIRST = 5.0
_PAUSE_MOST = 120.0
# That many in a row that did not help will not: from there on it is asked as often as a refused node may. Each fills a
# place in the controller's list of certificates that can be taken back (`limits.TLS_CERTIFICATES_MAX`).
_FRUITLESS_MAX = 16

# A kind of certificate, and who is to have signed it: a host CA key, SSH wire form, or a TLS authority, PEM.
Demand = tuple[RenewableKind, bytes | str]


@dataclass(frozen=True, slots=True)
class Held:
    """The certificates that a node holds.

    Attributes:
        valid_after: first instant of both.
        valid_before: first instant after both.
        host_signer: the host CA key that signed one, SSH wire form.
        tls_signer: the certificate of the authority that signed the other, PEM.
    """

    valid_after: datetime
    valid_before: datetime
    host_signer: bytes
    tls_signer: str


def share(node_id: NodeId) -> float:
    """Return the node's own number from 0 up to 1, always the same."""
    return (uuid.UUID(node_id).int >> 96) / 2**32


def decide_due(held: Held, node_id: NodeId) -> datetime:
    """Return when the certificates are to be renewed because of their age."""
    life = held.valid_before - held.valid_after
    begin = held.valid_after + life * limits.RENEW_AFTER
    spread = min(limits.RENEW_SPREAD, (held.valid_before - begin) * _SPREAD_SHARE)
    return begin + spread * share(node_id)


def find_superseded(
    held: Held, renew: Collection[RenewableKind], *, host_signer: bytes, tls_signer: str
) -> tuple[RenewableKind, ...]:
    """Return the kinds of certificate that a rotation wants renewed.

    Args:
        held: what the node has.
        renew: the kinds that the policy document names.
        host_signer: the host CA key that signs today, SSH wire form.
        tls_signer: the certificate of the TLS authority that signs today, PEM.
    """
    stale: dict[RenewableKind, bool] = {
        "host": held.host_signer != host_signer,
        "tls": held.tls_signer.strip() != tls_signer.strip(),
    }
    return tuple(kind for kind, is_stale in stale.items() if is_stale and kind in renew)


def find_orphaned(
    held: Held, *, host_authorities: Collection[bytes], tls_authorities: Collection[str]
) -> tuple[RenewableKind, ...]:
    """Return the kinds of certificate whose signer is not trusted any more. The arguments are the authorities' keys."""
    found: list[RenewableKind] = [] if held.host_signer in host_authorities else ["host"]
    if held.tls_signer.strip() not in {pem.strip() for pem in tls_authorities}:
        found.append("tls")
    return tuple(found)


def decide_rotation_wait(node_id: NodeId) -> timedelta:
    """Return how long after it heard of a rotation the node renews."""
    return limits.ROTATION_SPREAD * share(node_id)


def decide_demands(
    before: Mapping[Demand, float],
    superseded: Iterable[Demand],
    orphaned: Iterable[Demand],
    *,
    now: float,
    node_id: NodeId,
) -> dict[Demand, float]:
    """Return what a rotation demands, and when each demand is due, by a clock that only goes forward.

    A demand that was there `before` keeps its moment, however many documents repeat it.

    Args:
        before: what was returned last.
        superseded: the kinds that are to be renewed, with who signs them today.
        orphaned: those whose signer is trusted no more, likewise: they are in a hurry.
        now: seconds.
        node_id: of this node.
    """
    usual = now + decide_rotation_wait(node_id).total_seconds()
    soon = now + (_ORPHAN_SPREAD * share(node_id)).total_seconds()
    demands = {demand: before.get(demand, usual) for demand in superseded}
    return demands | {demand: min(before.get(demand, soon), soon) for demand in orphaned}


def decide_pause(fruitless: int) -> float:
    """Return how many seconds after a renewal another may follow, where it is not age that wants it.

    Args:
        fruitless: how many renewals in a row brought certificates of the same authorities as before.
    """
    if fruitless > _FRUITLESS_MAX:
        return _RETRY_MOST
    return min(_PAUSE_MOST, _PAUSE_FIRST * 2.0 ** max(fruitless - 1, 0))


def decide_retry(failures: int, retry_after: float | None, chance: float, *, is_urgent: bool) -> float:
    """Return how many seconds to wait after a renewal that did not come about.

    Args:
        failures: how many in a row had failed before it.
        retry_after: seconds that the controller asked for; None where it said nothing.
        chance: as above.
        is_urgent: whether the node cannot work without.
    """
    most = _RETRY_URGENT if is_urgent else _RETRY_MOST
    wait = min(most, _RETRY_FIRST * 2.0 ** min(failures, _DOUBLINGS_MAX)) * (1 + chance) / 2
    return wait if retry_after is None else min(max(retry_after, 0.0), _RETRY_MOST) + chance * _RETRY_FIRST


def decide_refused_wait(chance: float) -> float:
    """Return how many seconds a node waits that was told no: only an administrator can mend that."""
    return _RETRY_MOST * (1 + chance) / 2


# --- what came back ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked.

    Attributes:
        generation: of the certificates held before.
        host_key: the host key's public half, SSH wire form.
        tls_key: the TLS key's public half, DER (SubjectPublicKeyInfo).
    """

    node_id: NodeId
    cluster: ClusterName
    generation: int
    host_key: bytes
    tls_key: bytes


@dataclass(frozen=True, slots=True)
class Certified:
    """What the certificates in an answer say.

    Attributes:
        host: the host certificate; its own signature has been verified.
        tls_key: the key in the TLS certificate, DER.
        tls_name: the common name in it.
        tls_signer: the one of the policy document's TLS authorities that signed it, PEM; empty where none did.
    """

    host: SshCertificate
    tls_key: bytes
    tls_name: str
    tls_signer: str


def judge_answer(
    granted: JoinReply,
    policy: PolicyDocument,
    certified: Certified,
    asker: Asker,
    *,
    host_authorities: Collection[bytes],
) -> Granted[JoinReply] | Refused:
    """Judge an answer to a renewal, whose policy document is endorsed by a host CA key that the node trusts.

    The road it came by need not be trusted: what counts is signed. What is granted goes by the policy document, and of
    its TLS authorities the one that signed for this node comes first.
    The dates are not looked at, since a node without the right time renews as well; that nobody shows it an old
    answer is known by the generation.

    Args:
        granted: the answer.
        policy: the document in it.
        certified: what its certificates say.
        asker: this node.
        host_authorities: the host CA keys of `policy`, SSH wire form.
    """
    refused = (
        _judge_whose(granted, policy, asker)
        or _judge_host(granted, certified.host, asker, host_authorities)
        or _judge_tls(certified, asker)
    )
    if refused:
        return refused
    return Granted(
        replace(
            granted,
            pending=False,
            user_authorities=policy.user_authorities,
            host_authorities=policy.host_authorities,
            tls_authorities=tuple(sorted(policy.tls_authorities, key=lambda pem: pem != certified.tls_signer)),
            recording=policy.recording,
        )
    )


def _judge_whose(granted: JoinReply, policy: PolicyDocument, asker: Asker) -> Refused | None:
    if granted.node_id != asker.node_id or {granted.cluster_name, policy.cluster} != {asker.cluster}:
        return Refused("it is for another node, or of another cluster", "G1")
    if granted.generation <= asker.generation:
        return Refused(f"generation {granted.generation} is not above {asker.generation}, which this node has", "G2")
    return None


def _judge_host(
    granted: JoinReply, host: SshCertificate, asker: Asker, authorities: Collection[bytes]
) -> Refused | None:
    if host.kind != "host" or host.public_key != asker.host_key:
        return Refused("its host certificate is for another key", "G3")
    if host.signing_key not in authorities:
        return Refused("its host certificate is not signed by the host CA of the policy document", "G4")
    if host.principals[:1] != (asker.node_id,) or host.extensions.get(HOST_ROLE_EXTENSION) != b"node":
        return Refused("its host certificate names another host", "G5")
    if host.extensions.get(GENERATION_EXTENSION) != str(granted.generation).encode():
        return Refused("its host certificate is of another generation than it says", "G6")
    return None


def _judge_tls(certified: Certified, asker: Asker) -> Refused | None:
    if certified.tls_key != asker.tls_key or certified.tls_name != asker.node_id:
        return Refused("its TLS certificate is for another key or another node", "G7")
    if not certified.tls_signer:
        return Refused("its TLS certificate is not signed by the TLS CA of the policy document", "G8")
    return None


def keep_unsigned(granted: JoinReply, before: JoinReply) -> JoinReply:
    """Return `granted` with what nobody signed as it was before: for an answer that came by a road not trusted."""
    return replace(
        granted,
        name=before.name,
        labels=before.labels,
        tunnel_address=before.tunnel_address,
        api_address=before.api_address,
        mqtt_address=before.mqtt_address,
    )
