"""The exit status that goes with what a command says of a recording."""

from __future__ import annotations

from controller.recordings.finding import Finding, Outcome
from controller.tctl.error import INTERRUPTED, REFUSED, UNFINISHED, UNVOUCHED

_STATUSES: dict[Outcome, int] = {
    "intact": 0,
    "interrupted": INTERRUPTED,
    "stopped": INTERRUPTED,
    "unfinished": UNFINISHED,
    "broken": REFUSED,
    "refused": REFUSED,
    "unvouched": UNVOUCHED,
}


def status_of(finding: Finding) -> int:
    """Return the exit status."""
    return _STATUSES[finding.outcome]
