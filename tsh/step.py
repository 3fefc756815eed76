"""What a player wants done."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done next.

    Attributes:
        output: goes to the terminal as it is.
        wait: seconds until the next step at the latest; None until a key or something new of the recording.
        over: there is nothing more to show.
        status: what is to stand on the terminal's last line after it.
    """

    output: str
    wait: float | None
    over: bool = False
    status: str | None = None

    def with_note(self, note: str, left: float) -> Step:
        """Return it with `note` on the last line for `left` seconds, where nothing else is to stand there."""
        if not note or self.status:
            return self
        return replace(self, wait=left if self.wait is None else min(self.wait, left), status=note)
