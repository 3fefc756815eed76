"""Tells the nodes what the controller has signed: the policy document, the documents of single nodes, and the pulse."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from controller.authority import AuthorityError
from controller.control import Control
from controller.lookout.link import BrokerLink
from controller.policy.document import is_plausible_version
from controller.policy.moment import Moment
from controller.store.interface import StoreError
from protocol import limits, topics
from protocol.decision import Refused
from protocol.endorsement import Endorsed
from protocol.names import NodeId

LOG = logging.getLogger("PRESENCE")


class Herald:
    """Looks at `control` four times a second, and publishes what changed; everything after each connecting.

    A heartbeat's claim is checked here: B5 the node goes by a policy that this controller gave out, as far as it knows.

    Args:
        control: what there is to tell.
        link: the way to the broker.
        moment: the present.
        refuse: tells that a node's claim does not count.
    """

    def __init__(
        self,
        control: Control,
        link: BrokerLink,
        moment: Callable[[], Moment],
        refuse: Callable[[NodeId, Refused], None],
    ) -> None:
        self._control = control
        self._link = link
        self._moment = moment
        self._refuse = refuse
        self._connected = asyncio.Event()
        self._policy: Endorsed | None = None
        self._documents: Mapping[NodeId, Endorsed] = {}
        self._held: set[NodeId] = set()
        self._pulsed: datetime | None = None
        self._is_due = False
        self._version = 0
        self._claims: dict[NodeId, int] = {}
        self._outran: datetime | None = None
        self._trouble = ""

    def connected(self) -> None:
        """Tell everything anew: the broker may have lost it."""
        self._policy, self._documents, self._pulsed = None, {}, None
        self._is_due = True
        self._connected.set()

    def note_claim(self, node_id: NodeId, version: int) -> None:
        """Note which policy a node says it goes by: one above ours may mean that our records are older than they were.

        That costs nothing else: it is judged in the next round.
        """
        if version > self._version:
            self._claims[node_id] = version

    def note_held(self, node_id: NodeId) -> None:
        """Note that the broker keeps something for this node alone, which may be for it no more."""
        self._held.add(node_id)

    async def run(self) -> None:
        """Publish until cancelled."""
        await self._connected.wait()
        while True:
            try:
                await self._round()
                self._trouble = ""
            except (StoreError, AuthorityError) as err:
                if str(err) != self._trouble:
                    LOG.error("nodes are not told what changed; it is tried again: %s", err)  # noqa: TRY400 - one line
                self._trouble = str(err)
            await asyncio.sleep(limits.CONTROL_LOOK.total_seconds())

    async def _round(self) -> None:
        if self._claims:
            await self._judge_claims()
        self._is_due |= await asyncio.to_thread(self._control.refresh)
        if not self._link.is_connected:
            return
        if self._is_due:
            await self._publish()
        at = self._moment()
        if self._pulsed is None or at.steady - self._pulsed >= limits.PULSE_INTERVAL:
            self._pulsed = at.steady
            pulse = await asyncio.to_thread(self._control.pulse, at.now)
            self._link.publish(topics.PULSE, _payload(pulse), qos=0, retain=False)

    async def _judge_claims(self) -> None:
        """Say who claims to hold a policy above ours, and go beyond the highest claim: once, and then once an hour.

        Else one node could have the document sent to all of them for ever.
        """
        claims, self._claims = self._claims, {}
        self._version = version = await asyncio.to_thread(lambda: self._control.version)
        at = self._moment()
        above = {node_id: claim for node_id, claim in claims.items() if claim > version}
        for node_id, claim in above.items():
            self._refuse(node_id, Refused(f"it says that it goes by policy {claim}, and ours is {version}", "B5"))
        highest = max((claim for claim in above.values() if is_plausible_version(claim, at.now)), default=0)
        if not highest or (self._outran is not None and at.steady - self._outran < limits.POLICY_OUTRUN_AGAIN):
            return
        if await asyncio.to_thread(self._control.outrun, highest):
            self._outran = at.steady

    async def _publish(self) -> None:
        policy = await asyncio.to_thread(self._control.policy)
        documents = await asyncio.to_thread(self._control.node_documents)
        # From here to the end nothing is awaited: a new connection in between would have to be told everything.
        if policy != self._policy:
            self._link.publish(topics.POLICY, _payload(policy))
            self._pulsed = None  # the pulse that follows tells nodes that this is the policy of today
        for node_id, document in documents.items():
            if document != self._documents.get(node_id):
                self._link.publish(topics.node_document(node_id), _payload(document))
        for node_id in (self._documents.keys() | self._held) - documents.keys():
            self._link.publish(topics.node_document(node_id), b"")
        self._held.clear()
        self._policy, self._documents, self._is_due = policy, documents, False


def _payload(endorsed: Endorsed) -> bytes:
    return json.dumps(endorsed.to_dict()).encode()
