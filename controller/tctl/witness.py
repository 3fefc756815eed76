"""Who says whose key must have sealed a recording, and what the audit log says of the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.enrolment.nodes import NodeRecord
from controller.recordings import Provenance, Stored
from controller.tctl.host import Desk
from protocol.recording.header import Header
from protocol.recording.signer import SignerError, parse_signer


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody else than the recording.

    Attributes:
        signer: the node's public key, 32 bytes; None where nobody knows it.
        word: how to say who says so.
        is_proof: whether that rests on something that does not lie beside the recording.
        provenance: what this cluster knows of an upload of the session.
    """

    signer: bytes | None
    word: str = ""
    is_proof: bool = True
    provenance: Provenance | None = None


NOBODY = Witness(None, is_proof=False)


def given_key(signer: bytes) -> Witness:
    """Return whoever gave the key on the command line."""
    return Witness(signer, "(the key that was given)")


def witness_of_stored(desk: Desk, stored: Stored) -> Witness:
    """Return what the cluster knows of a recording that it keeps, apart from what lies beside that."""
    found = desk.cluster.recordings.provenance(stored.entry.session)
    if found.enrolled is not None:
        return Witness(found.enrolled, "(the node's key, as this cluster knows it)", provenance=found)
    if found.vouches(stored.signer):
        return Witness(stored.signer, "(the key it was uploaded with, by the audit log)", provenance=found)
    return Witness(stored.signer, "(the key it was uploaded with)", is_proof=False, provenance=found)


def witness_of_file(desk: Desk, header: Header | None) -> Witness:
    """Return what the cluster knows of a recording with such a header: of its node, and of an upload of it."""
    if header is None:
        return NOBODY
    stored = _upload(desk, header)
    if stored is not None:
        return witness_of_stored(desk, stored)
    node = _node(desk, header)
    try:
        return (
            Witness(parse_signer(node.ssh_public_key), "(the node's key, as this cluster knows it)") if node else NOBODY
        )
    except SignerError:
        return NOBODY


def with_key(witness: Witness, signer: bytes) -> Witness:
    """Return a witness that still knows of the upload, and takes the key that was given."""
    return replace(given_key(signer), provenance=witness.provenance)


def hostname_of(desk: Desk, header: Header) -> str:
    """Return the name of a recording's node: as it is enrolled, or was; where that is not known, the header's word."""
    node, stored = _node(desk, header), _upload(desk, header)
    if node is not None:
        return node.name
    return stored.entry.hostname if stored else header.node_name


def _node(desk: Desk, header: Header) -> NodeRecord | None:
    return desk.cluster.enrolment.nodes.get(header.node)


def _upload(desk: Desk, header: Header) -> Stored | None:
    stored = desk.cluster.recordings.find(header.session)
    return stored if stored is not None and stored.entry.node == header.node else None
