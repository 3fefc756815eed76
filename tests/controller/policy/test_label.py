from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.label import LabelChange, decide_relabelling, parse_label_change
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import BadNameError


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("env=dev", LabelChange("env", "dev")),
        ("env=", LabelChange("env", "")),
        ("env-", LabelChange("env", None)),
        ("a-b-", LabelChange("a-b", None)),
        ("a-b=c", LabelChange("a-b", "c")),
        (" env = dev ", LabelChange("env", "dev")),
    ],
)
def test_a_change_is_read(text: str, change: LabelChange) -> None:
    assert parse_label_change(text) == change


@pytest.mark.parametrize("text", ["", "-", "=x", "env", "a b=c", "env=a,b", "env=\x1b[31m", "x" * 65 + "=1", "a b-"])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(BadNameError):
        parse_label_change(text)


@given(st.text(max_size=20))
def test_a_change_is_read_or_refused_by_its_own_error(text: str) -> None:
    try:
        change = parse_label_change(text)
    except BadNameError:
        return
    assert change.name in text


def test_labels_are_set_replaced_and_taken_off() -> None:
    changes = [LabelChange("b", "2"), LabelChange("a", None), LabelChange("c", "3"), LabelChange("gone", None)]
    assert decide_relabelling({"a": "1", "b": "1"}, changes) == Granted({"b": "2", "c": "3"})


def test_the_last_of_two_changes_counts() -> None:
    assert decide_relabelling({}, [LabelChange("a", "1"), LabelChange("a", None)]) == Granted({})


def test_more_labels_than_a_node_may_have_are_refused_and_the_most_are_not() -> None:
    full = {f"l{number:02}": "x" for number in range(limits.LABELS_MAX)}
    assert isinstance(decide_relabelling(full, [LabelChange("more", "x")]), Refused)
    swapped = decide_relabelling(full, [LabelChange("more", "x"), LabelChange("l00", None)])
    assert isinstance(swapped, Granted)
    assert len(swapped.value) == limits.LABELS_MAX
