"""The nodes page as values: which nodes match, which of them stand on the page, what each row says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from urllib.parse import urlencode

from controller.fleet import NodeView
from protocol.messages import NodeStatus
from protocol.names import Login, NodeId

PAGE_SIZE = 50
SEARCH_MAX_CHARS = 200
LABELS_ASKED_MAX = 16
FACETS_MAX = 24

Pair = tuple[str, str]

# A node that nobody has heard of yet has joined and is on its way.
_WORDS: Mapping[NodeStatus, str] = {"unknown": "pending", "pending": "pending approval"}
_TONES: Mapping[NodeStatus, str] = {
    "online": "online",
    "offline": "offline",
    "stale": "stale",
    "tunnel down": "stale",
    "unknown": "pending",
    "pending": "pending",
}
# What `state` may be asked for, in the order in which states are sorted: what needs looking at comes last.
STATES: Mapping[str, frozenset[str]] = {
    "online": frozenset({"online"}),
    "pending": frozenset({"unknown", "pending"}),
    "tunnel-down": frozenset({"tunnel down"}),
    "stale": frozenset({"stale"}),
    "offline": frozenset({"offline"}),
}
_RANKS = {status: rank for rank, statuses in enumerate(STATES.values()) for status in statuses}
_NEVER = datetime.min.replace(tzinfo=UTC)
_NUMBERS = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Question:
    """What the page's address asks for.

    Attributes:
        labels: each of these must be on a node.
        state: one of `STATES`; empty for any.
        sort: one of `SORTS`, with ``-`` before it for the other way round.
        page: counted from 1.
    """

    search: str = ""
    labels: tuple[Pair, ...] = ()
    state: str = ""
    sort: str = "name"
    page: int = 1

    @classmethod
    def read(cls, asked: Mapping[str, str], labels: Iterable[str] = ()) -> Question:
        """Return what an address asks for: whatever is not understood counts as not asked."""
        pairs = (label.partition("=")[::2] for label in labels if "=" in label and len(label) <= SEARCH_MAX_CHARS)
        state, sort, page = asked.get("state", ""), asked.get("sort", ""), asked.get("page", "")
        return cls(
            search=asked.get("q", "")[:SEARCH_MAX_CHARS],
            labels=tuple(dict.fromkeys(pairs))[:LABELS_ASKED_MAX],
            state=state if state in STATES else "",
            sort=sort if sort.removeprefix("-") in SORTS else "name",
            page=int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
        )

    def fields(self) -> list[Pair]:
        """Return the address's fields but the page, as a form or a link has them."""
        found = [("q", self.search), *(("label", "=".join(pair)) for pair in self.labels)]
        found += [("state", self.state), ("sort", "" if self.sort == "name" else self.sort)]
        return [(name, value) for name, value in found if value]

    def link(self, *, page: int = 1) -> str:
        """Return the query of a link that asks this; ``?`` where it asks for nothing."""
        return "?" + urlencode([*self.fields(), *([("page", page)] if page > 1 else [])])

    def sorted_by(self, name: str) -> Question:
        """Return this, sorted by `name`; the other way round where it is already."""
        return replace(self, sort=f"-{name}" if self.sort == name else name)

    def direction(self, name: str) -> str | None:
        """Return how the table is sorted by `name`, in the words of ``aria-sort``; None where it is not."""
        return {name: "ascending", f"-{name}": "descending"}.get(self.sort)

    def in_state(self, state: str) -> Question:
        """Return this, for one state; for any where that is asked already."""
        return replace(self, state="" if self.state == state else state)

    def toggled(self, pair: Pair) -> Question:
        """Return this with a label asked for as well, or no more."""
        kept = tuple(each for each in self.labels if each != pair)
        return replace(self, labels=kept if pair in self.labels else (*self.labels, pair))

    @property
    def narrows(self) -> bool:
        """Whether it asks for some nodes only."""
        return bool(self.search.strip() or self.labels or self.state)


