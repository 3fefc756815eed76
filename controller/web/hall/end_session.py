"""Ending somebody's session from a page: joined as a moderator, who presses the key that ends it for all."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncssh

from controller.web.hall.road import Road, RoadError, Traveller
from controller.web.hall.terminal import TERM
from protocol.decision import Granted, Refused
from protocol.fleet_sessions import SessionEntry
from protocol.joining import END_KEY, MODE_VARIABLE, NO_SUCH_SESSION, SESSION_VARIABLE
from protocol.ssh.caller import describe_loss
from protocol.table import escape_text

_PATIENCE = timedelta(seconds=10)
_SAID_MAX = 4 * 1024
_NOTICE = b"Skerry: "
# What all parties are told when the key has worked (`edge_agent.meeting`); what else a screen shows is the program's.
_ENDED = b"ended by moderator "
_NOT_ENDED = "the device closed the session's terminal without ending the session"
_REFUSED_STATUS = 255


class Moderator(asyncssh.SSHClientSession[bytes]):
    """Presses the key as soon as the session lets it in, and waits for the end.

    Attributes:
        closed: done when the channel is closed.
        lost: why the connection was lost, where it was.
    """

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.lost: Exception | None = None
        self._first = self._last = b""
        self._is_told = False
        self._status: int | None = None
        self._signal = ""
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Take the channel."""
        self._channel = chan

    def session_started(self) -> None:
        """Press the key."""
        if self._channel:
            self._channel.write(END_KEY)

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - the library's signature
        """Look for what the node itself says, at the beginning and at the end of what comes."""
        self._first = (self._first + data[:_SAID_MAX])[:_SAID_MAX]
        self._is_told = self._is_told or _ENDED in self._last[-len(_ENDED) :] + data
        self._last = (self._last + data)[-_SAID_MAX:]

    def exit_status_received(self, status: int) -> None:
        """Keep how it ended."""
        self._status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002 - the library's
        """Keep which signal ended it."""
        self._signal = signal

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the channel is closed."""
        self.lost = exc
        self.closed.set()

    def judge(self) -> Granted[None] | Refused:
        """Return whether the session was ended by the key, once the channel is closed.

        A screen may show anything, also what a node says: so only the first words of a channel that ends with nothing
        else are its refusal, and a session has ended only where the node told how its program did.
        """
        if self._status == _REFUSED_STATUS and self._first.lstrip().startswith(_NOTICE + NO_SUCH_SESSION.encode()):
            return Refused(NO_SUCH_SESSION, "WS7")
        has_outcome = bool(self._signal) or self._status is not None
        if not has_outcome or not self._is_told or self._is_dismissed:
            return Refused(self._reason(), "WS7")
        return Granted(None)

    @property
    def _is_dismissed(self) -> bool:
        """Whether the node's last word was to us alone: a lock, say."""
        _, notice, said = self._last.rpartition(_NOTICE)
        return self._status == _REFUSED_STATUS and bool(notice) and _ENDED not in said

    def _reason(self) -> str:
        if self._status == _REFUSED_STATUS and _NOTICE in self._last:
            said = self._last.rpartition(_NOTICE)[2].split(b"\r")[0].split(b"\n")[0]
            return escape_text(said[:200].decode(errors="replace"))
        if self._status is not None or self._signal:
            return "the session had ended by itself"
        return _NOT_ENDED if self.lost is None else f"the connection to the device was lost: {describe_loss(self.lost)}"


async def end_session(road: Road, traveller: Traveller, entry: SessionEntry) -> Granted[None] | Refused:
    """End the session that `entry` tells of. Raises `RoadError` where its node is not reached."""
    moderator = Moderator()
    env: dict[str | bytes, str | bytes] = {SESSION_VARIABLE: entry.live.session, MODE_VARIABLE: "moderator"}
    try:
        async with (
            road.to(traveller, entry.node_id, entry.live.login) as reached,
            asyncio.timeout(_PATIENCE.total_seconds()),
        ):
            await _join(reached.connection, moderator, env)
            await moderator.closed.wait()
    except TimeoutError:
        return Refused("the device did not end the session in time", "WS7")
    return moderator.judge()


async def _join(
    connection: asyncssh.SSHClientConnection, moderator: Moderator, env: dict[str | bytes, str | bytes]
) -> None:
    try:
        await connection.create_session(
            lambda: moderator, env=env, request_pty="force", term_type=TERM, term_size=(0, 0, 0, 0), encoding=None
        )
    except asyncssh.Error as err:
        raise RoadError(f"the device did not open the session: {describe_loss(err)}") from err
