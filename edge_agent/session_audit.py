"""What the audit log learns of a session."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edge_agent.child import Ended, TerminalSize
from edge_agent.session import Session, Stream
from protocol import events, limits
from protocol.addresses import join_address
from protocol.certificates import UserIdentity
from protocol.decision import Refused
from protocol.events import EventKind, Json
from protocol.instants import format_instant
from protocol.joining import JoinMode
from protocol.names import Login, SessionId

Report = Callable[[EventKind, Mapping[str, Json]], None]
RequestKind = Literal["shell", "exec", "subsystem"]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, and from where.

    Attributes:
        address: host and port as the proxy saw them.
        arrived: the agent's side of that.
    """

    identity: UserIdentity
    login: Login
    address: tuple[str, int]
    arrived: tuple[str, int]

    @property
    def remote(self) -> str:
        """The address as the audit log writes it."""
        return join_address(*self.address)


@dataclass(frozen=True, slots=True)
class Request:
    """What a channel asked to run: a shell, a command line, or a subsystem by name."""

    kind: RequestKind
    text: str = ""


class SessionAudit:
    """A tap that reports start and end of one session, the command or subsystem it was, and who joined and left."""

    def __init__(
        self,
        sid: SessionId,
        peer: Peer,
        request: Request,
        *,
        node: Mapping[str, Json],
        report: Report,
        clock: Callable[[], datetime],
    ) -> None:
        self._peer = peer
        self._request = request
        self._report = report
        self._clock = clock
        self._began = clock()
        self._interactive = False
        self._ended_by = ""
        self._participants: list[str] = [peer.identity.user]
        self._who: dict[str, Json] = {
            **node,
            "user": peer.identity.user,
            "login": peer.login,
            "sid": sid,
            "addr.remote": peer.remote,
        }

    def started(self, session: Session) -> None:
        """Report the start."""
        terminal = session.program.terminal
        self._interactive = terminal is not None
        command = self._request.text
        words: list[Json] = [command[: limits.COMMAND_MAX_CHARS]] if self._request.kind == "exec" else []
        columns, rows = terminal.size[:2] if terminal else (0, 0)
        self._report(
            events.SESSION_START,
            self._who | {"size": f"{columns}:{rows}", "initial_command": words, "interactive": self._interactive},
        )

    def output(self, data: bytes, stream: Stream) -> None:
        """Take no notice."""

    def input(self, data: bytes) -> None:
        """Take no notice."""

    def resized(self, size: TerminalSize) -> None:
        """Take no notice."""

    def input_ready(self) -> None:
        """Take no notice."""

    def joined(self, peer: Peer, mode: JoinMode, here: Sequence[str], size: tuple[int, int] | None) -> None:
        """Report one more who takes part; `here` are all who do now."""
        if peer.identity.user not in self._participants:
            self._participants.append(peer.identity.user)
        more: dict[str, Json] = {"size": f"{size[0]}:{size[1]}"} if size else {}
        self._report(events.SESSION_JOIN, self._who | self._of(peer, mode, here) | more)

    def left(self, peer: Peer, mode: JoinMode, here: Sequence[str], reason: str) -> None:
        """Report one who takes part no longer, in a session that goes on; `here` are those who do now."""
        more: dict[str, Json] = {"reason": reason} if reason else {}
        self._report(events.SESSION_LEAVE, self._who | self._of(peer, mode, here) | more)

    def _of(self, peer: Peer, mode: JoinMode, here: Sequence[str]) -> dict[str, Json]:
        return {
            "user": peer.identity.user,
            "addr.remote": peer.remote,
            "mode": mode,
            "participants": [*here],
            "owner": self._peer.identity.user,
        }

    def because(self, reason: str) -> None:
        """Note why the session is made to end, for its last event."""
        self._ended_by = self._ended_by or reason

    def ended(self, how: Ended) -> None:
        """Report the command's outcome and the end."""
        if self._request.kind == "exec" and not self._interactive:
            self._report_command(how)
        if self._request.kind == "subsystem":
            self._report_subsystem(how)
        outcome: dict[str, Json] = {"exitCode": how.code} if how.code is not None else {}
        if how.signal is not None:
            outcome["exitSignal"] = how.signal
        if self._ended_by:
            outcome["reason"] = self._ended_by
        span: dict[str, Json] = {
            "interactive": self._interactive,
            "participants": [*self._participants],
            "session_start": format_instant(self._began),
            "session_stop": format_instant(self._clock()),
        }
        self._report(events.SESSION_END, self._who | span | outcome)

    def failed(self, problem: str) -> None:
        """Report a program that could not even be started."""
        if self._request.kind == "subsystem":
            self._report(events.SUBSYSTEM_FAILED, self._who | {"name": self._name(), "exitError": problem})
        else:
            command = self._request.text or "(login shell)"
            fields: dict[str, Json] = {"command": command, "exitCode": 255, "exitError": problem}
            self._report(events.EXEC_FAILED, self._who | fields)

    def unrecordable(self, problem: Refused) -> None:
        """Report a program that was not started, as the session cannot be recorded and has to be."""
        reason = f"cannot be recorded: {problem.reason}"
        self._report(events.SESSION_UNRECORDABLE, self._who | {"reason": reason, "check": problem.check})
        self.failed(f"{reason} ({problem.check})")

    def _report_command(self, how: Ended) -> None:
        fields: dict[str, Json] = {"command": self._request.text[: limits.COMMAND_MAX_CHARS], **_code(how)}
        if how.code == 0:
            self._report(events.EXEC, self._who | fields)
        else:
            self._report(events.EXEC_FAILED, self._who | fields | {"exitError": how.describe()})

    def _report_subsystem(self, how: Ended) -> None:
        fields: dict[str, Json] = {"name": self._name(), **_code(how)}
        if how.code == 0:
            self._report(events.SUBSYSTEM, self._who | fields)
        else:
            self._report(events.SUBSYSTEM_FAILED, self._who | fields | {"exitError": how.describe()})

    def _name(self) -> str:
        return shlex.quote(self._request.text)[:100]


def _code(how: Ended) -> dict[str, Json]:
    """Return the exit code; 255, as ssh would, where a signal took its place; none of what was left running."""
    if how.is_left:
        return {}
    return {"exitCode": 255 if how.code is None else how.code}
