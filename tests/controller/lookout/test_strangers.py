"""Nodes that speak before they are known: what they said last counts, in the order in which they said it."""

from __future__ import annotations

from controller.lookout.strangers import Strangers
from protocol.decision import Refused
from protocol.names import NodeId
from protocol.topics import NodeTopic

NODE = NodeId("00000000-0000-4000-8000-000000000001")
STATE, LIVE, BEAT = NodeTopic(NODE, "state"), NodeTopic(NODE, "live"), NodeTopic(NODE, "beat")


class Shore:
    """The strangers, and what was done about them."""

    def __init__(self) -> None:
        self.cleared: list[str] = []
        self.refused: list[tuple[NodeId, Refused]] = []
        self.strangers = Strangers(self.cleared.append, lambda node, why: self.refused.append((node, why)))

    def said(self) -> list[tuple[str, bytes]]:
        found = self.strangers.judge({NODE}, self.strangers.waiting())
        return [(one.topic.word, one.payload) for one in found]


def test_who_came_and_beat_is_told_so_in_that_order() -> None:
    shore = Shore()
    shore.strangers.meet(STATE, b"online", retained=False)
    shore.strangers.meet(BEAT, b"beat", retained=False)
    assert shore.said() == [("state", b"online"), ("beat", b"beat")]


def test_who_came_beat_and_left_before_being_known_has_left() -> None:
    shore = Shore()
    shore.strangers.meet(STATE, b"online", retained=False)
    shore.strangers.meet(BEAT, b"beat", retained=False)
    shore.strangers.meet(STATE, b"stopped", retained=False)
    assert shore.said() == [("state", b"stopped")]


def test_sessions_told_before_a_farewell_show_nobody_alive_and_those_told_after_a_state_do() -> None:
    shore = Shore()
    shore.strangers.meet(STATE, b"online", retained=False)
    shore.strangers.meet(LIVE, b"none", retained=False)
    shore.strangers.meet(STATE, b"stopped", retained=False)
    found = shore.strangers.judge({NODE}, shore.strangers.waiting())
    assert [(one.topic.word, one.retained) for one in found] == [("state", False), ("live", True)]
    shore.strangers.meet(STATE, b"online", retained=False)
    shore.strangers.meet(LIVE, b"none", retained=False)
    found = shore.strangers.judge({NODE}, shore.strangers.waiting())
    assert [(one.topic.word, one.retained) for one in found] == [("state", False), ("live", False)]


def test_who_is_no_node_is_refused_and_leaves_nothing() -> None:
    shore = Shore()
    shore.strangers.meet(STATE, b"online", retained=False)
    assert list(shore.strangers.judge(set(), shore.strangers.waiting())) == []
    assert shore.cleared == [f"n/{NODE}/s"]
    assert [(node, why.check) for node, why in shore.refused] == [(NODE, "B2")]
