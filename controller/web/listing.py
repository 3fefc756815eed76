"""The nodes page as values: which nodes match, which of them stand on the page, what each row says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.fleet import NodeView
from protocol.messages import NodeStatus
from protocol.names import Login

PAGE_SIZE = 100
SEARCH_MAX_CHARS = 200

# A node that nobody has heard of yet has joined and is on its way.
_WORDS: dict[NodeStatus, str] = {"unknown": "pending"}
_TONES: dict[NodeStatus, str] = {"online": "online", "offline": "offline"}


@dataclass(frozen=True, slots=True)
class Row:
    """One node as its row shows it: in `state` since `since`, for `age`, such as ``3 h``.

    `tone` is online, offline or pending: how good that is.
    """

    node: NodeView
    state: str
    tone: str
    since: datetime
    age: str
    command: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of nodes.

    Attributes:
        total: nodes the person may see; `matching`: those that the search leaves.
        online, offline, pending, tunnel_down, stale: of `total`.
        page, pages: counted from 1.
    """

    rows: tuple[Row, ...]
    total: int
    matching: int
    online: int
    offline: int
    pending: int
    tunnel_down: int
    stale: int
    page: int
    pages: int
    search: str


def list_nodes(nodes: Sequence[NodeView], *, search: str, page: int, login: Login | None, now: datetime) -> Listing:
    """Return page `page` of the nodes that `search` leaves, by name. A page past the end is the last one."""
    words = search[:SEARCH_MAX_CHARS].lower().split()
    matching = sorted((node for node in nodes if _matches(node, words)), key=lambda node: (node.name, node.node_id))
    pages = max(1, -(-len(matching) // PAGE_SIZE))
    page = min(max(1, page), pages)
    shown = matching[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    names = [node.name for node in nodes]
    repeated = {name for name in {node.name for node in shown} if names.count(name) > 1}
    states = [_word(node) for node in nodes]
    return Listing(
        rows=tuple(_row(node, login, now, repeated=node.name in repeated) for node in shown),
        total=len(nodes),
        matching=len(matching),
        online=states.count("online"),
        offline=states.count("offline"),
        pending=states.count("pending"),
        tunnel_down=states.count("tunnel down"),
        stale=states.count("stale"),
        page=page,
        pages=pages,
        search=search[:SEARCH_MAX_CHARS],
    )


def _matches(node: NodeView, words: Sequence[str]) -> bool:
    labels = " ".join(f"{key}={value}" for key, value in node.labels.items())
    text = f"{node.name} {node.node_id} {_word(node)} {labels}".lower()
    return all(word in text for word in words)


def _row(node: NodeView, login: Login | None, now: datetime, *, repeated: bool) -> Row:
    # A name that two nodes bear is ambiguous to tsh: the line to copy names the UUID then.
    target = node.node_id if repeated else node.name
    command = f"tsh ssh {login}@{target}" if login else f"tsh ssh {target}"
    since = node.since or node.joined
    tone = _TONES.get(node.status, "pending")
    return Row(node, _word(node), tone, since, describe_age(now - since), command)


def _word(node: NodeView) -> str:
    return _WORDS.get(node.status, node.status)


def describe_age(age: timedelta) -> str:
    """Return `age` in its largest unit, as a row has room for: ``now``, ``40 s``, ``3 h``, ``12 d``."""
    seconds = int(age.total_seconds())
    if seconds < 5:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
