"""What a command says of a recording in the end, and its exit status."""

from __future__ import annotations

from dataclasses import dataclass

from controller.tctl.error import INTERRUPTED, REFUSED, UNFINISHED, UNVOUCHED
from controller.tctl.witness import Witness
from protocol.decision import Refused
from protocol.recording.verdict import Verdict

_STATUSES = {
    "intact": 0,
    "interrupted": INTERRUPTED,
    "stopped": INTERRUPTED,
    "unfinished": UNFINISHED,
    "broken": REFUSED,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for a person, and the exit status that goes with it."""

    line: str
    status: int

    @property
    def is_sound(self) -> bool:
        """Whether the recording is good as far as it goes, and nothing of it was refused."""
        return self.status != REFUSED


def find(
    verdict: Verdict, witness: Witness, refused: Refused | None, *, is_kept: bool, arrives: bool = False
) -> Finding:
    """Return what is to be said.

    Args:
        verdict: of the bytes.
        witness: who says whose they are.
        refused: why this cluster took no more of them; None where it did.
        is_kept: whether these are the bytes that this cluster keeps, and not a copy that may be an earlier one.
        arrives: whether more of them comes.
    """
    if verdict.state == "broken" or verdict.header is None:
        return Finding(verdict.describe(), REFUSED)
    if contradiction := _contradiction(verdict, witness, is_kept=is_kept):
        return Finding(f"broken: {contradiction}; by itself it is {verdict.describe(witness.word)}", REFUSED)
    if refused is not None:
        return Finding(
            f"refused ({refused.check}): {refused.reason}; what came before is {verdict.describe(witness.word)}",
            REFUSED,
        )
    if verdict.state == "intact" and not (verdict.vouched and witness.is_proof):
        return Finding(verdict.describe(witness.word), UNVOUCHED)
    return Finding(verdict.describe(witness.word, arrives=arrives), _STATUSES[verdict.state])


def _contradiction(verdict: Verdict, witness: Witness, *, is_kept: bool) -> str:
    """Return how the audit log contradicts it. A file that goes on less far than the upload does not."""
    has_ended = verdict.state in {"intact", "interrupted", "stopped"}
    if witness.provenance is None or verdict.header is None or not (has_ended or is_kept):
        return ""
    return witness.provenance.contradiction(verdict.header.signer, verdict.hash)
