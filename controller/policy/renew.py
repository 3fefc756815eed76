"""Whether a node gets its next certificates. An older number than the last one handed out shows a second device.

Checks, in their order: N2 the challenge is ours, for this node, in time and unspent; N1 the node is known; N3 its own
key signed; N4 no lock is on it; N7 it does not take too many certificates; N5 it has those that were handed out last,
or newer ones by the word of a certificate; N6 its TLS key can be certified, which is the authority's to say.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from protocol import limits
from protocol.certificates import GENERATION_EXTENSION, SshCertificate
from protocol.decision import Granted, Refused
from protocol.names import NodeId

# fresh: ours, for this node, in time, and spent by this very request.
ChallengeState = Literal["fresh", "spent", "foreign"]
CLONED = "N5"
_FOREIGN = Refused("the challenge is not ours, is another node's, or has expired", "N2")


@dataclass(frozen=True, slots=True)
class Held:
    """What the controller knows of the node.

    Attributes:
        generation: the one handed out last; 0 where none was yet.
        attempt: the mark of the renewal that it was handed out for; empty where it was a join.
        pending: whether it waits for an admin's approval.
        lock: what a lock on it says; empty where there is none.
        certificates: how many of its TLS certificates have not expired.
        idle: how long ago the last of them was handed out.
    """

    generation: int
    attempt: str
    pending: bool = False
    lock: str = ""
    certificates: int = 0
    idle: timedelta = timedelta.max


@dataclass(frozen=True, slots=True)
class RenewClaim:
    """What the node says, and how far it has proven that.

    Attributes:
        attested: the generation that a certificate of ours says it has, see `read_attested`; 0 where none does.
    """

    generation: int
    attempt: str
    challenge: ChallengeState
    proven: bool
    attested: int = 0


@dataclass(frozen=True, slots=True)
class Renewal:
    """How to certify the node.

    Attributes:
        generation: of the new certificates.
        is_repeated: whether they were handed out before, and the answer was lost.
        expected: the generation that the node should have had, where it has a higher one; None otherwise.
    """

    generation: int
    is_repeated: bool = False
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The node has not been approved yet: it may ask again."""


def refuse_unknown(claim: RenewClaim) -> Refused:
    """Return why one that is not enrolled gets nothing.

    N2, which a node is told so that it asks again, comes before: it does not tell whether there is such a node.
    """
    return _FOREIGN if claim.challenge == "foreign" else Refused("the node is not enrolled", "N1")


def decide_renewal(held: Held, claim: RenewClaim) -> Granted[Renewal] | Waiting | Refused:
    """Judge one renewal of a node that is known."""
    if claim.challenge == "foreign":
        return _FOREIGN
    if not claim.proven:
        return Refused("the node did not prove that it holds its key", "N3")
    if claim.challenge == "spent":
        return Refused("the challenge was spent before", "N2")
    if held.lock:
        return Refused(held.lock, "N4")
    if is_crowded(held.certificates, held.idle):
        return Refused(f"it holds {held.certificates} certificates that have not expired", "N7")
    return Waiting() if held.pending else _decide_generation(held, claim)


def is_crowded(certificates: int, idle: timedelta) -> bool:
    """Tell whether a node has taken so many certificates, the last so recently, that it gets no other now."""
    return certificates >= limits.TLS_CERTIFICATES_MAX and idle < limits.TLS_CERTIFICATE_PLACE


def _decide_generation(held: Held, claim: RenewClaim) -> Granted[Renewal] | Refused:
    if claim.generation == held.generation:
        return Granted(Renewal(held.generation + 1))
    if claim.generation > max(held.generation, claim.attested):
        text = f"it says it has generation {claim.generation}, and generation {held.generation} was handed out last"
        return Refused(text, CLONED)
    if claim.generation > held.generation:
        # The controller was put back from a backup older than the node's last renewal.
        return Granted(Renewal(claim.generation + 1, expected=held.generation))
    if claim.generation == held.generation - 1 and held.attempt and claim.attempt == held.attempt:
        return Granted(Renewal(held.generation, is_repeated=True))
    text = f"it has generation {claim.generation}, and generation {held.generation} was handed out: there are two of it"
    return Refused(text, CLONED)


def read_attested(certificate: SshCertificate, node_id: NodeId, key: bytes, authorities: Collection[bytes]) -> int:
    """Return the generation that a host certificate says a node has; 0 where it is not ours, or not that node's.

    Args:
        certificate: what was read; its signature has been verified. It may have expired.
        node_id: the node.
        key: its host key, SSH wire form.
        authorities: every key that the host CA ever had, SSH wire form: the node may have slept through rotations.
    """
    is_ours = certificate.kind == "host" and certificate.signing_key in authorities
    if not is_ours or certificate.public_key != key or certificate.principals[:1] != (node_id,):
        return 0
    said = certificate.extensions.get(GENERATION_EXTENSION, b"")
    return int(said) if said.isdigit() else 0
