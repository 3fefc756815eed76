"""The statistics of a comparison: what was measured in turn, and what follows from it. No clock, no processes.

Two programs that share a machine with others are compared by pairs: each turn runs one after the other, and the
ratio is taken within the turn, so that what slows the machine for a while slows both. The median of the ratios is
the result; the smallest and the largest say how far to trust it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing: the median, and between what they lie."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of `values`. Raises `ValueError` where there are none."""
        if not values:
            raise ValueError("nothing was measured")
        return cls(statistics.median(values), min(values), max(values))

    def to_dict(self) -> dict[str, float]:
        """Return the JSON object."""
        return {"median": self.median, "min": self.lowest, "max": self.highest}


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached: at least or at most a number, by the ratio to the rival or by our own figure."""

    of: Literal["ratio", "ours"]
    sense: Literal["at least", "at most"]
    number: float

    def holds(self, value: float) -> bool:
        """Tell whether `value` reaches it."""
        return value >= self.number if self.sense == "at least" else value <= self.number


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a result.

    Attributes:
        what: what was done, in a few words.
        unit: of both series, such as ``MB/s``.
        ours: our figures, one a turn.
        theirs: the rival's of the same turns; empty where there is no rival.
        rival: who that is.
        goal: None where none is set.
    """

    what: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    rival: str = ""
    goal: Goal | None = None

    def ratios(self) -> list[float]:
        """Return ours by theirs, turn by turn. Raises `ValueError` where a turn is missing on one side."""
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)] if self.theirs else []

    def reached(self) -> bool | None:
        """Tell whether the median reaches the goal; None where there is none."""
        if self.goal is None:
            return None
        return self.goal.holds(Spread.of(self.ratios() if self.goal.of == "ratio" else self.ours).median)

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object."""
        ratios = self.ratios()
        found: dict[str, object] = {
            "what": self.what,
            "unit": self.unit,
            "ours": Spread.of(self.ours).to_dict() | {"turns": list(self.ours)},
        }
        if ratios:
            found["rival"] = self.rival
            found["theirs"] = Spread.of(self.theirs).to_dict() | {"turns": list(self.theirs)}
            found["ratio"] = Spread.of(ratios).to_dict() | {"turns": ratios}
        if self.goal:
            found["goal"] = {"of": self.goal.of, "sense": self.goal.sense, "number": self.goal.number}
            found["reached"] = self.reached()
        return found


def take_turns(runs: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Run each once to warm up, then all of them in turn, `turns` times; return what each gave, by name."""
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            found[name].append(run())
    return found