@dataclass(frozen=True, slots=True)
class Row:
    """One node as its row shows it: in `state` since `since`, for `age`, such as ``3 h``.

    Attributes:
        tone: online, offline, stale or pending: how good that is.
        seen: how long ago it was last heard of; empty where nobody knows.
        logins: as whom the person may open it; nothing where not at all.
        sessions: how many go on there that the person may know of.
    """

    node: NodeView
    state: str
    tone: str
    since: datetime
    age: str
    seen: str
    command: str
    logins: tuple[Login, ...]
    sessions: int
    is_locked: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """A label that nodes bear which match; `count` of them."""

    pair: Pair
    count: int
    is_asked: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of nodes.

    Attributes:
        total: nodes the person may see; `matching`: those that the question leaves.
        states: how many of `total` are in each of `STATES`.
        facets: labels to narrow by: those that are asked for, then the most common.
        page, pages: counted from 1.
    """

    question: Question
    rows: tuple[Row, ...]
    total: int
    matching: int
    states: Mapping[str, int]
    facets: tuple[Facet, ...]
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class Card:
    """One node as it is searched: kept for as long as its view is the same object."""

    view: NodeView
    text: str


@dataclass(frozen=True, slots=True)
class Sight:
    """What beside the nodes a listing is made of: who looks, and what holds at the moment.

    Attributes:
        opens: the nodes that the person may open; `logins`: as whom.
        sessions: how many sessions go on at a node that the person may know of.
        locked: the nodes that are locked.
    """

    now: datetime
    opens: Collection[NodeId]
    logins: tuple[Login, ...]
    sessions: Mapping[NodeId, int]
    locked: Collection[str] = ()


class Catalogue:
    """What nodes are searched by, kept between requests: there may be ten thousand, of which few have changed."""

    def __init__(self) -> None:
        self._cards: dict[NodeId, Card] = {}

    def cards(self, nodes: Sequence[NodeView]) -> list[Card]:
        """Return the cards of `nodes`, in their order."""
        kept, found = self._cards, []
        for node in nodes:
            card = kept.get(node.node_id)
            if card is None or card.view is not node:
                kept[node.node_id] = card = Card(node, _text(node))
            found.append(card)
        if len(kept) > 2 * len(nodes) + PAGE_SIZE:
            self._cards = {card.view.node_id: card for card in found}  # most are of nodes that are no more
        return found


def list_nodes(cards: Sequence[Card], question: Question, sight: Sight) -> Listing:
    """Return the page that is asked for. A page past the end is the last one."""
    words = question.search.lower().split()
    statuses = STATES.get(question.state)
    matching = [card.view for card in cards if _matches(card, words, question.labels, statuses)]
    pages = max(1, -(-len(matching) // PAGE_SIZE))
    page = min(max(1, question.page), pages)
    shown = _sorted(matching, question.sort)[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    repeated = _repeated(cards, {node.name for node in shown})
    counted: Counter[str] = Counter(card.view.status for card in cards)
    return Listing(
        question=question,
        rows=tuple(make_row(node, sight, is_repeated=node.name in repeated) for node in shown),
        total=len(cards),
        matching=len(matching),
        states={state: sum(counted[status] for status in each) for state, each in STATES.items()},
        facets=_facets(matching, question.labels),
        page=page,
        pages=pages,
    )


def _text(node: NodeView) -> str:
    labels = " ".join(f"{key}={value}" for key, value in node.labels.items())
    return f"{node.name} {node.node_id} {_word(node)} {labels} {node.version}".lower()


def _matches(card: Card, words: Sequence[str], labels: Sequence[Pair], statuses: Collection[str] | None) -> bool:
    node = card.view
    if statuses is not None and node.status not in statuses:
        return False
    return all(node.labels.get(key) == value for key, value in labels) and all(word in card.text for word in words)


def _repeated(cards: Sequence[Card], names: Collection[str]) -> set[str]:
    counted = Counter(card.view.name for card in cards if card.view.name in names)
    return {name for name, count in counted.items() if count > 1}


def _facets(nodes: Sequence[NodeView], asked: tuple[Pair, ...]) -> tuple[Facet, ...]:
    """Return what there is to narrow by. A label that all of them bear, or one of many, narrows nothing down."""
    counted: Counter[Pair] = Counter(chain.from_iterable(node.labels.items() for node in nodes))
    least = 1 if len(nodes) <= PAGE_SIZE else 2
    useful = [pair for pair, count in counted.items() if least <= count < len(nodes) and pair not in asked]
    useful.sort(key=lambda pair: (-counted[pair], pair))
    chosen = (*asked, *sorted(useful[: FACETS_MAX - len(asked)]))
    return tuple(Facet(pair, counted[pair], pair in asked) for pair in chosen)


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(map(int, _NUMBERS.findall(version)[:8]))


# What the table can be sorted by. Nodes come by name: those that are equal stay so.
SORTS: Mapping[str, Callable[[NodeView], Any] | None] = {
    "name": None,
    "state": lambda node: _RANKS.get(node.status, len(_RANKS)),
    "since": lambda node: node.since or node.joined,
    "seen": lambda node: node.standing.last_seen or _NEVER,
    "version": lambda node: _version_key(node.version),
    "backlog": lambda node: node.standing.beat.spool_bytes if node.standing.beat else 0,
}


def _sorted(nodes: list[NodeView], sort: str) -> list[NodeView]:
    key, is_backwards = SORTS[sort.removeprefix("-")], sort.startswith("-")
    if key is None:
        return nodes[::-1] if is_backwards else nodes
    return sorted(nodes, key=key, reverse=is_backwards)


def make_row(node: NodeView, sight: Sight, *, is_repeated: bool) -> Row:
    """Return the row of one node. `is_repeated`: whether another bears its name: the line to copy has the id then."""
    since, seen = node.since or node.joined, node.standing.last_seen
    logins = sight.logins if node.node_id in sight.opens else ()
    target = node.node_id if is_repeated else node.name
    return Row(
        node=node,
        state=_word(node),
        tone=_TONES[node.status],
        since=since,
        age=describe_age(sight.now - since),
        seen="" if seen is None else describe_age(sight.now - seen),
        command=f"tsh ssh {logins[0]}@{target}" if logins else "",
        logins=logins,
        sessions=sight.sessions.get(node.node_id, 0),
        is_locked=node.node_id in sight.locked,
    )


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
