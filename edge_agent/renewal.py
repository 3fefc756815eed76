"""The node's certificates, renewed in good time for as long as the node lives.

When is decided by `edge_agent.policy.renewal`, the asking done by `edge_agent.renewal_worker` in a process of its own.
The mark of the attempt is on disk before anything is asked: whoever asks again because the answer was lost, or because
the agent was killed before it had kept it, says the same and gets the same generation again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edge_agent.child import Children
from edge_agent.clock import Clock
from edge_agent.fault import UnreachableError
from edge_agent.identity import DataDirectory, Identity
from edge_agent.papers import Papers
from edge_agent.policy.renewal import (
    Demand,
    Held,
    decide_demands,
    decide_due,
    decide_pause,
    decide_refused_wait,
    decide_retry,
    find_orphaned,
    find_superseded,
    keep_unsigned,
)
from edge_agent.side_thread import SideThread
from edge_agent.worker import Worker
from protocol import limits
from protocol.control import RenewableKind
from protocol.fields import Fields, whole
from protocol.instants import to_milliseconds
from protocol.messages import JoinReply, MessageError
from protocol.names import NodeId
from protocol.renewals import parse_attempt
from protocol.ssh.certificate import key_blob, parse_certificate_line

_log = logging.getLogger("skerry.agent")
FILE = "renewal.json"
_FILE_MAX = 4096
# Two requests with the client's own bounds, each perhaps twice, and the process's start on a slow device.
_PATIENCE = 10 * limits.HTTP_TIMEOUT.total_seconds()
# The policy document travels in the answer, as text within text.
_ANSWER_MAX = 8 * limits.POLICY_MAX
# However far off the moment is, the clock is looked at so often: it may be set meanwhile.
_LOOK = 600.0
_AGAIN = limits.RENEW_RETRY_MAX.total_seconds()
_REFUSED = (
    "the controller refuses to renew this node's certificates: an administrator has removed or locked it, "
    "or it runs twice; see `tctl locks ls`. To join again: edge-agent start --rejoin --token TOKEN"
)


class Renewal:
    """Keeps the certificates in `papers` fresh."""

    def __init__(
        self,
        papers: Papers,
        clock: Clock,
        controller: tuple[str, int],
        children: Children,
        take_granted: Callable[[JoinReply], object],
    ) -> None:
        """Take what it needs.

        Args:
            papers: where the certificates are, and where new ones go.
            clock: the corrected time.
            controller: host and port of the controller's web door.
            children: who waits for the process's end.
            take_granted: gets what was granted, for the documents that come with new certificates.
        """
        self._papers = papers
        self._clock = clock
        self._controller = controller
        self._take_granted = take_granted
        self._directory = DataDirectory(papers.identity.directory)
        self._worker = Worker("edge_agent.renewal_worker", children, answer_max=_ANSWER_MAX)
        self._changed = asyncio.Event()
        # What a rotation wants, and when that is due, by the clock that nobody sets.
        self._demands: dict[Demand, float] = {}
        self._is_suspected = False
        self._renewed = float("-inf")
        self._fruitless = 0
        self._failures = 0
        self._not_before = float("-inf")
        self._is_unwanted = False
        self._told = ""
        papers.on_change(self._look)
        self._look()

    def hasten(self) -> None:
        """Renew now: the controller would not have our certificate, or we not its own.

        Where that has just been done and did not help it is done again after a while, ever more seldom.
        """
        if not self._is_suspected:
            level = logging.DEBUG if self._is_unwanted or self._fruitless else logging.INFO
            _log.log(level, "certificates may be the reason: asking the controller for new ones")
            self._is_suspected = True
            self._hurry()

    def _hurry(self) -> None:
        """Heed no longer that the controller was long out of reach: it seems to be there."""
        if not self._is_unwanted:
            self._not_before = min(self._not_before, time.monotonic() + decide_pause(0))
        self._changed.set()

    async def run(self) -> None:
        """Renew whenever it is time, until cancelled."""
        try:
            while True:
                self._changed.clear()
                wait = self.due_in()
                if wait > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(wait, _LOOK)):  # `wait_for` may miss that it is cancelled
                            await self._changed.wait()
                    continue
                await self._renew()
        finally:
            self._worker.close()

    # --- when ---------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take note of a rotation that wants other certificates than ours, and from when on."""
        before, self._demands = self._demands, self._find_demands()
        if self._demands.keys() - before.keys():
            self._hurry()
        self._changed.set()

    def _find_demands(self) -> dict[Demand, float]:
        policy, held = self._papers.policy, self._held()
        if policy is None:
            return {}
        hosts, tls = tuple(key_blob(line) for line in policy.host_authorities), policy.tls_authorities
        superseded = find_superseded(held, policy.renew, host_signer=hosts[0], tls_signer=tls[0])
        orphaned = find_orphaned(held, host_authorities=hosts, tls_authorities=tls)
        signers: dict[RenewableKind, bytes | str] = {"host": hosts[0], "tls": tls[0]}
        return decide_demands(
            self._demands,
            [(kind, signers[kind]) for kind in superseded],
            [(kind, signers[kind]) for kind in orphaned],
            now=time.monotonic(),
            node_id=self._node_id,
        )

    def _held(self) -> Held:
        granted = self._papers.identity.granted
        certificate = parse_certificate_line(granted.host_certificate)
        return Held(
            certificate.valid_after, certificate.valid_before, certificate.signing_key, granted.tls_authorities[0]
        )

    @property
    def _signers(self) -> tuple[bytes, str]:
        held = self._held()
        return held.host_signer, held.tls_signer

    @property
    def _node_id(self) -> NodeId:
        return self._papers.identity.granted.node_id

    def due_in(self) -> float:
        """Return for how many seconds nothing is to be done; 0 or less where it is time."""
        now = time.monotonic()
        wait = (decide_due(self._held(), self._node_id) - self._clock.now()).total_seconds()
        wait = max(wait, self._renewed + _AGAIN - now)  # by a clock that is far ahead new ones are old already
        hurry = float("-inf") if self._is_suspected else min(self._demands.values(), default=float("inf"))
        hurry = max(hurry, self._renewed + decide_pause(self._fruitless)) - now
        return max(0.0, min(wait, hurry), self._not_before - now)

    def _is_urgent(self) -> bool:
        return self._is_suspected or bool(self._demands) or self._clock.now() >= self._held().valid_before

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        chance = random.random()  # noqa: S311 - spreads devices, hides nothing
        try:
            answer = await self._ask()
            fault = answer.get("fault", "")
            if not fault:
                await self._take(answer)
                return
        except (UnreachableError, MessageError, OSError) as err:
            answer, fault = {"text": getattr(err, "strerror", None) or str(err)}, "unreachable"
        if fault == "refused":
            self._not_before = time.monotonic() + decide_refused_wait(chance)
            self._is_suspected, self._is_unwanted = False, True
            self._tell(logging.ERROR, _REFUSED)
        else:
            self._is_unwanted = False
            wait = decide_retry(self._failures, answer.get("retry_after"), chance, is_urgent=self._is_urgent())
            self._not_before = time.monotonic() + wait
            level = logging.ERROR if fault == "unusable" else logging.WARNING
            reason = answer["text"] or "it waits for approval"
            self._tell(level, f"the node's certificates are not renewed yet: {reason}")
        self._failures += 1

    def _tell(self, level: int, text: str) -> None:
        """Say it; the same again only where somebody looks closely."""
        _log.log(logging.DEBUG if text == self._told else level, "%s", text)
        self._told = text

    async def _ask(self) -> dict[str, Any]:
        granted = self._papers.identity.granted
        thread = SideThread("renewal")
        try:
            attempt = await thread.submit(lambda: keep_attempt(self._directory, granted.generation))
        finally:
            thread.close()
        order = make_order(self._papers, self._controller, attempt)
        try:
            return await self._worker.carry_out(order, _PATIENCE)
        finally:
            self._worker.close()

    # --- what came ----------------------------------------------------------------------------------------------------

    async def _take(self, answer: dict[str, Any]) -> None:
        before = self._papers.identity
        granted = read_granted(answer, before)
        thread = SideThread("renewal")
        try:
            identity = await thread.submit(lambda: self._directory.renew(before, granted))
        finally:
            thread.close()
        signers = self._signers
        lasted, self._renewed = time.monotonic() - self._renewed, time.monotonic()
        self._not_before, self._failures, self._told = float("-inf"), 0, ""
        self._is_suspected = self._is_unwanted = False
        self._papers.renew(identity)
        is_news = signers != self._signers or lasted > 2 * _AGAIN
        self._fruitless = 0 if is_news else self._fruitless + 1
        self._take_granted(granted)
        self._correct_clock(is_trusted=answer["trusted"])
        until = f"{self._held().valid_before:%Y-%m-%d %H:%M:%SZ}"
        _log.info("new certificates, generation %d, good until %s", granted.generation, until)

    def _correct_clock(self, *, is_trusted: bool) -> None:
        """Set the time by certificates that were made just now, where they show that it is far off.

        By a road that is not trusted they may be of long ago: they count as much as a pulse, which can be late.
        """
        held = self._held()
        if held.valid_after - limits.CLOCK_LEEWAY <= self._clock.now() < held.valid_before:
            return
        made = to_milliseconds(held.valid_after + limits.CLOCK_LEEWAY)
        if is_trusted:
            self._clock.learn(made)
        else:
            self._clock.hear(made)


