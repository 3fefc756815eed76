"""Nodes that speak before they are known: they may have joined this very second, or been removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import dataclass

from protocol import limits, topics
from protocol.decision import Refused
from protocol.names import NodeId
from protocol.topics import NodeTopic

_MAX = 1000


@dataclass(slots=True)
class _Stranger:
    """What a node said: its last state, whether the broker had kept that, its last heartbeat, its live sessions.

    `live_is_past` is whether it told of the sessions before that state.
    """

    state: bytes = b""
    beat: bytes = b""
    retained: bool = False
    live: bytes = b""
    live_retained: bool = False
    live_is_past: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A message of one that turned out to be a node."""

    topic: NodeTopic
    payload: bytes
    retained: bool


class Strangers:
    """Keeps what they say until the records have been read again.

    Args:
        clear: has the broker forget what it keeps under a topic.
        refuse: tells that a message does not count.
    """

    def __init__(self, clear: Callable[[str], None], refuse: Callable[[NodeId, Refused], None]) -> None:
        self._clear = clear
        self._refuse = refuse
        self._waiting: dict[NodeId, _Stranger] = {}

    def waiting(self) -> frozenset[NodeId]:
        """Return who waits to be known."""
        return frozenset(self._waiting)

    def meet(self, told: NodeTopic, payload: bytes, *, retained: bool) -> None:
        """Keep what a node says that is not known."""
        if not payload:
            return  # what was kept of it was taken back: by ourselves, as a rule
        if told.word == "beat" and retained:
            self._clear(topics.beat(told.node_id))  # nobody knows from when it is
            return
        if len(self._waiting) >= _MAX and told.node_id not in self._waiting:
            return
        stranger = self._waiting.setdefault(told.node_id, _Stranger())
        if told.word == "state":
            # What is too large stays too large. A heartbeat from before this is none after it: it may be a farewell.
            stranger.state, stranger.retained, stranger.beat = payload[: limits.NODE_STATE_MAX + 1], retained, b""
            stranger.live_is_past = True
        elif told.word == "live":
            stranger.live, stranger.live_retained = payload[: limits.LIVE_SESSIONS_SIZE_MAX + 1], retained
            stranger.live_is_past = False
        else:
            stranger.beat = payload[: limits.BEAT_MAX + 1]

    def judge(self, known: Container[NodeId], waited: Collection[NodeId]) -> Iterator[Said]:
        """Yield what those said who are known by now, and see off the others.

        Args:
            known: the nodes, as the records have them.
            waited: who was waiting before the records were read: who came meanwhile may have joined meanwhile.
        """
        for node_id in tuple(self._waiting):
            if node_id in known:
                yield from _said(node_id, self._waiting.pop(node_id))
            elif node_id in waited:
                self._see_off(node_id, self._waiting.pop(node_id))

    def _see_off(self, node_id: NodeId, stranger: _Stranger) -> None:
        """Leave nothing of it on the broker, which keeps a state even where nothing of this message says so."""
        if stranger.state:
            self._clear(topics.state(node_id))
        if stranger.live:
            self._clear(topics.live(node_id))
        if not (stranger.retained or stranger.live_retained):  # else it was removed while we were away
            self._refuse(node_id, Refused("no node that is enrolled", "B2"))


def _said(node_id: NodeId, stranger: _Stranger) -> Iterator[Said]:
    if stranger.state:
        yield Said(NodeTopic(node_id, "state"), stranger.state, stranger.retained)
    if stranger.live:
        is_old = stranger.live_retained or stranger.live_is_past  # it shows nobody alive who has said farewell since
        yield Said(NodeTopic(node_id, "live"), stranger.live, is_old)
    if stranger.beat:  # the next is half a minute away
        yield Said(NodeTopic(node_id, "beat"), stranger.beat, retained=False)
