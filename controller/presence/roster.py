"""All nodes as MQTT tells of them: takes messages and the time, answers what is to be done. No input or output.

How long something lasted is told by the steady clock of a `Moment`; what people are shown, by the other.

Checks of a message: B1 it came by a topic that nodes write to, B2 its node is enrolled, B3 it can be read, B4 the node
does not send more than it may, B6 what it tells of live sessions is of its own. B1 is the caller's, who reads topics.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from controller.policy.damping import Tale, decide_telling, note_change
from controller.policy.liveness import NO_SESSIONS, UNSEEN, Standing
from controller.policy.moment import Moment
from controller.policy.rate import Bucket, Rate, draw, full_bucket
from controller.presence.history import History
from controller.presence.memory import Memory, remember, told_as, word_for
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.live_sessions import LiveSessions
from protocol.messages import PresenceState
from protocol.names import NodeId
from protocol.presences import Beat, NodeState
from protocol.session_ids import is_minted_by

_RATE = Rate(limits.MESSAGES_PER_MINUTE, limits.MESSAGES_BURST)
# Runs of an agent that are remembered: one that comes back after another had its turn is a second device.
_RUNS_REMEMBERED = 8
# Of who may be there, sessions are shown.
_THERE = frozenset({"online", "stale"})
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_REASONS = {"stopped": "the agent was stopped", "lost": "its link was lost"}
SILENT = "nothing was heard of it any more"
MUTED = "it is muted: it sent more than it may"


@dataclass(frozen=True, slots=True)
class Event:
    """A change of presence that the audit log is to be told.

    Attributes:
        before: since when it was what it was; None where nobody knows.
        count: changes since the last such event that were told by none.
    """

    node_id: NodeId
    word: Literal["online", "offline"]
    standing: Standing
    before: datetime | None
    count: int


@dataclass(slots=True)
class _Entry:
    """One node. What is timed here is so by the steady clock, but for `before`, which is shown.

    Attributes:
        heard: when something last came that shows it alive, or when waiting for that began.
        turned: when it last went online or offline, as far as that is told at all.
        before: since when it was what it was before.
        runs: the last runs of its agent that came online, newest last.
        muted: until when nothing is taken from it.
        live: its live sessions as it last told, shown while it is there; in `live_size` bytes.
        is_live_current: whether the broker has shown them since we last connected to it.
        is_remembered: whether the broker holds the memory of what it is now.
    """

    standing: Standing = UNSEEN
    heard: datetime | None = None
    turned: datetime = _LONG_AGO
    before: datetime | None = None
    tale: Tale = field(default_factory=Tale)
    runs: list[str] = field(default_factory=list)
    bucket: Bucket | None = None
    muted: datetime | None = None
    is_remembered: bool = False
    live: LiveSessions = NO_SESSIONS
    live_size: int = 0
    is_live_current: bool = True


class Roster:
    """The nodes, by id: those that are enrolled, whether or not anything was ever heard of them.

    Attributes:
        history: their last day.
    """

    def __init__(self) -> None:
        self.history = History()
        self._entries: dict[NodeId, _Entry] = {}
        self._changed: set[NodeId] = set()
        self._unremembered: set[NodeId] = set()
        self._restless: set[NodeId] = set()
        self._live_size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._entries

    # --- who there is ---------------------------------------------------------------------------------------------

    def enrol(self, enrolled: Collection[NodeId]) -> frozenset[NodeId]:
        """Take `enrolled` as all nodes there are; return those that are no more."""
        gone = frozenset(self._entries.keys() - set(enrolled))
        for node_id in gone:
            self._live_size -= self._entries.pop(node_id).live_size
        self.history.forget(gone)
        for waiting in (self._unremembered, self._restless):
            waiting.difference_update(gone)
        self._changed |= gone
        for node_id in enrolled:
            self._entries.setdefault(node_id, _Entry())
        return gone

    def standings(self) -> dict[NodeId, Standing]:
        """Return what is known of every node that was ever heard of."""
        return {key: entry.standing for key, entry in self._entries.items() if entry.standing is not UNSEEN}

    def take_changes(self) -> dict[NodeId, Standing | None]:
        """Return what changed since the last call; None for a node that is no more."""
        changed, self._changed = self._changed, set()
        return {key: entry.standing if (entry := self._entries.get(key)) else None for key in changed}

    # --- what arrives ---------------------------------------------------------------------------------------------

    def recall(self, node_id: NodeId, memory: Memory) -> None:
        """Take what the broker kept of a node from before; what was heard of it since counts more."""
        entry = self._entries.get(node_id)
        if entry is None:
            return
        if entry.standing is UNSEEN:
            standing = Standing(memory.state, memory.since, memory.last_seen, memory.reason)
            entry.standing, entry.tale = standing, Tale(memory.told)
            self._changed.add(node_id)
            self._restless.add(node_id)
        entry.is_remembered = (memory.state, memory.told) == (word_for(entry.standing), entry.tale.told)

    def admit(self, node_id: NodeId, at: Moment) -> Granted[None] | Refused | None:
        """Count one message of a node; None where it is muted, and nothing is to be said of it.

        Refused is the message with which a node begins to send too much: from then on it is muted.
        """
        entry = self._entries.get(node_id)
        if entry is None:
            return Refused("no node that is enrolled", "B2")
        if entry.muted is not None:
            if at.steady < entry.muted:
                return None
            entry.muted, entry.bucket = None, None
        answer = draw(entry.bucket or full_bucket(_RATE, at.steady), _RATE, at.steady)
        if isinstance(answer, Granted):
            entry.bucket = answer.value
            return Granted(None)
        self.mute(node_id, at.steady + limits.MUTE)
        return Refused(f"more than {limits.MESSAGES_PER_MINUTE} messages a minute: muted", "B4")

    def mute(self, node_id: NodeId, until: datetime) -> None:
        """Take nothing from a node until then, by the steady clock."""
        entry = self._entries.get(node_id)
        if entry is not None:
            entry.muted = until

    def hear_state(self, node_id: NodeId, state: NodeState, at: Moment, *, retained: bool) -> bool:
        """Take a state. Return whether it shows two devices with one identity: their runs take turns.

        A run that has departed is not brought back by what was retained: a broker that was killed has forgotten its
        last changes. Where the run did come back unheard, its next heartbeat shows it.
        """
        entry = self._entries.get(node_id)
        if entry is None:
            return False
        if state.farewell is not None:
            self._depart(node_id, entry, state, at)
            return False
        old = entry.standing
        if retained and old.presence == "offline" and old.state is not None and old.state.instance == state.instance:
            return False
        is_clone = not retained and state.instance in entry.runs[:-1]
        if state.instance in entry.runs:
            entry.runs.remove(state.instance)
        entry.runs = [*entry.runs[-_RUNS_REMEMBERED + 1 :], state.instance]
        entry.heard = at.steady
        # What was retained says that the node came online some time: not that it was heard of now.
        seen = (old.last_seen or at.now) if retained else at.now
        is_same_run = old.state is not None and old.state.instance == state.instance
        if not is_same_run and old.state is not None:
            self._keep_live(entry, NO_SESSIONS)  # they ended with the run before this one
        beat = old.beat if is_same_run else None
        since = _online_since(entry, at.now)
        self._turn(node_id, entry, Standing("online", since, seen, "", state, beat, entry.live), at)
        return is_clone

    def hear_beat(self, node_id: NodeId, beat: Beat, at: Moment) -> None:
        """Take a heartbeat: its node is there, whatever was thought."""
        entry = self._entries.get(node_id)
        if entry is None:
            return
        entry.heard = at.steady
        self.history.hear(node_id, beat, at.now)
        since = _online_since(entry, at.now)
        self._turn(node_id, entry, Standing("online", since, at.now, "", entry.standing.state, beat, entry.live), at)

    def hear_live(self, node_id: NodeId, live: LiveSessions, at: Moment, *, retained: bool) -> Granted[None] | Refused:
        """Take what sessions are going on at a node. Who says so is there; what was retained shows nobody alive."""
        entry = self._entries.get(node_id)
        if entry is None:
            return Refused("no node that is enrolled", "B2")
        if not all(is_minted_by(each.session, node_id) for each in live.sessions):
            return Refused("it tells of a session that is another node's", "B6")
        self._keep_live(entry, live)
        old = entry.standing
        if not retained:
            entry.heard = at.steady
            since = _online_since(entry, at.now)
            self._turn(node_id, entry, Standing("online", since, at.now, "", old.state, old.beat, entry.live), at)
        elif old.presence in _THERE:
            self._show_live(node_id, entry)
        return Granted(None)

    def _keep_live(self, entry: _Entry, live: LiveSessions) -> None:
        """Keep what a node tells; where all nodes together tell too much, only of how many sessions."""
        self._live_size -= entry.live_size
        size = len(live.encode()) if live.sessions else 0
        if self._live_size + size > limits.LIVE_FLEET_SIZE_MAX:
            live, size = LiveSessions(more=len(live.sessions) + live.more), 0
        entry.live = live if live.sessions or live.more else NO_SESSIONS
        entry.live_size, entry.is_live_current = size, True
        self._live_size += size

    def _show_live(self, node_id: NodeId, entry: _Entry) -> None:
        if entry.standing.live != entry.live:
            entry.standing = replace(entry.standing, live=entry.live)
            self._changed.add(node_id)

    def _depart(self, node_id: NodeId, entry: _Entry, state: NodeState, at: Moment) -> None:
        old = entry.standing
        is_of_another_run = old.state is not None and old.state.instance != state.instance
        if old.presence == "offline" or (old.presence == "online" and is_of_another_run):
            return
        reason = _REASONS.get(state.farewell or "", "")
        seen = old.last_seen or at.now
        self._turn(node_id, entry, Standing("offline", at.now, seen, reason, old.state, old.beat), at)

    # --- as time goes by ------------------------------------------------------------------------------------------

    def look(self, at: Moment) -> None:
        """Find the nodes that should have been heard of: they are stale, and then offline."""
        for node_id, entry in self._entries.items():
            if entry.heard is None or entry.standing.presence not in ("online", "stale"):
                continue
            beats = (at.steady - entry.heard).total_seconds() / _interval(entry.standing)
            if beats >= limits.OFFLINE_AFTER_BEATS:
                self._silence(node_id, entry, "offline", at)
            elif beats >= limits.STALE_AFTER_BEATS and entry.standing.presence == "online":
                self._silence(node_id, entry, "stale", at)

    def _silence(self, node_id: NodeId, entry: _Entry, presence: PresenceState, at: Moment) -> None:
        """Take a node for gone since it was last heard of, or since waiting for it began, where that was later."""
        old = entry.standing
        reason = MUTED if entry.muted is not None and at.steady < entry.muted else SILENT
        heard = at.shown(entry.heard or at.steady)
        since = min(at.now, max(heard, old.last_seen or heard))
        live = entry.live if presence in _THERE else NO_SESSIONS
        seen = old.last_seen or since
        self._turn(node_id, entry, Standing(presence, since, seen, reason, old.state, old.beat, live), at)

    def wait_anew(self, at: Moment) -> None:
        """Begin waiting for everybody's heartbeat anew: nobody can say who might have been heard meanwhile."""
        for entry in self._entries.values():
            entry.heard = at.steady

    def resume(self, at: Moment) -> None:
        """Wait for everybody anew: the broker was away. Every memory counts as lost until the broker shows it."""
        self.wait_anew(at)
        for entry in self._entries.values():
            entry.is_remembered = entry.is_live_current = False
        self._unremembered.clear()

    def settle(self, at: Moment, watched: datetime | None = None) -> None:
        """Have remembered again what the broker did not show, all that it holds having arrived.

        Args:
            at: the present.
            watched: until when an earlier run watched: who was online then was seen then.
        """
        for node_id, entry in self._entries.items():
            if not entry.is_live_current:
                self._keep_live(entry, NO_SESSIONS)  # what a node tells is retained, unless it took that back
                self._show_live(node_id, entry)
            if entry.standing is UNSEEN:
                continue
            entry.heard = entry.heard or at.steady
            if watched is not None:
                self._see(node_id, entry, min(watched, at.now))
            if not entry.is_remembered:
                self._unremembered.add(node_id)

    def _see(self, node_id: NodeId, entry: _Entry, watched: datetime) -> None:
        standing = entry.standing
        if standing.presence == "online" and standing.last_seen is not None and standing.last_seen < watched:
            entry.standing = replace(standing, last_seen=watched)
            self._changed.add(node_id)

    def take_events(self, at: Moment) -> Iterator[Event]:
        """Yield what the audit log is to be told now."""
        for node_id in tuple(self._restless):
            entry = self._entries[node_id]
            if at.steady - entry.turned < limits.PRESENCE_SETTLE:
                continue
            if not entry.is_remembered:
                self._unremembered.add(node_id)
            actual = told_as(entry.standing.presence)
            if actual and actual == entry.tale.told:
                self._restless.discard(node_id)
                continue
            tale = decide_telling(entry.tale, actual, entry.turned, at.steady)
            if tale is None or not actual:
                continue
            count, entry.tale = entry.tale.untold, tale
            self._restless.discard(node_id)
            self._unremembered.add(node_id)
            yield Event(node_id, actual, entry.standing, entry.before, max(0, count - 1))

    def take_memories(self) -> Iterator[tuple[NodeId, Memory]]:
        """Yield what the broker is to remember from now on."""
        waiting, self._unremembered = self._unremembered, set()
        for node_id in waiting:
            entry = self._entries[node_id]
            entry.is_remembered = True
            yield node_id, remember(entry.standing, entry.tale.told)

    def _turn(self, node_id: NodeId, entry: _Entry, standing: Standing, at: Moment) -> None:
        old, entry.standing = entry.standing, standing
        self._changed.add(node_id)
        if old.presence == standing.presence:
            return
        entry.before = old.since
        if standing.presence == "offline":
            self.history.note_offline(node_id, at.now)
        if standing.presence == "stale" or (old.presence, standing.presence) == ("stale", "online"):
            return  # nobody can say, and nothing came of it: neither is told
        entry.tale, entry.turned, entry.is_remembered = note_change(entry.tale), at.steady, False
        self._restless.add(node_id)


def _online_since(entry: _Entry, now: datetime) -> datetime | None:
    """Return since when a node that is heard of now is online; what was stale had been so all the while."""
    if entry.standing.presence == "online":
        return entry.standing.since
    return entry.before if entry.standing.presence == "stale" else now


def _interval(standing: Standing) -> float:
    return standing.state.interval if standing.state else limits.HEARTBEAT_INTERVAL.total_seconds()
