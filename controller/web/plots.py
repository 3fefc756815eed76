"""A day of a node's heartbeats, as plots: numbers for the eye, words and a table for everybody else. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.presence.history import NodeHistory
from protocol.events import Json

_HOUR = 3600
_MIB, _GIB = 1024, 1024 * 1024  # in KiB


@dataclass(frozen=True, slots=True)
class Plot:
    """One series.

    Attributes:
        name: as scripts call it.
        title: as people do, with its unit.
        digits: how many behind the point are worth showing.
        values: one for each step; None where nothing was heard.
    """

    name: str
    title: str
    unit: str
    digits: int
    values: tuple[float | None, ...]

    @property
    def words(self) -> str:
        """The day in one sentence."""
        known = [value for value in self.values if value is not None]
        if not known:
            return "Nothing was heard in the last day."
        least, most, mean = (self.show(value) for value in (min(known), max(known), sum(known) / len(known)))
        return f"{least} at the least, {mean} on average, {most} at the most; {self.show(known[-1])} now."

    def show(self, value: float | None) -> str:
        """Return a value with its unit; a dash for none."""
        return "-" if value is None else f"{value:.{self.digits}f}{' ' if self.unit else ''}{self.unit}"


@dataclass(frozen=True, slots=True)
class Day:
    """The plots of one node, and the same as a table, an hour a row: the newest first."""

    begin: int
    step: int
    plots: tuple[Plot, ...]
    rows: tuple[tuple[datetime, tuple[str, ...]], ...]

    def to_dict(self) -> dict[str, Json]:
        """Return what the page's script draws."""
        series: list[Json] = [
            {"name": plot.name, "title": plot.title, "unit": plot.unit, "digits": plot.digits, "values": [*plot.values]}
            for plot in self.plots
        ]
        return {"begin": self.begin, "step": self.step, "series": series}


def plot_day(history: NodeHistory) -> Day:
    """Return the plots of a history. A series in which nothing ever came, such as of a sensor it lacks, is left out."""
    plots = (
        Plot("load", "Load", "", 2, tuple(history.load)),
        _memory(history.memory_free),
        Plot("temperature", "Temperature", "°C", 1, tuple(history.temperature)),
        Plot("round_trip", "Round trip", "ms", 0, tuple(history.round_trip)),
    )
    heard = tuple(plot for plot in plots if any(value is not None for value in plot.values))
    return Day(history.begin, history.step, heard, _rows(history, heard))


def _memory(kibibytes: Sequence[float | None]) -> Plot:
    """Return the plot of free memory, in the unit that the most of it is told in elsewhere."""
    if max((value or 0 for value in kibibytes), default=0) >= _GIB:
        return Plot("memory", "Memory available", "GiB", 1, _scaled(kibibytes, 1 / _GIB))
    return Plot("memory", "Memory available", "MiB", 0, _scaled(kibibytes, 1 / _MIB))


def _scaled(values: Sequence[float | None], factor: float) -> tuple[float | None, ...]:
    return tuple(None if value is None else value * factor for value in values)


def _rows(history: NodeHistory, plots: tuple[Plot, ...]) -> tuple[tuple[datetime, tuple[str, ...]], ...]:
    steps = max(1, _HOUR // max(1, history.step))
    length = max((len(plot.values) for plot in plots), default=0)
    rows = []
    for start in range(0, length, steps):
        begin = datetime.fromtimestamp(history.begin / 1000 + start * history.step, UTC)
        rows.append((begin, tuple(plot.show(_mean(plot.values[start : start + steps])) for plot in plots)))
    return tuple(reversed(rows))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
