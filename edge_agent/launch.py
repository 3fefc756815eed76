"""What a person's request is run as: which program, with which environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edge_agent import accounts
from edge_agent.accounts import Account
from edge_agent.child import Program, Terminal
from edge_agent.house import House
from edge_agent.session_audit import Peer, Request
from protocol.names import SessionId

SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/sftp-server",
)
_MOTD = Path("/etc/motd")
_MOTD_MAX = 64 * 1024


def sftp_server() -> str | None:
    """Return where OpenSSH's sftp-server is; None where it is not installed."""
    return next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), None)


def read_motd() -> bytes:
    """Return the message of the day, for a terminal."""
    try:
        with _MOTD.open("rb") as file:
            return file.read(_MOTD_MAX).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    except OSError:
        return b""


def program_for(
    account: Account, request: Request, environment: Mapping[str, str], directory: str, terminal: Terminal | None
) -> Program:
    """Return what is to be run."""
    path = account.shell
    argv: tuple[str, ...] = (f"-{Path(path).name}",)
    if request.kind == "exec":
        argv = (Path(path).name, "-c", request.text)
    elif request.kind == "subsystem":
        path = sftp_server() or account.shell
        argv = (Path(path).name,)
    return Program(account, path, argv, environment, directory, terminal)


def environment_for(
    account: Account, house: House, peer: Peer, session: SessionId, said: Mapping[bytes, bytes]
) -> dict[str, str]:
    """Return the whole environment; `said` is what the client would have in it."""
    (host, port), (here, own_port) = peer.address, peer.arrived
    variables = {key.decode("ascii", "replace"): os.fsdecode(value) for key, value in said.items()}
    return (
        accounts.admitted(variables)
        | account.environment()
        | dict(house.variables)
        | {
            "SSH_CLIENT": f"{host} {port} {own_port}",
            "SSH_CONNECTION": f"{host} {port} {here} {own_port}",
            "SSH_SESSION_ID": session,
            "SSH_SKERRY_USER": peer.identity.user,
        }
    )
