"""The node's own SSH server. It runs on channels of the tunnel and has no socket of its own.

One connection passes one gate: a user certificate, judged by `protocol.certificates`, then access to this node
as this login, judged by `protocol.access`. Everything else that SSH can authenticate with is off.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncssh

from edge_agent.accounts import admit
from edge_agent.channel import make_channel
from edge_agent.control import Control, judge_locks
from edge_agent.forwarding import Forwarding, forward
from edge_agent.house import House
from edge_agent.party import Party
from edge_agent.policy.joining import judge_again
from edge_agent.session_audit import Peer
from protocol import events, limits, names
from protocol.access import decide_access
from protocol.addresses import join_address
from protocol.certificates import PERMIT_PORT_FORWARDING, SshCertificate, UserIdentity, judge_user_certificate
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.ssh.algorithms import offered
from protocol.ssh.gate import Gate
from protocol.ssh.packets import hasten
from protocol.version import __version__

_log = logging.getLogger("skerry.agent")
_DIAL = limits.DIAL_TIMEOUT.total_seconds()
_END_GRACE = 5.0
# Somebody who is locked out is out within a second: programs have half of one, and the connection what is left.
_LOCK_GRACE = 0.4
# Where the tunnel door sends what is for this node's SSH server: a name and a port that exist nowhere else.
NODE_HOST, NODE_PORT = "node", 3022


class NodeConnection(asyncssh.SSHServerConnection):
    """asyncssh's server connection, which heeds the transport when it asks to be spared."""

    held: Callable[[bool], None] | None = None
    origin = ("0.0.0.0", 0)  # noqa: S104 - where the peer is, not where we listen; set when it is accepted
    here = ("127.0.0.1", NODE_PORT)
    # Whether it came to the node's own door, and not through the tunnel; and when, by the loop's clock.
    is_direct = False
    since = 0.0

    def pause_writing(self) -> None:
        """Hold back every session on this connection: the link is full."""
        if self.held:
            self.held(True)

    def resume_writing(self) -> None:
        """Let them go on."""
        if self.held:
            self.held(False)


class NodeServer:
    """Makes the server's end of connections and knows those that are open."""

    def __init__(
        self,
        house: House,
        *,
        control: Control | None = None,
        login_grace: float = limits.SSH_LOGIN_GRACE.total_seconds(),
    ) -> None:
        """Make a server for `house`; `control` knows who is locked out. Both tell it of changes."""
        self.house = house
        self._control = control
        self._login_grace = login_grace
        self._certificate = ""
        self._options: asyncssh.SSHServerConnectionOptions
        self._doors: set[Door] = set()
        self._less = asyncio.Event()
        self._show_certificate()
        house.papers.on_change(self._show_certificate)
        if control:
            control.on_change(self.lock_out)

    def _show_certificate(self) -> None:
        """Have new connections see the host certificate of today."""
        identity = self.house.papers.identity
        if identity.granted.host_certificate == self._certificate:
            return
        key = asyncssh.import_private_key(identity.host_private.reveal())
        certificate = asyncssh.import_certificate(identity.granted.host_certificate)
        self._certificate = identity.granted.host_certificate
        self._options = asyncssh.SSHServerConnectionOptions(
            server_factory=self._make_door,
            server_host_keys=[(key, certificate)],
            server_version=f"Skerry_{__version__}",
            host_based_auth=False,
            kbdint_auth=False,
            password_auth=False,
            public_key_auth=True,
            gss_host=None,
            x11_forwarding=False,
            agent_forwarding=False,
            allow_scp=False,
            line_editor=False,
            **offered(),
            encoding=None,
            login_timeout=self._login_grace,
            keepalive_interval=limits.KEEPALIVE_INTERVAL.total_seconds(),
            keepalive_count_max=limits.KEEPALIVE_MISSES,
        )

    @property
    def sessions(self) -> int:
        """How many channels are open."""
        return sum(len(door.parties) for door in self._doors)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._doors)

    def accept(self, origin: tuple[str, int], here: str = "127.0.0.1") -> NodeConnection | None:
        """Return the server's end of one new connection; None where too many have not said who they are.

        Args:
            origin: the person's address and port as the proxy saw them.
            here: the device's own address on the way to the controller, for ``SSH_CONNECTION``.
        """
        if len(self.waiting(direct=False)) >= limits.UNAUTHENTICATED_CONNECTIONS:
            return None
        return self._make_connection(origin, (here, NODE_PORT))

    def accept_direct(self, origin: tuple[str, int], here: tuple[str, int]) -> NodeConnection:
        """Return the server's end of one new connection to the node's own door, which has seen to who may wait.

        Args:
            origin: the person's address and port.
            here: those that the person came to.
        """
        connection = self._make_connection(origin, here)
        connection.is_direct = True
        return connection

    def _make_connection(self, origin: tuple[str, int], here: tuple[str, int]) -> NodeConnection:
        loop = asyncio.get_running_loop()
        connection = NodeConnection(loop, self._options)
        connection.origin, connection.here = (_plain_address(origin[0]), origin[1]), here
        connection.since = loop.time()
        return connection

    def waiting(self, *, direct: bool) -> list[NodeConnection]:
        """Return the connections whose peer has not proved who it is: those to the node's own door, or the others."""
        doors = [door for door in self._doors if not door.is_known and door.connection.is_direct == direct]
        return [door.connection for door in doors]

    def judge(self, certificate: SshCertificate, login: str) -> Granted[UserIdentity] | Refused:
        """Judge who asks to be let in as `login`, but for locks."""
        authorities = self.house.papers.user_authorities
        answer = judge_user_certificate(certificate, authorities=authorities, now=self.house.clock(), login=login)
        if isinstance(answer, Refused):
            return answer
        access = decide_access(answer.value, self.house.target, login)
        return access if isinstance(access, Refused) else answer

    def judge_lock(self, person: UserIdentity, login: str) -> Refused | None:
        """Return why this person is locked out of this login here (X1 to X5); None where they are not."""
        return judge_locks(self._control, person.user, login, person.issued) if self._control else None

    def lock_out(self) -> None:
        """End everything of those who are locked out by now, and tell them why."""
        for door in list(self._doors):
            door.lock_out()

    async def drain(self, text: str, timeout: float) -> None:  # noqa: ASYNC109 - how long the sessions have
        """Tell every session that it ends, and why.

        Returns when all have ended and their recordings are sealed, or after `timeout` seconds.
        """
        for door in list(self._doors):
            door.dismiss(text)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.sessions:
                    self._less.clear()
                    await self._less.wait()
                if self.house.studio:
                    await self.house.studio.wait_until_sealed()

    def joined(self, door: Door) -> None:
        """Note a connection."""
        self._doors.add(door)

    def left(self, door: Door) -> None:
        """Note the end of a connection."""
        self._doors.discard(door)
        self._less.set()

    def session_left(self) -> None:
        """Note the end of a session."""
        self._less.set()

    def _make_door(self) -> Door:
        return Door(self)


