"""One SSH channel: what the peer asks for comes in here. It has a session of its own, or joins somebody's."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

import asyncssh

from edge_agent import accounts
from edge_agent.accounts import Account
from edge_agent.child import SENDABLE, Ended, Terminal, TerminalSize
from edge_agent.house import House
from edge_agent.key_agent import KeyAgent
from edge_agent.launch import environment_for, program_for, read_motd, sftp_server
from edge_agent.meeting import Meeting, Plan
from edge_agent.outlet import Outlet
from edge_agent.policy.company import describe_company
from edge_agent.policy.joining import Wish, decide_join, judge_again, parse_session, read_wish
from edge_agent.policy.spool import explain
from edge_agent.recorder import Recorder, Subject
from edge_agent.seat import Seat
from edge_agent.session import Stream
from edge_agent.session_audit import Peer, Request, SessionAudit
from edge_agent.terminal_modes import within_bounds
from edge_agent.threshold import ThresholdError
from protocol import events
from protocol.certificates import PERMIT_AGENT_FORWARDING, PERMIT_PTY
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.joining import NO_SUCH_SESSION, JoinMode
from protocol.names import SessionId
from protocol.session_ids import RANDOM_BYTES, is_minted_by, mint_session_id

_log = logging.getLogger("skerry.agent")
_EXIT_NOT_STARTED = 255
# A program whose session may not go on unrecorded has so many seconds to end by itself.
_UNRECORDED_GRACE = 1.0


class Party(asyncssh.SSHServerSession[bytes]):
    """One channel. It asks for a terminal perhaps, then for one program, or to join one that runs."""

    def __init__(self, peer: Peer, house: House, gone: Callable[[Party], None]) -> None:
        self._peer = peer
        self._house = house
        self._gone = gone
        self._sid = mint_session_id(house.target.node_id, os.urandom(RANDOM_BYTES))
        self._terminal: Terminal | None = None
        self._request: Request | None = None
        self._wish: Wish | None = None
        self._meeting: Meeting | None = None
        self._seat: Seat | None = None
        self._holders: set[str] = set()
        self._admitted: Granted[Account] | Refused = Refused("this session was not prepared", "L4")
        self._recording: Recorder | Refused | None = None
        self._keys: KeyAgent | None = None
        self._is_gone = self._is_preparing = False
        self._dismissal = ""
        self._is_open = False
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._outlet: Outlet

    # --- what the peer asks for ---------------------------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Keep the channel."""
        self._channel = chan
        self._outlet = Outlet(chan)
        self._is_open = True
        for why in self._holders:
            self._outlet.pause(why)

    def pty_requested(self, term_type: str, term_size: TerminalSize, term_modes: Mapping[int, int]) -> bool:
        """Note the terminal that is wanted, where the certificate permits one."""
        if PERMIT_PTY not in self._peer.identity.permissions:
            return False
        kind = term_type if len(term_type) < 64 and term_type.isprintable() else "dumb"
        self._terminal = Terminal(kind, within_bounds(term_size), dict(term_modes))
        return True

    async def agent_requested(self) -> bool:
        """Lend the person's ssh-agent to the program that is yet to start, where the certificate permits it."""
        if PERMIT_AGENT_FORWARDING not in self._peer.identity.permissions or self._keys or self._request:
            return False
        found = await self._admit()
        if isinstance(found, Refused) or self._is_gone:
            return False
        try:
            keys = self._keys = KeyAgent(self._channel.get_connection(), self._house.key_place)  # type: ignore[arg-type]  # a server's channel, a server's connection
            for why in self._holders:
                keys.hold(why)
            await keys.listen(uid=found.value.uid, gid=found.value.gid)
        except OSError as err:
            _log.warning("no agent forwarding for %s: %s", self._peer.identity.user, err.strerror)
            self._take_back_keys()
        return self._keys is not None

    async def _admit(self) -> Granted[Account] | Refused:
        """Ask the operating system for the login, in a thread: it may have to ask a server on the network."""
        try:
            return await asyncio.to_thread(accounts.admit, self._peer.login, euid=self._house.euid)
        except RuntimeError:
            return Refused("this device cannot start another thread", "L4")

    def _take_back_keys(self) -> None:
        if self._keys:
            self._keys.close()
            self._keys = None

    def shell_requested(self) -> bool:
        """Note that a login shell is wanted."""
        self._request = Request("shell")
        return True

    def exec_requested(self, command: str) -> bool:
        """Note the command."""
        self._request = Request("exec", command)
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Note the subsystem; there is but one, and only where OpenSSH's server for it is installed."""
        self._request = Request("subsystem", subsystem)
        if subsystem == "sftp" and sftp_server():
            return True
        self._auditor(self._request).failed("no such subsystem here" if subsystem != "sftp" else "no sftp-server")
        return False

    async def prepare(self) -> None:
        """See to what must be before the program starts: the login, and the recording, so that all of it is on that."""
        self._is_preparing = True
        wish = self._wish = read_wish(self._channel.get_environment_bytes())
        try:
            barred = self._judge_again() if wish.session is None else None  # who joins is judged when they do
            found = self._admitted = barred or await self._admit()
            if isinstance(found, Granted) and not self._is_gone and wish.session is None:
                await self._begin_recording(found.value)
        finally:
            self._is_preparing = False

    def _judge_again(self) -> Refused | None:
        house, peer = self._house, self._peer
        return judge_again(peer.identity, house.target, peer.login, house.clock())

    async def _begin_recording(self, account: Account) -> None:
        studio, request = self._house.studio, self._request
        if studio is None or request is None or request.kind == "subsystem":  # the bytes of files are not recorded
            return
        recording = self._recording = await studio.begin(self._subject(account, request))
        if isinstance(recording, Recorder):
            recording.dismiss = self._end_unrecorded
            if self._is_gone:
                recording.ended(Ended(None))

    def _subject(self, account: Account, request: Request) -> Subject:
        terminal = self._terminal
        return Subject(
            session=self._sid,
            user=self._peer.identity.user,
            login=self._peer.login,
            command=request.text,
            size=terminal.size[:2] if terminal else None,
            term=terminal.kind if terminal else "",
            shell=account.shell,
        )

    def session_started(self) -> None:
        """Start what was asked for."""
        if self._dismissal:
            self._start_nothing()
            return
        request, wish = self._request or Request("shell"), self._wish
        found = self._admitted
        if isinstance(found, Refused):
            self._refuse_login(found)
        elif wish and wish.session is not None:
            self._join(wish.session, wish, request)
        elif isinstance(self._recording, Refused):
            self._refuse_unrecorded(self._recording, request)
        else:
            self._start(found.value, request, self._recording)

    def _start_nothing(self) -> None:
        """End what was dismissed while it was prepared."""
        self._say(f"Skerry: {self._dismissal}")
        if isinstance(self._recording, Recorder):
            self._recording.ended(Ended(None))
        self._channel.exit(_EXIT_NOT_STARTED)

    def _refuse_unrecorded(self, problem: Refused, request: Request) -> None:
        self._auditor(request).unrecordable(problem)
        self._say(f"Skerry: {explain(problem)}")
        self._channel.exit(_EXIT_NOT_STARTED)

    def _refuse_login(self, refused: Refused) -> None:
        self._house.report(events.AUTH_FAILED, self._failure(refused) | {"door": "node"})
        self._say(f"Skerry: {refused.reason}")
        self._channel.exit(_EXIT_NOT_STARTED)

    # --- a session of its own -------------------------------------------------------------------------------------

    def _start(self, account: Account, request: Request, recorder: Recorder | None) -> None:
        audit, house = self._auditor(request), self._house
        directory = account.home if os.access(account.home, os.X_OK) else "/"
        program = program_for(account, request, self._environment(account), directory, self._terminal)
        plan = Plan(self._sid, self._peer.login, request.text, program, house.clock())
        meeting = Meeting(plan, house.children, audit, recorder, house.register.note)
        meeting.take_in(self._take_seat(meeting, "peer"))
        if directory != account.home:
            self._say(f"Skerry: could not change to the home directory {account.home}; starting in /")
        if self._terminal:
            self._greet(meeting, account, request)
        try:
            meeting.begin()
        except (OSError, ValueError) as err:
            reason = getattr(err, "strerror", None) or str(err)
            if isinstance(err, ThresholdError):  # it is the agent's own fault, or its unit's
                _log.error("no session for %s: %s", self._peer.identity.user, reason)
            self._meeting = None
            audit.failed(f"{program.path}: {reason}")
            self._say(f"Skerry: cannot start {program.path}: {reason}")
            self._channel.exit(_EXIT_NOT_STARTED)
            if recorder:
                recorder.ended(Ended(_EXIT_NOT_STARTED))
        except BaseException:
            self._meeting = None
            raise

    def _take_seat(self, meeting: Meeting, mode: JoinMode) -> Seat:
        self._meeting = meeting
        seat = self._seat = Seat(
            self._peer,
            mode,
            self._house.clock(),
            self._terminal.size if self._terminal else None,
            self._channel,
            self._outlet,
            has_terminal=self._terminal is not None,
            has_news=bool(self._wish and self._wish.has_news),
        )
        return seat

    def _greet(self, meeting: Meeting, account: Account, request: Request) -> None:
        """Tell who is at a terminal who else is here, and who opens a shell what the device has to say."""
        house = self._house
        company = describe_company(house.register.others(self._peer.identity.user), house.clock())
        if company:
            self._say(f"Skerry: {company}")
        if request.kind == "shell" and not account.is_quiet():
            meeting.show(read_motd())

    def _environment(self, account: Account) -> dict[str, str]:
        said = self._channel.get_environment_bytes()
        keys = {"SSH_AUTH_SOCK": self._keys.path} if self._keys else {}
        return environment_for(account, self._house, self._peer, self._sid, said) | keys

    def _auditor(self, request: Request) -> SessionAudit:
        house = self._house
        return SessionAudit(self._sid, self._peer, request, node=house.node, report=house.report, clock=house.clock)

    def _say(self, text: str) -> None:
        """Tell the person something, as plainly as the channel allows."""
        if self._terminal:
            self._show(f"{text}\r\n".encode(errors="replace"))
        else:
            self._show(f"{text}\n".encode(errors="replace"), "error")

    def _show(self, data: bytes, stream: Stream = "output") -> None:
        """Show the person what is not the program's, and have it on record."""
        if self._meeting:
            self._meeting.show(data, stream)
            return
        if isinstance(self._recording, Recorder):
            self._recording.output(data, stream)
        self._outlet.show(data, stream)

    # --- somebody's session ---------------------------------------------------------------------------------------

    def _join(self, named: str, wish: Wish, request: Request) -> None:
        self._take_back_keys()  # nothing of theirs is going to run
        session = parse_session(named)
        meeting = self._house.register.find(session) if session else None
        answer = decide_join(
            meeting.standing_for(self._peer.identity.user) if meeting else None,
            wish,
            self._peer.login,
            is_shell=request.kind == "shell",
            permits_terminal=PERMIT_PTY in self._peer.identity.permissions,
            barred=self._judge_again(),
        )
        if isinstance(answer, Refused):
            self._refuse_join(session, wish, answer)
        elif meeting:
            meeting.join(self._take_seat(meeting, answer.value))

    def _refuse_join(self, session: SessionId | None, wish: Wish, refused: Refused) -> None:
        # Of another node's session this one cannot tell.
        own = session if session and is_minted_by(session, self._house.target.node_id) else ""
        fields = self._failure(refused) | {"sid": own}
        mode: dict[str, Json] = {"mode": wish.mode} if wish.mode.isprintable() and len(wish.mode) <= 32 else {}
        self._house.report(events.SESSION_JOIN_FAILED, fields | mode)
        self._say(f"Skerry: {NO_SUCH_SESSION}")
        self._channel.exit(_EXIT_NOT_STARTED)

    def _failure(self, refused: Refused) -> dict[str, Json]:
        """Return what the audit log hears of any refusal."""
        return {
            **self._house.node,
            "success": False,
            "error": refused.reason,
            "check": refused.check,
            "user": self._peer.identity.user,
            "login": self._peer.login,
            "addr.remote": self._peer.remote,
        }

    # --- from the peer to the program -----------------------------------------------------------------------------

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - the library's signature
        """Hand on input."""
        if self._meeting and self._seat and not self._meeting.feed(self._seat, data):
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        """Hand on the end of input; the channel stays open for output."""
        if self._meeting and self._seat:
            self._meeting.feed_end(self._seat)
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Hand on a new size."""
        if self._meeting and self._seat and self._terminal:
            self._meeting.resize(self._seat, within_bounds((width, height, pixwidth, pixheight)))

    def signal_received(self, signal: str) -> None:
        """Hand on a signal."""
        if self._meeting and self._seat and signal in SENDABLE:
            self._meeting.send_signal(self._seat, signal)

    def break_received(self, msec: int) -> bool:  # noqa: ARG002 - the library's signature
        """Refuse: a pseudo-terminal has no line to break."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave: where nobody else is there to type, the line is hung up."""
        if self._meeting and self._seat:
            self._meeting.leave(self._seat, self._describe_leaving(self._seat, exc))
        elif isinstance(self._recording, Recorder):
            self._recording.ended(Ended(None))  # it did not come to a program
        self._is_gone = True
        self._take_back_keys()
        self._gone(self)

    @staticmethod
    def _describe_leaving(seat: Seat, exc: Exception | None) -> str:
        """Return why; empty for somebody who only looked on, and went."""
        if exc:
            return "the connection was lost"
        return "the client closed the channel" if seat.mode == "peer" else ""

    # --- where the link is full, and where it all ends --------------------------------------------------------------

    def pause_writing(self) -> None:
        """Note that this channel is full."""
        self.hold("channel")

    def resume_writing(self) -> None:
        """Note that it is not any more."""
        self.release("channel")

    def hold(self, why: str) -> None:
        """Send no more for the reason `why`, from the start if it has not begun."""
        self._holders.add(why)
        if self._is_open:
            self._outlet.pause(why)
        if self._keys:
            self._keys.hold(why)

    def release(self, why: str) -> None:
        """Take back a `hold`."""
        self._holders.discard(why)
        if self._is_open:
            self._outlet.resume(why)
        if self._keys:
            self._keys.release(why)

    def dismiss(self, text: str, grace: float) -> None:
        """Have this party go, and say why. Where nobody else is there to type, the session ends."""
        if self._is_preparing:
            self._dismissal = text
            return
        if self._meeting is None or self._seat is None:
            self._say(f"\r\nSkerry: {text}" if self._terminal else f"Skerry: {text}")
            self._channel.close()
        else:
            self._meeting.dismiss(self._seat, text, grace)

    def _end_unrecorded(self, text: str) -> None:
        if self._meeting:
            self._meeting.end(text, grace=_UNRECORDED_GRACE, text=f"Skerry: {text}")
        else:
            self.dismiss(text, _UNRECORDED_GRACE)
