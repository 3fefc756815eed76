"""What `tsh ssh` and `tsh join` are to do, once all flags are weighed. Nothing here needs the SSH library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.joining import JoinMode
    from protocol.names import SessionId
    from tsh.forward import Forward


@dataclass(frozen=True, slots=True)
class Stop:
    """One node to visit.

    Attributes:
        host: its name or UUID: what the proxy is asked for, and what its host certificate must say.
        name: what to call it in messages.
    """

    host: str
    name: str


@dataclass(frozen=True, slots=True)
class Joining:
    """Somebody's session that is to be joined.

    Attributes:
        session: its id.
        mode: as what.
        variables: the environment by which the node is asked for it.
        help: what ``~?`` says besides, for a terminal that is raw.
        farewell: what is said to who has left with ``~.``.
        words: with which the node refuses, the same for everything.
        advice: what to say then.
    """

    session: SessionId
    mode: JoinMode
    variables: Mapping[str, str]
    help: bytes
    farewell: str
    words: bytes
    advice: str


@dataclass(frozen=True, slots=True)
class Journey:
    """Where to go and what to do there.

    Attributes:
        command: the remote command; None for a shell.
        pty: whether a terminal is asked for.
        port: what the proxy is told; 0 for a node's own SSH server.
        stdin: whether standard input is passed on.
        session: whether there is a session at all (-N: there is none).
        forwards: ports to forward while it lasts.
        key_agent: the socket of the ssh-agent that the session may use (-A); None for none.
        stops: one node; several run the command one after the other.
        login: the account on the nodes.
        direct: where the node's own door is, as the person said it; empty for the way through the proxy.
        joining: the session that is joined; None for one of one's own.
    """

    command: str | None
    pty: bool
    port: int = 0
    stdin: bool = True
    session: bool = True
    forwards: Sequence[Forward] = ()
    key_agent: str | None = None
    stops: Sequence[Stop] = ()
    login: str = ""
    direct: str = ""
    joining: Joining | None = None
