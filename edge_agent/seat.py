"""One who takes part in a session: who it is, how, and their channel."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from edge_agent.child import Ended, TerminalSize
from edge_agent.outlet import Outlet
from edge_agent.session import Stream
from edge_agent.session_audit import Peer
from protocol.joining import JoinMode

if TYPE_CHECKING:
    import asyncssh


@dataclass(eq=False, slots=True)
class Seat:
    """One party's.

    Attributes:
        mode: what they may do.
        since: when they came, by the controller's time.
        size: of their terminal; None where they have none.
        has_news: whether their client wants `protocol.joining.SessionNews`.
    """

    peer: Peer
    mode: JoinMode
    since: datetime
    size: TerminalSize | None
    channel: asyncssh.SSHServerChannel[bytes]
    outlet: Outlet
    has_terminal: bool = False
    has_news: bool = False

    @property
    def user(self) -> str:
        """The person's name."""
        return self.peer.identity.user

    def take_input(self) -> None:
        """Take input again."""
        self.channel.resume_reading()

    def end(self, how: Ended) -> None:
        """Tell how the program ended, and close the channel."""
        self.outlet.finish()
        with suppress(OSError):
            if how.signal is not None:
                self.channel.exit_with_signal(how.signal, how.core_dumped)
            else:
                self.channel.exit(255 if how.code is None else how.code)

    def close(self, status: int, farewell: bytes = b"", text: str = "") -> None:
        """Close the channel alone: the program goes on. The last to be shown is what frees the terminal, and `text`."""
        self.outlet.finish([(farewell, "output"), self._line(text)])
        with suppress(OSError):
            self.channel.exit(status)

    def _line(self, text: str) -> tuple[bytes, Stream]:
        """Return a line for this one, as plainly as the channel allows; nothing for nothing."""
        if not text:
            return b"", "output"
        if self.has_terminal:
            return f"{text}\r\n".encode(errors="replace"), "output"
        return f"{text}\n".encode(errors="replace"), "error"
