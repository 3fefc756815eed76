"""A recording as plain text: what was shown, and a line where output was no text."""

from __future__ import annotations

from protocol.recording.binary import parse_summary
from protocol.recording.cast import Event


class PlainText:
    """Turns events into text, in their order. What was no text is summed up until there is text again."""

    def __init__(self, *, in_place: bool = False) -> None:
        """Begin. With `in_place` the line about what was no text is shown at once, and shown again as that grows."""
        self._in_place = in_place
        self._omitted = 0
        self._at_start = True

    def show(self, event: Event) -> str:
        """Return what is to be shown now."""
        if event.code == "b":
            return self._omit(parse_summary(event.data).count)
        if event.code not in ("o", "e") or not event.data:
            return ""
        shown = self.end() + event.data
        self._at_start = event.data.endswith("\n")
        return shown

    def end(self) -> str:
        """Return what is left to be shown when there is nothing more, or text again."""
        if not self._omitted:
            return ""
        line = "\n" if self._in_place else f"{self._begin()}{self._note()}\n"
        self._omitted, self._at_start = 0, True
        return line

    def _omit(self, count: int) -> str:
        begin = "\r" if self._omitted else self._begin()
        self._omitted += count
        return begin + self._note() if self._in_place else ""

    def _begin(self) -> str:
        return "" if self._at_start else "\n"

    def _note(self) -> str:
        return f"[{self._omitted} bytes that are no text]"
