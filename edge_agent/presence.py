"""The agent's presence: one MQTT connection, kept up for as long as the agent lives, on which its heart beats.

`edge_agent.link` drives it, as it does the tunnel. Once connected, the agent says that it is there; the broker holds
its last will, which says that it is lost, and publishes it when the link is gone. What the controller publishes comes
in on the same connection.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress

from edge_agent import memory
from edge_agent.link import LinkDriver
from edge_agent.mqtt import Hello, Line, MqttError, Place, Take, dial
from edge_agent.papers import Papers
from edge_agent.policy.link import DialFailed, DialSucceeded, Event, LinkLost, StopAsked
from edge_agent.policy.presence import Footing, decide_anew, keepalive
from edge_agent.policy.renewal import share
from edge_agent.tls import Context, Credentials, Span, Tls, TlsError
from edge_agent.vitals import Link as Quality
from edge_agent.vitals import Vitals
from protocol import limits, topics
from protocol.live_sessions import LiveSessions
from protocol.presences import NodeState

_log = logging.getLogger("skerry.agent")
# How long the broker has to take our last word.
_LAST_WORD = 2.0
_CLOSE = 1.0


def _nothing() -> None:
    pass


class Presence:
    """Keeps the connection up, and says what there is to say on it.

    Attributes:
        came_up, went_down: called when the connection came up, and when it is gone.
        refused: called when the broker would not have us, or we not it.
        live: returns what is to be told of the sessions that are going on, as `protocol.live_sessions` has it.
        spread: so many seconds all nodes together take to connect anew, where all of them have to.
    """

    def __init__(
        self,
        papers: Papers,
        vitals: Vitals,
        take: Take,
        *,
        address: Callable[[], tuple[str, int] | None],
        span: Callable[[], Span],
        interval: int,
    ) -> None:
        """Make it.

        Args:
            papers: what to show, and whom to believe.
            vitals: what to say.
            take: gets what the controller says: topic, payload, and whether it was retained.
            address: where the broker is; None where there is none.
            span: the earliest and the latest that it can be now: its certificate is judged by that.
            interval: seconds between heartbeats.
        """
        self.came_up: Callable[[], None] = _nothing
        self.went_down: Callable[[], None] = _nothing
        self.refused: Callable[[], None] = _nothing
        self.live: Callable[[], bytes] = LiveSessions().encode
        self.spread = limits.ROTATION_SPREAD.total_seconds()
        self._papers = papers
        self._vitals = vitals
        self._take = take
        self._address = address
        self._span = span
        self._interval = interval
        self._instance = secrets.token_hex(8)
        self._node_id = papers.identity.granted.node_id
        self._driver = LinkDriver("broker", self._dial, self._serve)
        self._wanted = asyncio.Event()
        self._line: Line | None = None
        self._told_live = b""
        self._footing = Footing(None, "", "")
        self._due: float | None = None
        self._connections = 0
        self._is_tidy = False
        self._identity = papers.identity
        papers.on_change(self.beat_soon)
        papers.on_change(self._look)

    async def run(self) -> None:
        """Keep the connection up until `stop`, then say goodbye. Where there is no broker, wait for one."""
        await self._driver.run()
        await self._say_goodbye()

    def stop(self) -> None:
        """Have `run` end."""
        self._driver.stopped.set()
        self._wanted.set()

    def beat_soon(self) -> None:
        """Have the heart beat at once: something has changed."""
        self._wanted.set()

    def tell_live(self) -> None:
        """Tell of the sessions that are going on, where that is not what was told last on this connection."""
        payload = self.live()
        if self._line and not self._line.is_lost and payload != self._told_live:
            self._told_live = payload
            self._line.keep(topics.live(self._node_id), payload)

    def hurry(self) -> None:
        """Dial now rather than wait: the controller was heard of."""
        self._driver.hurry()

    def tell(self, told: Callable[[bool, str], None]) -> None:
        """Have `told` called when the connection stands, and with what is wrong where it does not."""
        self._driver.told = told

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands."""
        return self._line is not None

    def _look(self) -> None:
        """Wait no longer where there are new certificates: the old ones may have been what was wrong."""
        if self._papers.identity is not self._identity:
            self._driver.renewed.set()

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def _dial(self) -> Event:
        host, port = await self._find_broker()
        try:
            line = await self._connect(host, port)
        except (MqttError, TlsError) as err:
            self._driver.complain(f"the broker at {host}:{port} is not reached: {err}")
            if err.is_refusal:
                self.refused()
            return DialFailed(None, refused=err.is_refusal)
        line.on_lost = self._wanted.set
        self._line = line
        self._connections += 1
        self._is_tidy = False
        _log.info("connected to the broker at %s:%d", host, port)
        self._greet(line)
        self.came_up()
        return DialSucceeded()

    async def _find_broker(self) -> tuple[str, int]:
        """Return where the broker is. Where there is none, that is once a renewal has told of one."""
        self._go_by_papers()
        if self._address() is None:
            _log.info("the controller names no broker: this node is known by its tunnel alone")
        while (found := self._address()) is None:
            await self._driver.renewed.wait()
            self._go_by_papers()
        return found

    def _go_by_papers(self) -> None:
        self._identity = self._papers.identity
        self._driver.renewed.clear()

    async def _connect(self, host: str, port: int) -> Line:
        granted, authorities, address = self._papers.identity.granted, self._papers.tls_authorities, self._address()
        certificate, key = self._papers.identity.tls_files
        context = Context(Credentials(authorities, certificate, key))
        place = Place(host, port, f"mqtt.{granted.cluster_name}")
        will = NodeState(self._instance, farewell="lost").encode()
        hello = Hello(self._node_id, keepalive(self._interval), topics.state(self._node_id), will)
        line = await dial(place, Tls(context, place.name, self._span), hello, self._take)
        self._footing = Footing(address, granted.tls_certificate, _find(line.voucher, authorities))
        self._due = None
        return line

    def _greet(self, line: Line) -> None:
        """Say that we are there, and ask for what the controller says."""
        line.subscribe((topics.POLICY, topics.PULSE, topics.node_document(self._node_id)))
        line.keep(topics.state(self._node_id), self._vitals.state(self._instance, self._interval).encode())
        self._told_live = b""  # the broker may have anything, or nothing
        self.tell_live()

    def _is_outdated(self) -> bool:
        """Tell whether it is time to connect anew; where it will be, note when."""
        papers, now = self._papers, asyncio.get_running_loop().time()
        certificate = papers.identity.granted.tls_certificate
        spread = self.spread * share(self._node_id)
        seconds = decide_anew(self._footing, self._address(), certificate, papers.tls_authorities, spread)
        due = None if seconds is None else now + seconds
        self._due = min(self._due or due, due) if due is not None else None
        return self._due is not None and self._due <= now

    def _until_next(self) -> float:
        """Return for how many seconds there is nothing to do."""
        if self._due is None:
            return self._interval
        return max(0.0, min(self._interval, self._due - asyncio.get_running_loop().time()))

    # --- connected ----------------------------------------------------------------------------------------------------

    async def _serve(self) -> Event:
        """Let the heart beat until the connection is lost or we are to stop."""
        line, stopped = self._line, self._driver.stopped
        assert line  # noqa: S101 - it was dialled
        while not (line.is_lost or stopped.is_set()):
            self._wanted.clear()
            if self._is_outdated():
                _log.info("connecting to the broker anew, by what was granted last")
                line.close()
                break
            self._beat(line)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._until_next()):
                    await self._wanted.wait()
            self._tidy()
        if stopped.is_set():
            return StopAsked()
        self._line = None
        if line.is_lost:
            self._driver.complain(f"the connection to the broker is gone: {line.reason}")
        self.went_down()
        return LinkLost()

    def _beat(self, line: Line) -> None:
        beat = self._vitals.beat(Quality(line.round_trip, self._connections - 1))
        line.mention(topics.beat(self._node_id), beat.encode())

    def _tidy(self) -> None:
        """Give back what connecting took, once for each connection: from here on little happens for a long time."""
        if not self._is_tidy:
            self._is_tidy = True
            gc.collect()
            memory.give_back()

    async def _say_goodbye(self) -> None:
        self.tell_live()
        line, self._line = self._line, None
        if line is None:
            return
        if not line.is_lost:
            farewell = NodeState(self._instance, farewell="stopped").encode()
            await line.say_last(topics.state(self._node_id), farewell, _LAST_WORD)
        await line.wait_closed(_CLOSE)


def _find(voucher: bytes, authorities: Iterable[str]) -> str:
    """Return which of the authorities (PEM) that is (DER); "" for none."""
    for pem in authorities:
        _, _, inside = pem.partition("-----BEGIN CERTIFICATE-----")
        if base64.b64decode(inside.partition("-----END")[0]) == voucher:
            return pem
    return ""
