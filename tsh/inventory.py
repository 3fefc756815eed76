"""The nodes a person may see, asked of the web door."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocol.endpoints import NODES
from protocol.messages import NodeEntry, NodeList
from protocol.names import Labels
from tsh.entrance import Entrance
from tsh.setting import Settings


def list_nodes(settings: Settings) -> Sequence[NodeEntry]:
    """Return every node of the profile that is meant. Raises `NotSignedInError` or `TshError`."""
    return Entrance(settings).ask(NODES, NodeList.from_dict, doing="listing the nodes").nodes


def choose_nodes(nodes: Iterable[NodeEntry], labels: Labels, search: Sequence[str] = ()) -> list[NodeEntry]:
    """Return the nodes with all of `labels` in which every word of `search` occurs, by name."""
    words = [word.lower() for word in search]
    found = [
        node for node in nodes if labels.items() <= node.labels.items() and all(_mentions(node, word) for word in words)
    ]
    return sorted(found, key=lambda node: (node.name, node.node_id))


def _mentions(node: NodeEntry, word: str) -> bool:
    texts = (node.name, node.node_id, node.address, *(f"{key}={value}" for key, value in node.labels.items()))
    return any(word in text.lower() for text in texts)
