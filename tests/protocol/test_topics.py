from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import topics
from protocol.names import BadNameError, NodeId
from protocol.topics import NodeTopic

NODE = NodeId(str(uuid.UUID(int=1)))


def test_what_a_node_writes_to_is_read_back() -> None:
    assert topics.parse_node_topic(topics.state(NODE)) == NodeTopic(NODE, "state")
    assert topics.parse_node_topic(topics.beat(NODE)) == NodeTopic(NODE, "beat")
    assert topics.parse_node_topic(topics.live(NODE)) == NodeTopic(NODE, "live")
    assert topics.parse_seen(topics.seen(NODE)) == NODE
    assert [topics.parse_node_topic(topic).topic for topic in topics.written_by(NODE)] == list(topics.written_by(NODE))


def test_topics_are_short_and_no_two_are_the_same() -> None:
    known = [topics.state(NODE), topics.beat(NODE), topics.node_document(NODE), topics.seen(NODE)]
    known += [topics.POLICY, topics.PULSE, topics.live(NODE)]
    assert len(set(known)) == len(known)
    assert len(topics.beat(NODE)) == len(NODE) + 4


@pytest.mark.parametrize(
    ("pattern", "topic"),
    [
        (topics.ALL_STATES, topics.state(NODE)),
        (topics.ALL_BEATS, topics.beat(NODE)),
        (topics.ALL_LIVE, topics.live(NODE)),
        (topics.ALL_SEEN, topics.seen(NODE)),
        (topics.ALL_NODE_DOCUMENTS, topics.node_document(NODE)),
    ],
)
def test_each_pattern_stands_for_its_topics(pattern: str, topic: str) -> None:
    assert pattern.replace("+", NODE) == topic


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "n",
        "n/x/s",
        f"n/{NODE}",
        f"n/{NODE}/x",
        f"n/{NODE}/s/",
        f"n/{NODE}/s/b",
        f"m/{NODE}/s",
        f"/n/{NODE}/s",
        f"c/n/{NODE}",
        "n/+/s",
        "n/#",
        f"n/{NODE}\n/s",
        f"n/../{NODE}/s",
    ],
)
def test_what_is_no_topic_of_a_node_s_is_refused(topic: str) -> None:
    with pytest.raises(BadNameError):
        topics.parse_node_topic(topic)


@pytest.mark.parametrize("topic", ["", "seen", "seen/", "seen/x", f"seen/{NODE}/x", f"saw/{NODE}", "seen/+"])
def test_what_is_no_memory_of_ours_is_refused(topic: str) -> None:
    with pytest.raises(BadNameError):
        topics.parse_seen(topic)


def test_the_topic_of_a_document_for_one_node_names_it() -> None:
    assert topics.parse_node_document(topics.node_document(NODE)) == NODE


@pytest.mark.parametrize("topic", ["", "c/n/", "c/n/x", f"c/n/{NODE}/x", f"n/{NODE}", topics.POLICY])
def test_what_is_no_document_s_topic_is_refused(topic: str) -> None:
    with pytest.raises(BadNameError):
        topics.parse_node_document(topic)


@given(st.text())
def test_any_text_is_a_topic_or_refused(text: str) -> None:
    for parse in (topics.parse_node_topic, topics.parse_seen, topics.parse_node_document):
        with pytest.raises(BadNameError):
            parse(text)


def test_the_controller_s_name_at_the_broker_is_no_node_s() -> None:
    with pytest.raises(BadNameError):
        topics.parse_node_topic(f"n/{topics.CONTROLLER}/s")
