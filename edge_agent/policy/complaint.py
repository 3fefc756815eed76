"""What is worth saying again, of what may go wrong in the same way for months."""

from __future__ import annotations

REMINDER = 3600.0
# What alternates is told as one thing said for the second time, too; more of them are forgotten, the oldest first.
_KINDS_MAX = 8


class Complaints:
    """Remembers what was said since things last went well."""

    def __init__(self) -> None:
        """Have said nothing yet."""
        self._said: dict[str, float] = {}

    def is_news(self, text: str, now: float) -> bool:
        """Tell whether to say `text`: it is new, or was last said an hour ago.

        Args:
            text: what went wrong.
            now: seconds, by a clock that only goes forward.
        """
        said = self._said.get(text)
        if said is not None and now - said < REMINDER:
            return False
        self._said.pop(text, None)
        self._said[text] = now
        if len(self._said) > _KINDS_MAX:
            del self._said[next(iter(self._said))]
        return True

    def clear(self) -> None:
        """Forget all: things go well."""
        self._said.clear()
