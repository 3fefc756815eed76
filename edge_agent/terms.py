"""How this cluster records, as the controller said it last; and the asking for what MQTT did not bring.

The terms come with the join and in the policy document. The controller is asked for them, for that document and for the
time when the agent starts, and again when nothing was heard of it for an hour; where nobody may work on a node whose
view of locks is stale, well before it is. The answer is kept in `recording_terms.json`, so that an agent that starts
without a link knows it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from contextlib import suppress
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.control import Control
from edge_agent.courier import Courier
from edge_agent.fault import RefusedError, UnreachableError, UntrustedError
from edge_agent.identity import DataDirectory
from edge_agent.policy.link import decide_wait
from edge_agent.side_thread import SideThread
from protocol import endpoints, limits
from protocol.endorsement import Endorsed
from protocol.events import Json
from protocol.fields import Fields, MessageError
from protocol.recordings import Mode, RecordingTerms

_log = logging.getLogger("skerry.agent")
FILE = "recording_terms.json"
_FILE_MAX = 64 * 1024
_INTERVAL = limits.RECORDING_TERMS_INTERVAL.total_seconds()
# In strict mode: a pulse and a bit, so that there is time for several tries before the view of locks is stale.
_STRICT_INTERVAL = 1.2 * limits.PULSE_INTERVAL.total_seconds()
# What was said so short a time ago is not asked for again because the tunnel has come up.
_FRESH = 60.0
# A policy document that a pulse tells of may still be on its way for so long.
_GRACE = 5.0
# After failures one asks that much less often than others do who have something to send.
_PATIENCE = 5
# What a controller answers that knows nothing of recordings, or of policy documents.
_UNKNOWN_THERE = frozenset({404, 501})


class Terms:
    """The terms, kept up to date."""

    def __init__(
        self,
        directory: Path,
        granted: RecordingTerms | None,
        courier: Courier,
        clock: Clock,
        control: Control | None = None,
    ) -> None:
        """Go by what was `granted` or is in `directory`; `clock` and `control` are told what the controller says."""
        self._directory = DataDirectory(directory)
        self._courier = courier
        self._clock = clock
        self._control = control
        self._wanted = asyncio.Event()
        self._asked = float("-inf")
        self._awaited: asyncio.TimerHandle | None = None
        self._are_unknown_there = False
        self._said = granted
        self._load()

    @property
    def current(self) -> RecordingTerms | None:
        """The terms that hold; None where the controller never said any.

        Those of the policy document, which is signed; what the machine API says counts where there is none.
        """
        return (self._control.terms if self._control else None) or self._said

    @property
    def mode(self) -> Mode | None:
        """How sessions are recorded; None where that is not known."""
        if current := self.current:
            return current.mode
        return "off" if self._are_unknown_there else None

    def times(self) -> tuple[int, int]:
        """Return the time by the device's clock, and by the controller's as far as it is known; ms since 1970."""
        return self._clock.times()

    # --- asking -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask now, and again when it is time or `refresh` says so, until cancelled."""
        failures = 0
        while True:
            self._wanted.clear()
            chance = random.random()  # noqa: S311 - spreads devices, hides nothing
            try:
                await self._ask()
                failures, wait = 0, self._interval() * (0.75 + chance / 2)
            except (UnreachableError, UntrustedError, RefusedError, MessageError) as err:
                level = logging.DEBUG if failures else logging.WARNING
                _log.log(level, "cannot ask the controller for its policy and the time: %s", err)
                wait = _PATIENCE * decide_wait(failures, getattr(err, "retry_after", None), chance)
                failures += 1
            await self._rest(wait)

    def refresh(self) -> None:
        """Ask soon, unless the controller was heard just now: the tunnel has come up, or the time is in doubt.

        A node that takes itself for locked always asks: with a tunnel it is not locked any more.
        """
        if self._silence() > _FRESH or (self._control and self._control.find_lock()):
            self._wanted.set()

    def ask_time(self) -> None:
        """Ask soon, unless that was done just now: a pulse says that the time is not what we think."""
        if self._since_asked() > _FRESH:
            self._wanted.set()

    def ask_policy(self, version: int) -> None:
        """Ask soon where the policy document of this version does not come: a pulse has told of it."""
        if self._awaited is None:
            wait = max(_GRACE, _FRESH - self._since_asked())
            self._awaited = asyncio.get_running_loop().call_later(wait, self._ask_if_behind, version)

    def _ask_if_behind(self, version: int) -> None:
        self._awaited = None
        if self._control and self._control.version < version:
            self._wanted.set()

    def _interval(self) -> float:
        return _STRICT_INTERVAL if self._control and self._control.is_strict else _INTERVAL

    def _since_asked(self) -> float:
        return asyncio.get_running_loop().time() - self._asked

    def _silence(self) -> float:
        """Return for how many seconds nothing was heard, neither an answer nor a pulse."""
        silence = self._control.silence if self._control else None
        return self._since_asked() if silence is None else min(self._since_asked(), silence / 1000)

    async def _rest(self, seconds: float) -> None:
        """Wait until nothing was heard for so many `seconds` from now on, or `refresh` says so."""
        begun = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # `wait_for` may miss that it is cancelled
                await self._wanted.wait()
        while not self._wanted.is_set():
            quiet = min(self._silence(), asyncio.get_running_loop().time() - begun)
            if quiet >= seconds:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(max(seconds - quiet, 1.0)):  # `wait_for` may miss that it is cancelled
                    await self._wanted.wait()

    async def _ask(self) -> None:
        try:
            reply = await self._courier.ask(endpoints.RECORDING_TERMS)
        except RefusedError as err:
            if err.status in _UNKNOWN_THERE:
                self._are_unknown_there = True
            else:
                await self._ask_policy()  # a node that is locked is told no terms, but that it is
            raise
        terms = RecordingTerms.from_dict(reply)
        if self.current and self.current.mode != terms.mode:
            _log.info("sessions are recorded from now on: %s", terms.mode)
        self._clock.learn(terms.time)
        is_news = self._said is None or terms != self._said
        self._said = terms
        self._asked = asyncio.get_running_loop().time()
        if is_news:
            await self._keep(terms)
        await self._ask_policy()

    async def _ask_policy(self) -> None:
        if self._control is None:
            return
        try:
            reply = await self._courier.ask(endpoints.POLICY)
        except RefusedError as err:
            if err.status not in _UNKNOWN_THERE:
                raise
            return
        self._control.take_policy(Endorsed.from_dict(reply), fresh=True)
        if node := Fields(reply).get("node", Endorsed.from_dict, None):
            self._control.take_node(node)

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def _keep(self, terms: RecordingTerms) -> None:
        record: dict[str, Json] = {"version": 1, "terms": terms.to_dict()}
        data = json.dumps(record, indent=1).encode()
        thread = SideThread("terms")
        try:
            await thread.submit(lambda: self._directory.write(FILE, data))
        except OSError as err:
            _log.warning("cannot keep how sessions are to be recorded: %s", err.strerror)
        finally:
            thread.close()

    def _load(self) -> None:
        try:
            fields = Fields(json.loads(self._directory.read(FILE, _FILE_MAX)))
            self._said = fields.take("terms", RecordingTerms.from_dict)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as err:
            reason = getattr(err, "strerror", None) or err
            _log.warning(
                "%s cannot be read (%s); the terms of the join hold until the controller is asked", FILE, reason
            )
