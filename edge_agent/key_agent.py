"""The person's own ssh-agent, lent to a session (`ssh -A`): a socket here, whose connections lead back to the person.

The request and the channel type are OpenSSH's, ``auth-agent@openssh.com`` (its file PROTOCOL, and
draft-ietf-sshm-ssh-agent). The socket lies in a directory of its own, and both are for the login alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

import asyncssh

from edge_agent.forwarding import Forwarding
from edge_agent.threshold import SHARED
from protocol import limits

_NAME = "agent"
_ANSWER = limits.CHANNEL_OPEN_TIMEOUT.total_seconds()
_WINDOW = 64 * 1024
_PACKET_MAX = 32 * 1024


class KeyAgent:
    """A socket that leads to the person's ssh-agent.

    Attributes:
        path: where it is, for ``SSH_AUTH_SOCK``.
    """

    def __init__(self, connection: asyncssh.SSHServerConnection, place: Path = SHARED) -> None:
        """Make the directory, in `place`, which every login can reach; its path must be short. Raises `OSError`."""
        self._connection = connection
        self._loans: weakref.WeakSet[Loan] = weakref.WeakSet()
        self._holders: set[str] = set()
        self._server: asyncio.Server | None = None
        self._is_closed = False
        self._directory = Path(tempfile.mkdtemp(prefix="skerry-", dir=place))
        self._handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.path = str(self._directory / _NAME)

    async def listen(self, *, uid: int, gid: int) -> None:
        """Make the socket, for user `uid` alone, unless this is closed meanwhile. Raises `OSError`."""
        listener = self._make_socket(uid, gid)
        server = await asyncio.get_running_loop().create_server(self._lend, sock=listener)
        if self._is_closed:
            server.close()
        self._server = server

    def _make_socket(self, uid: int, gid: int) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(self.path)
            Path(self.path).chmod(0o600)
            if os.geteuid() == 0:
                os.chown(_NAME, uid, gid, dir_fd=self._handle, follow_symlinks=False)
                os.fchown(self._handle, uid, gid)  # last: from now on the login may do in there as it likes
        except OSError:
            listener.close()
            raise
        return listener

    def hold(self, why: str) -> None:
        """Read no more of what programs ask, for the reason `why`."""
        self._holders.add(why)
        for loan in self._loans:
            loan.hold(why)

    def release(self, why: str) -> None:
        """Take back a `hold`."""
        self._holders.discard(why)
        for loan in self._loans:
            loan.release(why)

    def close(self) -> None:
        """Take the socket away, and end what is connected to it.

        By the directory's handle: the login may have put a link in its place.
        """
        self._is_closed = True
        if self._server:
            self._server.close()
        for loan in list(self._loans):
            loan.close()
        with suppress(OSError):
            os.unlink(_NAME, dir_fd=self._handle)
        os.close(self._handle)
        with suppress(OSError):
            self._directory.rmdir()

    def _lend(self) -> Loan:
        loan = Loan(self._connection)
        self._loans.add(loan)
        for why in self._holders:
            loan.hold(why)
        return loan


class Loan(Forwarding):
    """One program's connection to the socket; it is read when the person's side has answered."""

    def __init__(self, connection: asyncssh.SSHServerConnection) -> None:
        super().__init__()
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the person's side for its agent."""
        super().connection_made(transport)
        if len(self._connection._channels) > limits.CHANNELS_PER_CONNECTION:  # noqa: SLF001 - it keeps the count
            self.close()
            return
        self._holders.add("answer")
        # Not at once: Python 3.11.2, which is Debian 12's, overlooks that a transport is to wait before it has begun to
        # read. This comes after it has begun, and before it has read.
        asyncio.get_running_loop().call_soon(self._wait)
        self._connection.create_task(self._reach())

    def _wait(self) -> None:
        if self._holders and self._transport:
            self._transport.pause_reading()

    async def _reach(self) -> None:
        giving_up = asyncio.get_running_loop().call_later(_ANSWER, self.close)
        session = Forwarding()
        try:
            channel = self._connection.create_agent_channel(_WINDOW, _PACKET_MAX)
            await channel.open(lambda: session)  # type: ignore[arg-type,return-value]  # a session in all but name
        except (OSError, asyncssh.Error):
            self.close()
            return
        finally:
            giving_up.cancel()
        if self._transport is None:  # given up meanwhile
            session.close()
            return
        self._peer = session
        session.set_peer(self)
        self.release("answer")
