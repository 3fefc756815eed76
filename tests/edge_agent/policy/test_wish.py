from __future__ import annotations

from edge_agent.policy.wish import unheeded
from protocol.names import Labels, parse_labels, parse_node_name

HAS = parse_labels({"env": "staging", "site": "north"})


def told(name: str, labels: Labels) -> list[str]:
    return unheeded(nodename=parse_node_name(name), labels=labels, has_name=parse_node_name("kiosk-1"), has_labels=HAS)


def test_what_was_granted_is_not_spoken_of() -> None:
    assert told("kiosk-1", {}) == []
    assert told("kiosk-1", HAS) == []
    assert told("kiosk-1", parse_labels({"site": "north"})) == []


def test_another_name_is_told_with_the_one_it_has() -> None:
    assert told("kiosk-2", {}) == ["the name kiosk-2 has no effect: this node is kiosk-1 since it joined"]


def test_each_label_that_it_has_not_or_has_otherwise_is_a_line_of_its_own() -> None:
    assert told("kiosk-1", parse_labels({"role": "till", "env": "prod", "site": "north"})) == [
        "the label env=prod has no effect: this node has env=staging since it joined",
        "the label role=till has no effect: the join token did not allow this device to claim it",
    ]
