"""What a recording is worth in the end: its bytes, whose word they rest on, what the audit log says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from controller.recordings.witness import Witness
from protocol.decision import Refused
from protocol.recording.verdict import Verdict

# As the verdict's states; refused: what the device sent from there on did not fit, and was not taken; unvouched: it
# fits together, but nothing apart from it, and from what lies beside it, says whose key sealed it.
Outcome = Literal["intact", "interrupted", "stopped", "unfinished", "broken", "refused", "unvouched"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for a person, and what it comes to."""

    line: str
    outcome: Outcome

    @property
    def is_sound(self) -> bool:
        """Whether the recording is good as far as it goes, and nothing of it was refused."""
        return self.outcome not in {"broken", "refused"}


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
        return Finding(verdict.describe(), "broken")
    if contradiction := _contradiction(verdict, witness, is_kept=is_kept):
        return Finding(f"broken: {contradiction}; by itself it is {verdict.describe(witness.word)}", "broken")
    if refused is not None:
        return Finding(
            f"refused ({refused.check}): {refused.reason}; what came before is {verdict.describe(witness.word)}",
            "refused",
        )
    if verdict.state == "intact" and not (verdict.vouched and witness.is_proof):
        return Finding(verdict.describe(witness.word), "unvouched")
    return Finding(verdict.describe(witness.word, arrives=arrives), verdict.state)


def _contradiction(verdict: Verdict, witness: Witness, *, is_kept: bool) -> str:
    """Return how the audit log contradicts it. A file that goes on less far than the upload does not."""
    has_ended = verdict.state in {"intact", "interrupted", "stopped"}
    if witness.provenance is None or verdict.header is None or not (has_ended or is_kept):
        return ""
    return witness.provenance.contradiction(verdict.header.signer, verdict.hash)