def make_order(papers: Papers, controller: tuple[str, int], attempt: str) -> dict[str, Any]:
    """Return the order for `edge_agent.renewal_worker`."""
    granted = papers.identity.granted
    return {
        "host": controller[0],
        "port": controller[1],
        "directory": str(papers.identity.directory),
        "node_id": granted.node_id,
        "cluster": granted.cluster_name,
        "generation": granted.generation,
        "attempt": attempt,
        "trusted": papers.host_authorities,
        "anchors": papers.tls_authorities,
        "certificate": granted.host_certificate,
    }


def read_granted(answer: dict[str, Any], before: Identity) -> JoinReply:
    """Return what was granted. Raises `MessageError`."""
    granted = JoinReply.from_dict(answer["granted"])
    return granted if answer["trusted"] else keep_unsigned(granted, before.granted)


def keep_attempt(directory: DataDirectory, generation: int) -> str:
    """Return the mark of the renewal of `generation`: the one on disk, or a new one that is there now.

    Raises:
        OSError: the disk would not have it.
    """
    with suppress(OSError, ValueError, RecursionError):
        fields = Fields(json.loads(directory.read(FILE, _FILE_MAX)))
        if fields.take("generation", whole) == generation:
            return fields.take("attempt", parse_attempt)
    attempt = os.urandom(16).hex()
    directory.write(FILE, json.dumps({"version": 1, "generation": generation, "attempt": attempt}).encode())
    return attempt
