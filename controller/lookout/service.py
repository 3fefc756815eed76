"""The presence process: hears every node, tells the controller's processes, the audit log and the nodes themselves.

A heartbeat changes memory and nothing else. What has to outlive this process is kept by the broker (`presence.memory`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from controller.addresses import BoundAddresses
from controller.broker.broker import MUTED
from controller.broker.entrance import Entrance, open_entrance
from controller.broker.error import BrokerError
from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from controller.lookout import feed
from controller.lookout.chronicle import Chronicle
from controller.lookout.feed import Feed
from controller.lookout.herald import Herald
from controller.lookout.ledger import Ledger
from controller.lookout.link import BrokerLink
from controller.lookout.mutes import Mutes
from controller.lookout.strangers import Strangers
from controller.lookout.tidings import describe
from controller.policy.clone import is_outdated
from controller.policy.liveness import NO_SESSIONS, BrokerHealth
from controller.policy.moment import Moment, was_set
from controller.presence.memory import WATCH, Memory, decode_watch, encode_watch
from controller.presence.roster import Roster
from controller.presence.wire import News
from controller.store.interface import StoreError
from protocol import events, limits, topics
from protocol.decision import Refused
from protocol.fields import MessageError
from protocol.instants import format_instant
from protocol.live_sessions import LiveSessions
from protocol.names import BadNameError, NodeId
from protocol.presences import Beat, NodeState

LOG = logging.getLogger("PRESENCE")
_FLUSH_SECONDS = 0.25
_LOOK = timedelta(seconds=2)
# How often it is looked at which nodes there are, unless one is waiting to be known.
_LIST = timedelta(seconds=1)
# The feed says something at least so often.
_SIGN_OF_LIFE = timedelta(seconds=3)
# A broker that is away for less than this is being restarted: nobody is told.
_GRACE = timedelta(seconds=3)
_GRACE_AT_START = timedelta(seconds=10)
_BAD_TOPIC = Refused("no topic that nodes write to", "B1")


class Lookout:
    """The parts, and what they tell each other.

    Args:
        cluster: opened for this process.
        entrance: the way to the broker; called on a thread before every attempt.
        ticks: seconds by a clock that nobody sets. How long anything lasts is told by it, for the controller's own
            clock may be an hour off until somebody sees to it.
    """

    def __init__(
        self, cluster: Cluster, entrance: Callable[[], Entrance], ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._clock = cluster.clock
        self._ticks = ticks
        begun = self._moment()
        self._roster = Roster()
        self._nodes: Mapping[NodeId, NodeRecord] = {}
        self._listed: object = None
        self._ledger = Ledger(cluster.audit, self._moment)
        self._mutes = Mutes(cluster.store.collection(MUTED), self._ledger)
        self._link = BrokerLink(entrance, self)
        self._strangers = Strangers(lambda topic: self._link.publish(topic, b""), self._refuse)
        self._herald = Herald(cluster.control, self._link, self._moment, self._refuse)
        history = self._roster.history
        self._chronicle = Chronicle(history, cluster.config.data_dir, cluster.clock, lambda: tuple(self._nodes))
        self._feed = Feed(self._snapshot, lambda node_id: history.of(node_id, cluster.clock()))
        self._health = BrokerHealth(is_up=False, since=begun.now, reason="connecting to the broker")
        self._caught_up = False
        self._watched: datetime | None = None
        self._is_first = True
        self._lost = begun
        self._loss = self._health.reason
        self._grace = _GRACE_AT_START
        self._told_down: datetime | None = None
        self._last = begun
        self._listed_at = self._looked = self._told = self._noted = begun.steady
        self._is_failing = False
        self._said: BrokerHealth | None = None

    @classmethod
    def of(cls, cluster: Cluster) -> Lookout:
        """Return the lookout of a cluster whose broker is reached as its configuration says."""
        config = cluster.config

        def entrance() -> Entrance:
            found = open_entrance(config, BoundAddresses.load(config), cluster.authority, cluster.clock())
            if found is None:
                raise BrokerError("this controller has no broker")
            return found

        return cls(cluster, entrance)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve until `stop` is set. Raises `OSError` where the socket cannot be made."""
        sock = feed.bind(self._cluster.config.data_dir)
        await self._know_nodes()
        for node_id, until in (await asyncio.to_thread(self._mutes.recall, self._moment())).items():
            self._roster.mute(node_id, until)
        async with asyncio.TaskGroup() as tasks:
            going = [
                tasks.create_task(self._feed.run(sock), name="feed"),
                tasks.create_task(self._link.run(), name="link"),
                tasks.create_task(self._herald.run(), name="herald"),
                tasks.create_task(self._keep(), name="roster"),
                tasks.create_task(self._ledger.run(), name="ledger"),
                tasks.create_task(self._chronicle.run(), name="chronicle"),
            ]
            ready()
            await stop.wait()
            self._note_watch(self._moment())
            await self._ledger.finish()
            await self._chronicle.finish()
            for task in going:
                task.cancel()

    # --- what the link tells ----------------------------------------------------------------------------------------

    def came_up(self) -> None:
        """Wait for everybody anew: nobody could be heard while the broker was away."""
        self._caught_up = False
        self._roster.resume(self._moment())

    def caught_up(self) -> None:
        """Take what is known now for the present."""
        at = self._moment()
        self._caught_up = True
        self._roster.settle(at, self._watched)
        self._watched, self._is_first = None, False
        self._note_watch(at)
        self._herald.connected()
        if not self._health.is_up:
            self._health = BrokerHealth(is_up=True, since=at.now)
            LOG.info("connected to the broker: %d nodes", len(self._roster))
        if self._told_down is not None:
            self._ledger.write(events.BROKER_UP, {"down_since": format_instant(self._told_down)})
            self._told_down = None
        self._grace = _GRACE
        self._flush(at)

    def went_down(self, reason: str) -> None:
        """Note that nothing is heard any more."""
        if self._caught_up:
            # The controller itself starts the broker again at times. Where it stays away, `_judge_broker` says so.
            LOG.info("%s: connecting again", reason)
            self._lost, self._caught_up = self._moment(), False
        self._loss = reason

    def arrived(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take a message of the broker's, whoever sent it."""
        if topic.startswith("n/"):
            self._hear(topic, payload, retained=retained)
            return
        if topic == WATCH:
            self._hear_watch(payload, retained=retained)
            return
        try:
            node_id = topics.parse_seen(topic) if topic.startswith("seen/") else topics.parse_node_document(topic)
        except BadNameError:
            return
        if not retained or not payload:
            return  # our own words, coming back
        if node_id not in self._roster:
            self._link.publish(topic, b"")  # a node that was removed while we were away
        elif topic.startswith("seen/"):
            with suppress(MessageError):
                self._roster.recall(node_id, Memory.decode(payload))
        else:
            self._herald.note_held(node_id)

    def _hear_watch(self, payload: bytes, *, retained: bool) -> None:
        """Take until when the run before this one watched: what this one saw, it knows better."""
        if retained and self._is_first:
            with suppress(MessageError):
                self._watched = decode_watch(payload)

    def _hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        at = self._moment()
        try:
            told = topics.parse_node_topic(topic)
        except BadNameError:
            self._ledger.refuse(NodeId(""), None, _BAD_TOPIC)
            return
        if told.node_id not in self._roster:
            self._strangers.meet(told, payload, retained=retained)
            return
        if not retained:
            answer = self._roster.admit(told.node_id, at)
            if isinstance(answer, Refused):
                self._refuse(told.node_id, answer)
                self._mutes.put(told.node_id, at)
            if answer is None or isinstance(answer, Refused):
                return
        if not payload and told.word != "live":
            return  # a retained message was taken back
        self._take(told, payload, at, retained=retained)

    def _take(self, told: topics.NodeTopic, payload: bytes, at: Moment, *, retained: bool) -> None:
        try:
            if told.word == "state":
                state = NodeState.decode(payload)
                if self._roster.hear_state(told.node_id, state, at, retained=retained):
                    self._report_clone(told.node_id, "two runs of its agent take turns")
            elif told.word == "live":
                self._hear_live(told.node_id, payload, at, retained=retained)
            elif retained:
                self._link.publish(topics.beat(told.node_id), b"")  # nobody knows from when it is
            else:
                beat = Beat.decode(payload)
                self._roster.hear_beat(told.node_id, beat, at)
                self._herald.note_claim(told.node_id, beat.policy)
                self._judge_generation(told.node_id, beat.generation)
        except (MessageError, BadNameError) as err:
            self._refuse(told.node_id, Refused(f"{told.word}: {err}", "B3"))
            if retained:
                self._link.publish(told.topic, b"")

    def _hear_live(self, node_id: NodeId, payload: bytes, at: Moment, *, retained: bool) -> None:
        """Take what sessions are going on at a node; nothing at all is none, and may be our own word, coming back.

        Raises `MessageError`.
        """
        live = LiveSessions.decode(payload) if payload else NO_SESSIONS
        answer = self._roster.hear_live(node_id, live, at, retained=retained or not payload)
        if isinstance(answer, Refused):
            self._refuse(node_id, answer)
            if retained:
                self._link.publish(topics.live(node_id), b"")

    def _refuse(self, node_id: NodeId, refused: Refused) -> None:
        node = self._nodes.get(node_id)
        self._ledger.refuse(node_id, node.name if node else None, refused)

    def _judge_generation(self, node_id: NodeId, shown: int) -> None:
        node = self._nodes.get(node_id)
        if node is not None and is_outdated(shown, node.generation):
            reason = f"certificates of generation {shown} at the broker, where {node.generation} is due"
            self._report_clone(node_id, reason)

    def _report_clone(self, node_id: NodeId, sign: str) -> None:
        """Have the node locked. On the word of a broker that is not ours, for states are not signed, nobody is."""
        is_proven = self._cluster.config.broker == "mosquitto"
        reason = sign + ("" if is_proven else ", as the broker has it, which is not ours")
        self._ledger.do(partial(self._cluster.enrolment.report_clone, node_id, reason, is_proven=is_proven))

    # --- as time goes by --------------------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        return Moment.of(self._clock(), self._ticks())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            at = self._moment()
            self._judge_clock(at)
            if self._strangers.waiting() or at.steady - self._listed_at >= _LIST:
                self._listed_at = at.steady
                await self._know_nodes()
            self._judge_broker(at)
            if self._caught_up and at.steady - self._looked >= _LOOK:
                self._look(at)
            self._flush(at)

    def _look(self, at: Moment) -> None:
        self._looked = at.steady
        self._roster.look(at)
        for event in self._roster.take_events(at):
            self._ledger.write(*describe(event, self._nodes[event.node_id]))
        self._mutes.lift(at)
        if at.steady - self._noted >= limits.PRESENCE_WATCH:
            self._note_watch(at)

    def _judge_clock(self, at: Moment) -> None:
        """Where the machine slept, nobody could be heard."""
        if was_set(self._last, at):
            LOG.warning("the controller's clock was set, or the machine slept: it is %s now", format_instant(at.now))
            self._roster.wait_anew(at)
        self._last = at

    def _note_watch(self, at: Moment) -> None:
        """Have the broker remember that we watch: so who is online need not be noted one by one."""
        if self._caught_up:
            self._noted = at.steady
            self._link.publish(WATCH, encode_watch(at.now))

    async def _know_nodes(self) -> None:
        """Learn who joined and who was removed; then those who came before they were known get their answer."""
        waiting = self._strangers.waiting()
        try:
            nodes = await asyncio.to_thread(self._cluster.enrolment.nodes.list)
        except StoreError as err:
            if not self._is_failing:
                LOG.warning("cannot tell which nodes there are: %s", err)
            self._is_failing = True
            return
        self._is_failing = False
        if nodes is not self._listed:
            self._listed = nodes
            self._nodes = {node.node_id: node for node in nodes}
            for node_id in self._roster.enrol(self._nodes.keys()):
                for topic in (*topics.written_by(node_id), topics.seen(node_id), topics.node_document(node_id)):
                    self._link.publish(topic, b"")
        at = self._moment()
        for said in self._strangers.judge(self._roster, waiting):
            self._take(said.topic, said.payload, at, retained=said.retained)

    def _judge_broker(self, at: Moment) -> None:
        if self._caught_up or at.steady - self._lost.steady < self._grace:
            return
        if self._health.is_up or self._told_down is None:
            self._told_down = self._lost.now
            LOG.error("presence is stale: %s", self._loss)
            self._ledger.write(events.BROKER_DOWN, {"error": self._loss})
        self._health = BrokerHealth(is_up=False, since=self._lost.now, reason=self._loss)

    def _flush(self, at: Moment) -> None:
        """Tell the followers, and have the broker remember."""
        if self._caught_up:
            for node_id, memory in self._roster.take_memories():
                self._link.publish(topics.seen(node_id), memory.encode())
        changes = self._roster.take_changes()
        news = News("changes", changes, self._health)
        if changes or self._said != self._health or at.steady - self._told >= _SIGN_OF_LIFE:
            self._told, self._said = at.steady, self._health
            self._feed.tell(news)

    def _snapshot(self) -> News:
        return News("snapshot", self._roster.standings(), self._health)
