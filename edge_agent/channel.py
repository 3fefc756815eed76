"""The SSH library's channel, as this node needs it."""

from __future__ import annotations

import os
from typing import Any

import asyncssh
from asyncssh.packet import SSHPacket

from edge_agent import accounts
from edge_agent.party import Party
from protocol import joining

# Input that waits for the program, on top of what the session holds: one channel's share of memory.
WINDOW = 1024 * 1024
PACKET_MAX = 32 * 1024
_VARIABLES_MAX = 64


class NodeChannel(asyncssh.SSHServerChannel[bytes]):
    """asyncssh's server channel, with five manners mended.

    It lets no session be prepared before it starts, gathers any number of variables, will not have a command line that
    is not UTF-8 (file names are bytes), leaves the socket for the person's ssh-agent where the login cannot reach it,
    and complains about a channel that the peer closed while the program was behind with its input.
    """

    def _process_env_request(self, packet: SSHPacket) -> bool:
        key, value = packet.get_string(), packet.get_string()
        packet.check_end()
        name, text = key.decode("ascii", "replace"), value.decode("utf-8", "surrogateescape")
        is_one_too_many = len(self._env) >= _VARIABLES_MAX and name not in joining.VARIABLES
        if is_one_too_many or not accounts.admits_variable(name, text):
            return False
        self._env[key] = value
        return True

    def _process_auth_agent_req_at_openssh_dot_com_request(self, packet: SSHPacket) -> None:
        packet.check_end()
        self._conn.create_task(self._lend_agent(), self.logger)

    async def _lend_agent(self) -> None:
        session = self._session
        self._report_response(isinstance(session, Party) and await session.agent_requested())

    def _process_exec_request(self, packet: SSHPacket) -> Any:  # noqa: ANN401 - as `_start_session`
        command = packet.get_string()
        packet.check_end()
        return self._start_session(command=os.fsdecode(command))

    def _start_session(self, command: str | None = None, subsystem: str | None = None) -> Any:  # noqa: ANN401 - see below
        # As from any handler of a request, None says that the answer follows.
        if not super()._start_session(command, subsystem):
            return False
        if isinstance(self._session, Party):
            self._conn.create_task(self._prepare(self._session), self.logger)
        return None

    async def _prepare(self, party: Party) -> None:
        """See to the login and the recording; meanwhile what the peer sends and asks for waits."""
        await party.prepare()
        if self._session is not None:
            self._report_response(True)

    def _process_close(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        super()._process_close(pkttype, pktid, packet)
        if self._recv_buf:
            self._discard_recv()


def make_channel(connection: Any) -> NodeChannel:  # noqa: ANN401 - the library's own connection, looked into
    """Return a channel for raw bytes on `connection`."""
    connection._update_recv_pktlen(PACKET_MAX)  # noqa: SLF001 - as its own create_server_channel does
    loop = connection._loop  # noqa: SLF001 - the same
    return NodeChannel(connection, loop, True, False, False, 0, 0, None, "strict", WINDOW, PACKET_MAX)
