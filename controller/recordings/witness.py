"""Who says whose key must have sealed a recording, and what the audit log says of the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.recordings import Recordings, Stored
from controller.recordings.provenance import Provenance


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


def with_key(witness: Witness, signer: bytes) -> Witness:
    """Return a witness that still knows of the upload, and takes the key that was given."""
    return replace(given_key(signer), provenance=witness.provenance)


def witness_of_stored(recordings: Recordings, stored: Stored) -> Witness:
    """Return what the cluster knows of a recording that it keeps, apart from what lies beside that.

    Raises `StoreError` and `AuditError`, and `RecordingsError` where the recording is not there any more.
    """
    found = recordings.provenance(stored.entry.session)
    if found.enrolled is not None:
        return Witness(found.enrolled, "(the node's key, as this cluster knows it)", provenance=found)
    if found.vouches(stored.signer):
        return Witness(stored.signer, "(the key it was uploaded with, by the audit log)", provenance=found)
    return Witness(stored.signer, "(the key it was uploaded with)", is_proof=False, provenance=found)
