"""What can be wrong with a recording."""

from __future__ import annotations


class RecordingError(ValueError):
    """The bytes are not a recording, or not the one that was written. Its message is safe to show.

    Attributes:
        check: the number of the check that failed: F1, F2… in `reader`, O1, O2… in `opening`.
        number: the record it failed at.
        reason: what is wrong.
    """

    def __init__(self, check: str, number: int, reason: str) -> None:
        super().__init__(f"record {number}: {reason} ({check})")
        self.check = check
        self.number = number
        self.reason = reason
