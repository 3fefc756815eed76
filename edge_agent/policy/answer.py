"""What follows for an upload from each of the controller's answers.

Some answers are about one recording, and it alone waits or is given up; others are about the link or the controller,
and everything waits. `now` counts seconds on any clock that only goes forward; `chance` is a number from 0 up to 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import get_args

from edge_agent.policy.link import RETRY_AFTER_MAX, decide_wait
from edge_agent.policy.turn import Begin, Look, Progress, Send, Standing, excess
from edge_agent.policy.upload import PIECE_MIN
from protocol import limits, recordings

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
# The states of `protocol.recordings` in which the controller has all that will ever come.
_WHOLE = frozenset({"complete", "interrupted", "stopped"})
_STATES = frozenset(get_args(recordings.State))
_DOUBLINGS_MAX = 16
_LINK_MAX = limits.RECONNECT_MAX.total_seconds()
_NOT_NOW = frozenset({408, 425, 429})


class Verdict(Enum):
    """What an answer means."""

    DONE = "done"
    # The upload stands elsewhere than we thought, or a piece was damaged on its way: ask where it stands.
    CONFLICT = "conflict"
    MISSING = "missing"
    # This recording will not be taken, now or ever.
    REFUSED = "refused"
    # It is not ours to send, or we are not known any more: that may mend, but not soon.
    FORBIDDEN = "forbidden"
    # The answer makes no sense.
    NONSENSE = "nonsense"
    # Nothing is to be had from the controller for now. Everything waits, and the one that was tried a little longer:
    # if it is what breaks the controller, the others get through in between.
    UNAVAILABLE = "unavailable"


_VERDICTS: Mapping[int, Verdict] = {
    200: Verdict.DONE,
    201: Verdict.DONE,
    204: Verdict.DONE,
    400: Verdict.NONSENSE,
    403: Verdict.FORBIDDEN,
    404: Verdict.MISSING,
    409: Verdict.CONFLICT,
    410: Verdict.REFUSED,
    413: Verdict.REFUSED,
    422: Verdict.REFUSED,
    423: Verdict.CONFLICT,
    460: Verdict.CONFLICT,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The controller's answer to a request.

    Attributes:
        status: the HTTP status; 0 where there was no answer.
        text: its words, or why there was none.
        headers: the answer's, their names in small letters.
    """

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def retry_after(self) -> float | None:
        """Seconds the controller wants to be left alone for; None where it said nothing that makes sense."""
        return _number(self.headers.get("retry-after"))


@dataclass(frozen=True, slots=True)
class Finding:
    """What an answer comes to.

    Attributes:
        standing: where the upload stands, if the verdict is DONE.
        reason: what is wrong, otherwise.
    """

    verdict: Verdict
    standing: Standing | None = None
    reason: str = ""


def judge(step: Begin | Look | Send, answer: Answer, size: int, *, is_live: bool) -> Finding:
    """Return what `answer` to `step` means for a recording that has `size` bytes here, and more later if it is live."""
    verdict = _VERDICTS.get(answer.status, Verdict.UNAVAILABLE)
    if answer.status == 413 and isinstance(step, Send) and step.size > PIECE_MIN:
        verdict = Verdict.CONFLICT  # something on the way takes less at a time than the controller
    if verdict is not Verdict.DONE:
        return Finding(verdict, None, answer.text or f"HTTP status {answer.status}")
    if isinstance(step, Begin):
        return Finding(Verdict.DONE, Standing(0))
    try:
        standing = parse_standing(answer.headers)
        if isinstance(step, Look) and standing.offset > size and not is_live:
            return Finding(Verdict.REFUSED, None, excess(standing.offset, size))
        _check(standing, step, size)
    except ValueError as err:
        return Finding(Verdict.NONSENSE, None, str(err))
    if standing.state == "refused":
        return Finding(Verdict.REFUSED, None, "what was sent did not fit")
    return Finding(Verdict.DONE, standing)


def parse_standing(headers: Mapping[str, str]) -> Standing:
    """Read where an upload stands from an answer's headers. Raises `ValueError`."""
    offset = _number(headers.get("upload-offset"))
    if offset is None:
        raise ValueError("an answer that does not say how much has arrived")
    state, digest = headers.get("skerry-recording-state", "arriving"), headers.get("skerry-recording-hash", "")
    if state not in _STATES:
        raise ValueError("an answer with a state that is not known")
    if state in _WHOLE and not _DIGEST.fullmatch(digest):
        raise ValueError("an answer without the hash of the whole")
    return Standing(int(offset), state, digest)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _check(standing: Standing, step: Look | Send, size: int) -> None:
    """Raise `ValueError` where the controller claims what cannot be."""
    if standing.offset > size:
        raise ValueError(f"the controller says that it has {standing.offset} bytes, of {size}")
    if isinstance(step, Send):
        if not step.offset <= standing.offset <= step.offset + step.size:
            raise ValueError(f"{step.size} bytes sent from {step.offset}, and it stands at {standing.offset}")
        if standing.state == "arriving" and standing.offset in {step.offset, step.length}:
            raise ValueError("the controller took what was sent, and is no further")


# --- what follows -----------------------------------------------------------------------------------------------


def advance(known: Progress, step: Begin | Look | Send, finding: Finding, *, now: float, chance: float) -> Progress:
    """Return how far an upload is after `step` and what came of it."""
    verdict = finding.verdict
    if verdict is Verdict.DONE:
        failures = 0 if isinstance(step, Send) else known.failures
        return replace(known, standing=finding.standing, is_missing=False, has_begun=True, failures=failures)
    if verdict is Verdict.REFUSED:
        return replace(known, refusal=finding.reason)
    if verdict is Verdict.MISSING and isinstance(step, Look):
        return replace(known, standing=None, is_missing=True, mark="", digest="")
    wait = chance * min(RETRY_AFTER_MAX, 2.0 ** min(known.failures, _DOUBLINGS_MAX))
    if verdict is Verdict.UNAVAILABLE:
        wait = decide_wait(known.failures, None, chance)
    if verdict is Verdict.FORBIDDEN:
        wait = RETRY_AFTER_MAX * (1 + chance) / 2
    if verdict is Verdict.CONFLICT and not known.failures:
        wait = 0.0
    return replace(known, standing=None, failures=known.failures + 1, not_before=now + wait)


def hasten(known: Progress, now: float) -> Progress:
    """Return how far an upload is once the link is known to be back: what waits for no more than that tries again."""
    return replace(known, not_before=now) if now < known.not_before <= now + _LINK_MAX else known


def decide_rest(failures: int, answer: Answer, chance: float) -> float:
    """Return how many seconds to ask the controller for nothing after it was unavailable.

    Args:
        failures: how often in a row it had been before.
        answer: its last.
        chance: from 0 up to 1.
    """
    unwilling = 400 <= answer.status < 500 and answer.status not in _NOT_NOW
    return decide_wait(failures, answer.retry_after, chance, refused=unwilling)