def _plain_address(host: str) -> str:
    """Return an address fit for a variable and a log; the proxy says it, but it is the peer's."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return "0.0.0.0"  # noqa: S104 - an address nobody has


class Door(asyncssh.SSHServer):
    """One connection: its gate, and the sessions and forwardings behind it."""

    def __init__(self, server: NodeServer) -> None:
        self._server = server
        self._house = server.house
        self._gate: Gate[UserIdentity] = Gate(self._judge, self._bar)
        self._refused: Refused | None = None
        self._connection: NodeConnection
        self._login = ""
        self._full = self._locked_out = False
        self._forwardings: weakref.WeakSet[Forwarding] = weakref.WeakSet()
        self.parties: set[Party] = set()

    @property
    def connection(self) -> NodeConnection:
        """The connection itself."""
        return self._connection

    @property
    def is_known(self) -> bool:
        """Whether the peer has proved who it is."""
        return self._gate.identity is not None

    # --- the gate -------------------------------------------------------------------------------------------------

    def connection_made(self, conn: NodeConnection) -> None:  # type: ignore[override]  # `accept` makes no other
        """Put the gate in place."""
        self._connection = conn
        self._server.joined(self)
        self._gate.guard(conn)
        hasten(conn)
        conn.held = self._hold

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a peer that was not let in."""
        self._server.left(self)
        if not self.is_known:
            refused = self._refused or self._gate.refused
            if refused:
                self._report_refusal(refused)
            elif exc:
                _log.warning("connection from %s ended before it said who it is: %s", self._remote, exc)

    def begin_auth(self, username: str) -> bool:
        """Note the login; nobody comes in without the gate."""
        self._login = username
        return True

    def public_key_auth_supported(self) -> bool:
        """Say yes: the gate judges."""
        return True

    def _judge(self, certificate: SshCertificate, login: str) -> Granted[UserIdentity] | Refused:
        answer = self._server.judge(certificate, login)
        if isinstance(answer, Refused):
            self._refused = answer  # of several offers the last certificate tells most; plain keys tell nothing
        return answer

    def _bar(self, identity: UserIdentity, login: str) -> Refused | None:
        """Keep out who is locked out. They have proved who they are: they may know that, and why."""
        refused = self._server.judge_lock(identity, login)
        if refused:
            self._refused = refused
            self._connection.send_auth_banner(f"Skerry: {refused.reason}\r\n")
        return refused

    @property
    def _remote(self) -> str:
        return join_address(*self._connection.origin)

    def _report_refusal(self, refused: Refused) -> None:
        _log.warning("refused login %r from %s: %s (%s)", self._login, self._remote, refused.reason, refused.check)
        fields: dict[str, Json] = {
            "success": False,
            "error": refused.reason,
            "check": refused.check,
            "login": self._login,
            "addr.remote": self._remote,
            "door": "node",
        }
        self._house.report(events.AUTH_FAILED, fields | dict(self._house.node))

    # --- sessions -------------------------------------------------------------------------------------------------

    def session_requested(self) -> Any:  # noqa: ANN401 - the library takes half a dozen things here
        """Make one more session, within bounds."""
        peer = self._peer()
        if peer is None or self._locked_out or self._is_crowded():
            return False
        party = Party(peer, self._house, self._left)
        if self._full:
            party.hold("link")
        self.parties.add(party)
        return make_channel(self._connection), party

    def _left(self, party: Party) -> None:
        self.parties.discard(party)
        self._server.session_left()

    def dismiss(self, text: str, grace: float = _END_GRACE) -> None:
        """End the sessions, and say why. Their programs have `grace` seconds to end by themselves."""
        for party in list(self.parties):
            party.dismiss(text, grace)

    def lock_out(self) -> None:
        """End the connection, and say why, where the person is locked out by now."""
        identity = self._gate.identity
        if identity is None or self._locked_out:
            return
        refused = self._server.judge_lock(identity, self._login)
        if refused is None:
            return
        self._locked_out = True
        _log.warning("ending what %s does as %s: %s (%s)", identity.user, self._login, refused.reason, refused.check)
        self.dismiss(refused.reason, _LOCK_GRACE)
        asyncio.get_running_loop().call_later(2 * _LOCK_GRACE, self._hang_up, refused.reason)

    def _hang_up(self, reason: str) -> None:
        if not self._connection.is_closed():
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, reason)

    def _peer(self) -> Peer | None:
        identity = self._gate.identity
        if identity is None:
            return None
        connection = self._connection
        return Peer(identity, names.parse_login(self._login), connection.origin, connection.here)

    def _is_crowded(self) -> bool:
        return len(self._connection._channels) > limits.CHANNELS_PER_CONNECTION  # noqa: SLF001 - it keeps the count

    def _hold(self, full: bool) -> None:
        self._full = full
        held: list[Party | Forwarding] = [*self.parties, *self._forwardings]
        for one in held:
            (one.hold if full else one.release)("link")

    # --- forwardings ----------------------------------------------------------------------------------------------

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:  # noqa: ANN401, ARG002 - the library's signature
        """Forward a TCP connection (`ssh -L`), where the certificate allows it."""
        peer = self._peer()
        target = f"{dest_host[: limits.FORWARD_TARGET_MAX_CHARS]}:{dest_port}"
        if peer is None or self._locked_out:
            return False
        barred = judge_again(peer.identity, self._house.target, peer.login, self._house.clock())
        if barred:
            self._report_forwarding(peer, target, barred.reason)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, barred.reason)
        if PERMIT_PORT_FORWARDING not in peer.identity.permissions:
            self._report_forwarding(peer, target, "the certificate does not permit port forwarding")
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "port forwarding is not permitted"
            )
        if self._is_crowded():
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, "too many channels")
        return self._forward(peer, dest_host, dest_port, target)

    async def _forward(self, peer: Peer, host: str, port: int, target: str) -> object:
        try:
            async with asyncio.timeout(_DIAL):
                found = await asyncio.to_thread(admit, peer.login, euid=self._house.euid)
                if isinstance(found, Refused):
                    self._report_forwarding(peer, target, found.reason)
                    raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, found.reason)
                outside, session = await forward(host, port)
        except (OSError, ValueError, RuntimeError) as err:  # the last where there is no thread to be had
            problem = getattr(err, "strerror", None) or str(err) or "no answer"
            self._report_forwarding(peer, target, problem)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, problem) from None
        self._forwardings.add(outside)
        if self._full:
            outside.hold("link")
        self._report_forwarding(peer, target, "")
        return session

    def _report_forwarding(self, peer: Peer, target: str, error: str) -> None:
        fields: dict[str, Json] = {
            "user": peer.identity.user,
            "login": peer.login,
            "addr": target,
            "addr.remote": peer.remote,
            "success": not error,
        }
        if error:
            self._house.report(events.PORT_FORWARD_FAILED, fields | {"error": error} | dict(self._house.node))
        else:
            self._house.report(events.PORT_FORWARD, fields | dict(self._house.node))
