"""The MQTT topics: who writes where, built and read in one place.

=================  ========  ===================================================  ==============================
topic              written   what                                                 kept by the broker
=================  ========  ===================================================  ==============================
``n/ID/s``         node      its state, and its last will (`presences.NodeState`)  retained, QoS 1
``n/ID/b``         node      a heartbeat (`presences.Beat`)                        no, QoS 0
``n/ID/l``         node      its live sessions (`live_sessions.LiveSessions`)      retained, QoS 1
``c/policy``       us        the policy document (`control.PolicyDocument`)       retained, QoS 1, signed
``c/pulse``        us        the time, and that all of it still holds             no, QoS 0, signed
``c/n/ID``         us        what is for one node (`control.NodeDocument`)        retained, QoS 1, signed
``seen/ID``        us        since when a node is online or offline: our memory   retained, QoS 1, not for nodes
``seen/watch``     us        until when we watched                                retained, QoS 1, not for nodes
=================  ========  ===================================================  ==============================

Names are short: a heartbeat carries its topic, every 30 seconds, over links that are paid for by the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protocol import names
from protocol.names import BadNameError, NodeId

POLICY = "c/policy"
PULSE = "c/pulse"
ALL_STATES = "n/+/s"
ALL_BEATS = "n/+/b"
ALL_LIVE = "n/+/l"
ALL_SEEN = "seen/+"
ALL_NODE_DOCUMENTS = "c/n/+"
# What a node may write and read of its own, as a broker's access list has it: %u is the name in its certificate.
NODE_STATE_PATTERN = "n/%u/s"
NODE_BEAT_PATTERN = "n/%u/b"
NODE_LIVE_PATTERN = "n/%u/l"
NODE_DOCUMENT_PATTERN = "c/n/%u"
# The user name and client id under which the controller speaks to its broker; no node's: theirs are UUIDs.
CONTROLLER = "controller"

NodeWord = Literal["state", "beat", "live"]
_WORDS: dict[str, NodeWord] = {"s": "state", "b": "beat", "l": "live"}
_LETTERS: dict[NodeWord, str] = {word: letter for letter, word in _WORDS.items()}


@dataclass(frozen=True, slots=True)
class NodeTopic:
    """A topic that a node writes."""

    node_id: NodeId
    word: NodeWord

    @property
    def topic(self) -> str:
        """The topic, as it is written."""
        return f"n/{self.node_id}/{_LETTERS[self.word]}"


def state(node_id: NodeId) -> str:
    """Return where a node tells its state."""
    return f"n/{node_id}/s"


def beat(node_id: NodeId) -> str:
    """Return where a node's heart beats."""
    return f"n/{node_id}/b"


def live(node_id: NodeId) -> str:
    """Return where a node tells of its live sessions."""
    return f"n/{node_id}/l"


def written_by(node_id: NodeId) -> tuple[str, ...]:
    """Return all topics that a node writes to."""
    return state(node_id), beat(node_id), live(node_id)


def node_document(node_id: NodeId) -> str:
    """Return where a node finds what is for it alone."""
    return f"c/n/{node_id}"


def seen(node_id: NodeId) -> str:
    """Return where the controller remembers since when a node is as it is."""
    return f"seen/{node_id}"


def parse_node_topic(topic: str) -> NodeTopic:
    """Read a topic that a node wrote to. Raises `BadNameError`."""
    parts = topic.split("/")
    if len(parts) != 3 or parts[0] != "n" or parts[2] not in _WORDS:
        raise BadNameError("not a topic that nodes write to")
    return NodeTopic(names.parse_node_id(parts[1]), _WORDS[parts[2]])


def parse_seen(topic: str) -> NodeId:
    """Return the node of a ``seen/ID`` topic. Raises `BadNameError`."""
    first, _, rest = topic.partition("/")
    if first != "seen":
        raise BadNameError("not a topic of ours")
    return names.parse_node_id(rest)


def parse_node_document(topic: str) -> NodeId:
    """Return the node of a ``c/n/ID`` topic. Raises `BadNameError`."""
    prefix = "c/n/"
    if not topic.startswith(prefix):
        raise BadNameError("not a topic of ours")
    return names.parse_node_id(topic[len(prefix) :])
