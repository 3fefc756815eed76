"""What the controller orders, by whatever road it comes: the policy document, the pulse, and what is for this node.

Everything is judged before it counts (E1 to E3: the signature; Y1 to Y6: what it says), and kept on disk as it came,
so that an agent that starts without a link goes by the last word it had: by that, or by what came with its certificates
where that is newer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from edge_agent.clock import Clock, uptime_milliseconds
from edge_agent.kept_documents import KeptDocuments
from edge_agent.papers import Papers
from edge_agent.policy.control import describe_news, judge_node, judge_policy, judge_pulse, read
from protocol import limits, topics
from protocol.control import NodeDocument, PolicyDocument
from protocol.decision import Granted, Refused
from protocol.endorsement import Endorsed
from protocol.instants import to_milliseconds
from protocol.locks import Lock, LockKind, describe_lock, find_lock
from protocol.messages import JoinReply
from protocol.names import UserName
from protocol.recordings import RecordingTerms

_log = logging.getLogger("skerry.agent")
POLICY_FILE = "policy.json"
NODE_FILE = "node.json"
_STALE = limits.LOCKS_STALE // limits.MILLISECOND
# What is refused again for the same reason is told to the log again after so long.
_TELL_AGAIN = 3_600_000
# Whether the view of locks is stale is looked at so often; a clock that counts needs no more.
_LOOK = 30.0
T = TypeVar("T", PolicyDocument, NodeDocument)


class Control:
    """Takes what the controller says, and knows what holds."""

    def __init__(
        self, papers: Papers, clock: Clock, directory: Path, *, uptime: Callable[[], int] = uptime_milliseconds
    ) -> None:
        """Go by what `directory` holds from before, into `papers`. `uptime` counts milliseconds; it is for tests."""
        self._papers = papers
        self._clock = clock
        self._kept = KeptDocuments(directory)
        self._uptime = uptime
        # Called with a version that the controller goes by, where ours is older.
        self.behind: Callable[[int], None] = lambda _: None
        # Called with every policy document that is the controller's word, whether or not it is new.
        self.heard: Callable[[], None] = lambda: None
        self._heard: int | None = None
        self._told: dict[str, tuple[int, int]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._is_blind = False
        self._load()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, on the loop, when locks may have changed and when the view of them goes stale."""
        self._listeners.append(listener)

    # --- what holds ---------------------------------------------------------------------------------------------------

    @property
    def terms(self) -> RecordingTerms | None:
        """How sessions are recorded; None where there never was a policy document."""
        policy = self._papers.policy
        return replace(policy.recording, time=policy.issued) if policy else None

    @property
    def version(self) -> int:
        """The version of the policy document that holds; 0 for none."""
        return self._papers.policy.version if self._papers.policy else 0

    @property
    def is_strict(self) -> bool:
        """Whether nobody may work here while the view of locks is stale."""
        return self._papers.policy is not None and self._papers.policy.locking_mode == "strict"

    @property
    def is_stale(self) -> bool:
        """Whether nothing was heard from the controller for `limits.LOCKS_STALE`, or ever."""
        return self.silence is None or self.silence >= _STALE

    @property
    def is_blind(self) -> bool:
        """Whether there was a policy document, and nobody can tell any more what it said."""
        return self._is_blind and self._papers.policy is None

    @property
    def silence(self) -> int | None:
        """For how many milliseconds nothing was heard from the controller; None where nothing ever was."""
        return None if self._heard is None else self._uptime() - self._heard

    def find_lock(self, user: str | None = None, login: str | None = None) -> Lock | None:
        """Return a lock in force on this person, this login or this node; None where there is none."""
        policy = self._papers.policy
        if policy is None or not policy.locks:
            return None
        node = self._papers.identity.granted.node_id
        return find_lock(policy.locks, self._clock.now(), user=user, login=login, node=node)

    def is_void(self, user: str, issued: datetime) -> bool:
        """Tell whether a certificate that was issued to this person at `issued` counts no more."""
        policy = self._papers.policy
        return policy is not None and to_milliseconds(issued) < policy.void_before.get(UserName(user), 0)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def take(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take a message that came over MQTT. `retained`: the broker had kept it. What is not good does nothing."""
        endorsed = read(payload)
        if isinstance(endorsed, Refused):
            self._refuse("a message", endorsed)
        elif topic == topics.POLICY:
            # It may have been held back on the way: the pulse that follows tells whether it is of today.
            self.take_policy(endorsed, fresh=False)
        elif topic == topics.PULSE:
            self._take_pulse(endorsed, fresh=not retained)
        elif topic == topics.node_document(self._papers.identity.granted.node_id):
            self.take_node(endorsed)
        else:
            self._refuse("a message", Refused("it came under a topic that is not for this node", "Y6"))

    def take_policy(self, endorsed: Endorsed, *, fresh: bool) -> Granted[PolicyDocument] | Refused:
        """Take a policy document.

        Args:
            endorsed: what came.
            fresh: whether the controller said so just now, as an answer over a link that is authenticated.
        """
        answer = self._judge_policy(endorsed, self.version)
        if isinstance(answer, Refused):
            self._refuse("a policy document", answer)
            return answer
        if fresh:
            self._heard = self._uptime()
        if self._kept.hold(POLICY_FILE, endorsed):
            news = describe_news(self._papers.policy, answer.value)
            self._papers.take_policy(answer.value)
            _log.info("going by version %d of the controller's policy: %s", answer.value.version, news)
            self._tell()
        self.heard()
        return answer

    def take_granted(self, granted: JoinReply) -> None:
        """Take the documents that came with new certificates. They are signed, the road need not be trusted."""
        if granted.policy:
            self.take_policy(granted.policy, fresh=False)
        if granted.node:
            self.take_node(granted.node)

    def _take_pulse(self, endorsed: Endorsed, *, fresh: bool) -> None:
        if not fresh:
            return  # nobody knows from when it is
        granted = self._papers.identity.granted
        answer = judge_pulse(endorsed, trusted=self._papers.host_authorities, cluster=granted.cluster_name)
        if isinstance(answer, Refused):
            self._refuse("a pulse", answer)
            return
        self._clock.hear(answer.value.time)
        # One that was held back, or tells of a policy that has not come, is no news of the locks.
        if answer.value.policy > self.version:
            self.behind(answer.value.policy)
        elif not self._clock.is_late(answer.value.time):
            self._heard = self._uptime()

    def take_node(self, endorsed: Endorsed) -> None:
        """Take a document for this node alone."""
        answer = self._judge_node(endorsed, self._papers.node.version if self._papers.node else 0)
        if isinstance(answer, Refused):
            self._refuse("a node document", answer)
        elif self._kept.hold(NODE_FILE, endorsed):
            self._papers.take_node(answer.value)
            _log.info("an admin has named this node %s, labels: %s", answer.value.name, dict(answer.value.labels))

    def _judge_policy(self, endorsed: Endorsed, held: int) -> Granted[PolicyDocument] | Refused:
        papers = self._papers
        cluster = papers.identity.granted.cluster_name
        return judge_policy(endorsed, trusted=papers.host_authorities, cluster=cluster, held=held)

    def _judge_node(self, endorsed: Endorsed, held: int) -> Granted[NodeDocument] | Refused:
        papers, granted = self._papers, self._papers.identity.granted
        return judge_node(
            endorsed,
            trusted=papers.host_authorities,
            cluster=granted.cluster_name,
            node_id=granted.node_id,
            held=held,
        )

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _refuse(self, what: str, refused: Refused) -> None:
        """Tell the log, once in a while for each reason, and how often it was so meanwhile."""
        now = self._uptime()
        since, count = self._told.get(refused.check, (None, 0))
        if since is not None and now - since < _TELL_AGAIN:
            self._told[refused.check] = (since, count + 1)
            return
        more = f"; {count} more since" if count else ""
        _log.warning("%s was ignored: %s (%s)%s", what, refused.reason, refused.check, more)
        self._told[refused.check] = (now, 0)

    # --- on disk, and as time goes by ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep on disk what came, and tell the listeners when the view of locks has gone stale. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kept.run())
            was_stale = False
            while True:
                if self.is_stale and not was_stale:
                    self._tell()
                was_stale = self.is_stale
                await asyncio.sleep(_LOOK)

    def _load(self) -> None:
        papers, granted = self._papers, self._papers.identity.granted
        kept = self._kept.read(POLICY_FILE)
        policy = self._choose(POLICY_FILE, kept, granted.policy, self._judge_policy)
        if policy:
            papers.take_policy(policy)
        self._is_blind = policy is None and kept is not None
        node = self._choose(NODE_FILE, self._kept.read(NODE_FILE), granted.node, self._judge_node)
        if node:
            papers.take_node(node)

    def _choose(
        self,
        name: str,
        kept: Endorsed | Refused | None,
        came: Endorsed | None,
        judge: Callable[[Endorsed, int], Granted[T] | Refused],
    ) -> T | None:
        """Return the newer one of what was `kept` and what `came` with the certificates, judged as if it came now."""
        found: T | None = None
        for endorsed in (kept, came):
            if endorsed is None:
                continue
            answer = endorsed if isinstance(endorsed, Refused) else judge(endorsed, 0)
            if isinstance(answer, Refused):
                where = name if endorsed is kept else f"what came with the certificates instead of {name}"
                _log.warning("%s is not used: %s (%s)", where, answer.reason, answer.check)
            elif not isinstance(endorsed, Refused) and (found is None or answer.value.version > found.version):
                self._kept.hold(name, endorsed, is_kept=endorsed is kept)
                found = answer.value
        return found


_LOCK_CHECKS: dict[LockKind, str] = {"user": "X1", "login": "X2", "node": "X3"}
STALE = "this node has not heard from the controller for too long to know who is locked out; try again later"
BLIND = "this node cannot read who is locked out until it hears from the controller; try again later"
VOID = "this certificate is void: its holder was removed or reset since it was issued; sign in again (tsh login)"


def judge_locks(control: Control, user: str, login: str, issued: datetime) -> Refused | None:
    """Return why a person may not work here as `login`, whatever their certificate says; None where they may.

    X1, X2 and X3: the person, the login or this node is locked. X4: in strict mode nobody works on a node whose view
    of locks is stale, and in either mode nobody on one that has lost it. X5: certificates that were `issued` to this
    person so long ago are void. Unlike other reasons these are told to the person.
    """
    lock = control.find_lock(user, login)
    if lock:
        return Refused(describe_lock(lock), _LOCK_CHECKS[lock.kind])
    if control.is_void(user, issued):
        return Refused(VOID, "X5")
    if control.is_blind:
        return Refused(BLIND, "X4")
    if control.is_strict and control.is_stale:
        return Refused(STALE, "X4")
    return None
