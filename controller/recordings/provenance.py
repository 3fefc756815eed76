"""Whose a recording is by another word than its own: the enrolled node's key, and what the audit log says of its end.

What lies beside a recording lies in the same place, and proves nothing: who can replace the one can replace the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.audit import AuditLog
from controller.enrolment.nodes import Nodes
from controller.recordings.note import Note
from protocol import events
from protocol.instants import from_milliseconds
from protocol.names import NodeId
from protocol.recording.signer import SignerError, fingerprint, parse_signer


@dataclass(frozen=True, slots=True)
class Ending:
    """What the audit log says of a recording that arrived whole, in its own words: it is chained, and says so itself.

    Attributes:
        node: the id of the node that uploaded it.
        signer: fingerprint of the key that it was checked with, ``SHA256:…``.
        hash: of the whole, hex; see `protocol.recording.framing.Position.chain`.
    """

    node: str
    signer: str
    hash: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What others than the recording say of it.

    Attributes:
        enrolled: its node's public key, Ed25519, 32 bytes; None where the node is not enrolled (any more).
        ending: None where the audit log has none: it has not ended, or its log files are not kept any more.
    """

    enrolled: bytes | None
    ending: Ending | None

    def vouches(self, signer: bytes) -> bool:
        """Tell whether somebody else than the recording says that this key is its node's."""
        if self.enrolled is not None:
            return self.enrolled == signer
        return self.ending is not None and self.ending.signer == fingerprint(signer)

    def contradiction(self, signer: bytes, whole: bytes) -> str:
        """Return how the audit log contradicts a recording that ends with this hash; empty where it does not."""
        if self.ending is None:
            return ""
        if self.ending.signer != fingerprint(signer):
            return f"the audit log says that it was sealed by {self.ending.signer}"
        if self.ending.hash != whole.hex():
            return f"the audit log says that another recording was uploaded (hash {self.ending.hash})"
        return ""


class Registry:
    """Knows the nodes and the audit log. Every method may raise `StoreError`."""

    def __init__(self, nodes: Nodes, audit: AuditLog) -> None:
        self._nodes = nodes
        self._audit = audit

    def enrolled_key(self, node: NodeId) -> bytes | None:
        """Return the public key that a node is enrolled with; None where it is not, or its key is none that seals."""
        record = self._nodes.get(node)
        try:
            return parse_signer(record.ssh_public_key) if record else None
        except SignerError:
            return None

    def provenance(self, note: Note) -> Provenance:
        """Return what others say of a recording. Raises `AuditError`."""
        entries = self._audit.entries(since=from_milliseconds(note.grown), kinds=(events.SESSION_UPLOAD.code,))
        found = (entry for entry in entries if entry.get("sid") == note.session and entry.get("hash"))
        last: Ending | None = None
        for entry in found:  # one that was removed may have been uploaded again
            last = Ending(str(entry.get("server_id")), str(entry.get("signer")), str(entry["hash"]))
        return Provenance(self.enrolled_key(note.node), last)
