"""What the cluster knows of a recording in a file: who must have sealed it, and what its node is called."""

from __future__ import annotations

from controller.enrolment.nodes import NodeRecord
from controller.recordings import Stored
from controller.recordings.witness import NOBODY, Witness, witness_of_stored
from controller.tctl.host import Desk
from protocol.recording.header import Header
from protocol.recording.signer import SignerError, parse_signer


def witness_of_file(desk: Desk, header: Header | None) -> Witness:
    """Return what the cluster knows of a recording with such a header: of its node, and of an upload of it."""
    if header is None:
        return NOBODY
    stored = _upload(desk, header)
    if stored is not None:
        return witness_of_stored(desk.cluster.recordings, stored)
    node = _node(desk, header)
    try:
        return (
            Witness(parse_signer(node.ssh_public_key), "(the node's key, as this cluster knows it)") if node else NOBODY
        )
    except SignerError:
        return NOBODY


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
