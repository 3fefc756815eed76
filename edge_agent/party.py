"""One SSH channel's end of a session: what the peer asks for comes in here, what the program says goes out."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncssh

from edge_agent import accounts
from edge_agent.accounts import Account
from edge_agent.child import SENDABLE, Children, Ended, Program, Terminal, TerminalSize
from edge_agent.key_agent import KeyAgent
from edge_agent.papers import Papers
from edge_agent.policy.spool import explain
from edge_agent.recorder import Recorder, Subject
from edge_agent.session import Session, Stream
from edge_agent.session_audit import Peer, Report, Request, SessionAudit
from edge_agent.studio import Studio
from edge_agent.terminal_modes import within_bounds
from protocol import events
from protocol.access import AccessTarget
from protocol.certificates import PERMIT_AGENT_FORWARDING, PERMIT_PTY
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.session_ids import RANDOM_BYTES, mint_session_id

_log = logging.getLogger("skerry.agent")
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/sftp-server",
)
_MOTD = Path("/etc/motd")
_MOTD_MAX = 64 * 1024
_EXIT_NOT_STARTED = 255
# A program whose session may not go on unrecorded has so many seconds to end by itself.
_UNRECORDED_GRACE = 1.0
_STDERR = asyncssh.EXTENDED_DATA_STDERR


@dataclass(frozen=True, slots=True)
class House:
    """What every session on this node needs to know of it.

    Attributes:
        papers: what it goes by right now.
        node: the node as events name it.
        variables: what every session finds in its environment about the cluster.
        studio: where sessions are recorded; None where they are not.
    """

    papers: Papers
    node: Mapping[str, Json]
    variables: Mapping[str, str]
    children: Children
    report: Report
    clock: Callable[[], datetime]
    euid: int
    studio: Studio | None = None

    @property
    def target(self) -> AccessTarget:
        """What access rules look at in this node, as things stand."""
        return self.papers.target


class Party(asyncssh.SSHServerSession[bytes]):
    """One channel. It asks for a terminal perhaps, then for one program, and is that program's only party so far."""

    def __init__(self, peer: Peer, house: House, gone: Callable[[Party], None]) -> None:
        self._peer = peer
        self._house = house
        self._gone = gone
        self._sid = mint_session_id(house.target.node_id, os.urandom(RANDOM_BYTES))
        self._terminal: Terminal | None = None
        self._request: Request | None = None
        self._session: Session | None = None
        self._holders: set[str] = set()
        self._audit: SessionAudit | None = None
        self._admitted: Granted[Account] | Refused = Refused("this session was not prepared", "L4")
        self._recording: Recorder | Refused | None = None
        self._keys: KeyAgent | None = None
        self._is_gone = self._is_preparing = False
        self._dismissal = ""
        self._channel: asyncssh.SSHServerChannel[bytes]

    # --- what the peer asks for ---------------------------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Keep the channel."""
        self._channel = chan

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
            keys = self._keys = KeyAgent(self._channel.get_connection())  # type: ignore[arg-type]  # a server's channel, a server's connection
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
        try:
            found = self._admitted = await self._admit()
            if isinstance(found, Granted) and not self._is_gone:
                await self._begin_recording(found.value)
        finally:
            self._is_preparing = False

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
        request = self._request or Request("shell")
        found = self._admitted
        if isinstance(found, Refused):
            self._refuse_login(found)
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
        peer = self._peer
        self._house.report(
            events.AUTH_FAILED,
            {
                **self._house.node,
                "success": False,
                "error": refused.reason,
                "check": refused.check,
                "user": peer.identity.user,
                "login": peer.login,
                "addr.remote": peer.remote,
                "door": "node",
            },
        )
        self._say(f"Skerry: {refused.reason}")
        self._channel.exit(_EXIT_NOT_STARTED)

    def _start(self, account: Account, request: Request, recorder: Recorder | None) -> None:
        audit = self._audit = self._auditor(request)
        directory = account.home
        if not os.access(directory, os.X_OK):
            self._say(f"Skerry: could not change to the home directory {directory}; starting in /")
            directory = "/"
        if request.kind == "shell" and self._terminal and not account.is_quiet():
            self._show(_motd())
        taps = (audit, recorder, self) if recorder else (audit, self)
        session = Session(self._program(account, request, directory), self._house.children, taps=taps)
        for why in self._holders:
            session.hold((self, why))
        try:
            session.start()
        except (OSError, ValueError) as err:
            reason = getattr(err, "strerror", None) or str(err)
            audit.failed(f"{session.program.path}: {reason}")
            self._say(f"Skerry: cannot start {session.program.path}: {reason}")
            self._channel.exit(_EXIT_NOT_STARTED)
            if recorder:
                recorder.ended(Ended(_EXIT_NOT_STARTED))
            return
        except BaseException:
            session.hang_up(grace=0.0, spare=False)  # what runs must not go on with nobody to see it
            raise
        self._session = session

    def _program(self, account: Account, request: Request, directory: str) -> Program:
        path = account.shell
        argv: tuple[str, ...] = (f"-{Path(path).name}",)
        if request.kind == "exec":
            argv = (Path(path).name, "-c", request.text)
        elif request.kind == "subsystem":
            path = sftp_server() or account.shell
            argv = (Path(path).name,)
        return Program(account, path, argv, self._environment(account), directory, self._terminal)

    def _environment(self, account: Account) -> dict[str, str]:
        peer = self._peer
        (host, port), (here, own_port) = peer.address, peer.arrived
        said = {
            key.decode("ascii", "replace"): os.fsdecode(value)
            for key, value in self._channel.get_environment_bytes().items()
        }
        return (
            accounts.admitted(said)
            | account.environment()
            | dict(self._house.variables)
            | {
                "SSH_CLIENT": f"{host} {port} {own_port}",
                "SSH_CONNECTION": f"{host} {port} {here} {own_port}",
                "SSH_SESSION_ID": self._sid,
                "SSH_SKERRY_USER": peer.identity.user,
            }
            | ({"SSH_AUTH_SOCK": self._keys.path} if self._keys else {})
        )

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
        if isinstance(self._recording, Recorder):
            self._recording.output(data, stream)
        self.output(data, stream)

    # --- from the peer to the program -----------------------------------------------------------------------------

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - the library's signature
        """Hand on input."""
        if self._session and not self._session.feed(data):
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        """Hand on the end of input; the channel stays open for output."""
        if self._session:
            self._session.feed_end()
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Hand on a new size."""
        if self._session:
            self._session.resize((width, height, pixwidth, pixheight))

    def signal_received(self, signal: str) -> None:
        """Hand on a signal."""
        if self._session and signal in SENDABLE:
            self._session.send_signal(signal)

    def break_received(self, msec: int) -> bool:  # noqa: ARG002 - the library's signature
        """Refuse: a pseudo-terminal has no line to break."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Hang up."""
        if self._session and not self._session.is_over:
            if self._audit:
                self._audit.because("the connection was lost" if exc else "the client closed the channel")
            self._session.hang_up()
        elif self._session is None and isinstance(self._recording, Recorder):
            self._recording.ended(Ended(None))  # it did not come to a program
        self._is_gone = True
        self._take_back_keys()
        self._gone(self)

    # --- from the program to the peer -----------------------------------------------------------------------------

    def started(self, session: Session) -> None:
        """Take no notice: the peer is told by the library."""

    def output(self, data: bytes, stream: Stream) -> None:
        """Hand on output."""
        with suppress(OSError):
            self._channel.write(data, _STDERR if stream == "error" else None)

    def input(self, data: bytes) -> None:
        """Take no notice: it was the peer who sent it."""

    def resized(self, size: TerminalSize) -> None:
        """Take no notice: it was the peer who said so."""

    def input_ready(self) -> None:
        """Take input again."""
        self._channel.resume_reading()

    def ended(self, how: Ended) -> None:
        """Tell the peer how the program ended, and close the channel."""
        if how.signal is not None:
            self._channel.exit_with_signal(how.signal, how.core_dumped)
        else:
            self._channel.exit(255 if how.code is None else how.code)

    def pause_writing(self) -> None:
        """Hold the program back: this channel is full."""
        self.hold("channel")

    def resume_writing(self) -> None:
        """Let the program go on."""
        self.release("channel")

    def hold(self, why: str) -> None:
        """Hold the program back for the reason `why`, from its start if it has not begun."""
        self._holders.add(why)
        if self._session:
            self._session.hold((self, why))
        if self._keys:
            self._keys.hold(why)

    def release(self, why: str) -> None:
        """Take back a `hold`."""
        self._holders.discard(why)
        if self._session:
            self._session.release((self, why))
        if self._keys:
            self._keys.release(why)

    def dismiss(self, text: str, grace: float) -> None:
        """End the session, and say why."""
        if self._is_preparing:
            self._dismissal = text
            return
        self._say(f"\r\nSkerry: {text}" if self._terminal else f"Skerry: {text}")
        if self._session and self._audit:
            self._audit.because(text)
            self._session.hang_up(grace=grace, spare=False)
        else:
            self._channel.close()

    def _end_unrecorded(self, text: str) -> None:
        self.dismiss(text, _UNRECORDED_GRACE)


def sftp_server() -> str | None:
    """Return where OpenSSH's sftp-server is; None where it is not installed."""
    return next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), None)


def _motd() -> bytes:
    try:
        with _MOTD.open("rb") as file:
            return file.read(_MOTD_MAX).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    except OSError:
        return b""
