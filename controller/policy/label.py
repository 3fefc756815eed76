"""What an admin's changes make of a node's labels: ``env=dev`` sets one, ``env-`` takes one off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from protocol import limits, names
from protocol.decision import Granted, Refused
from protocol.names import BadNameError, Labels


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One change; `value` is None where the label is taken off."""

    name: str
    value: str | None


def parse_label_change(text: str) -> LabelChange:
    """Read ``name=value`` or ``name-``. Raises `BadNameError`."""
    name, equals, value = text.partition("=")
    if equals:
        return LabelChange(*names.parse_label(name.strip(), value.strip()))
    if not text.endswith("-"):
        raise BadNameError(f"not a change of a label: {text!r} (write name=value to set it, name- to take it off)")
    return LabelChange(names.parse_label(text[:-1].strip(), "")[0], None)


def decide_relabelling(labels: Labels, changes: Iterable[LabelChange]) -> Granted[Mapping[str, str]] | Refused:
    """Return the labels that `changes` make of `labels`, sorted by name; the last of two on one label counts."""
    after = dict(labels)
    for change in changes:
        if change.value is None:
            after.pop(change.name, None)
        else:
            after[change.name] = change.value
    if len(after) > limits.LABELS_MAX:
        return Refused(f"it would have {len(after)}, and {limits.LABELS_MAX} are the most", "J6")
    return Granted(dict(sorted(after.items())))
