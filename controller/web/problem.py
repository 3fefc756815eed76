"""What is wrong with what a person typed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, in words for the person; `field` is the input it stands beside, empty for none."""

    text: str
    field: str = ""
