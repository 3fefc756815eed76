"""By which signs two devices with one identity are told from one whose link is bad."""

from __future__ import annotations

# So often within so many seconds a tunnel is taken from a connection that still answers, before it is a sign. One
# agent holds one tunnel, and what it left behind answers nobody; a second agent that somebody started by mistake, and
# ended, is told from a copy by this.
CONTESTS = 3
CONTEST_WINDOW = 600.0
# An answer that is lost leaves a node one generation behind; more it never is.
_BEHIND_MAX = 1


def is_outdated(shown: int, recorded: int) -> bool:
    """Tell whether certificates of generation `shown` can only be a copy's, where `recorded` is the node's."""
    return recorded - shown > _BEHIND_MAX


def note_contest(before: tuple[float, ...], now: float) -> tuple[tuple[float, ...], bool]:
    """Note that a node's tunnel was taken from a connection that still answered.

    Args:
        before: when that was so, of late; empty for never.
        now: seconds of the same clock.

    Returns:
        What to bring the next time, and whether two devices must be taking turns.
    """
    recent = (*(then for then in before if now - CONTEST_WINDOW < then <= now), now)
    return ((), True) if len(recent) >= CONTESTS else (recent, False)
