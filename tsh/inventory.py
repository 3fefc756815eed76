"""The nodes a person may see, asked of the web door."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from protocol.endpoints import NODES
from protocol.messages import MessageError, NodeEntry, NodeList
from protocol.names import Labels
from tsh.error import NotSignedInError, TshError
from tsh.setting import Settings
from tsh.web_door import SignInRefusedError, Trust, WebDoor


def list_nodes(settings: Settings) -> Sequence[NodeEntry]:
    """Return every node of the profile that is meant. Raises `NotSignedInError` or `TshError`."""
    profile = settings.profile()
    settings.folder().valid_facts(profile, datetime.now(UTC))
    door = WebDoor(profile.host, profile.port, Trust(profile.anchors, profile.insecure), user=profile.user)
    try:
        return NodeList.from_dict(door.ask(NODES, token=profile.session_token)).nodes
    except SignInRefusedError:
        raise NotSignedInError(f"your session at {profile.url} has ended; log in: {profile.login_command}") from None
    except MessageError as err:
        raise TshError(f"listing the nodes of {profile.url}: it sent something else ({err})") from None


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
