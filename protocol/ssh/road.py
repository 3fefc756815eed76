"""What the kernel sees to on an SSH connection that lies idle for months: it costs less than asking over SSH."""

from __future__ import annotations

import socket
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from protocol import limits

if TYPE_CHECKING:
    import asyncssh

_SILENCE = limits.KEEPALIVE_INTERVAL * (limits.KEEPALIVE_MISSES + 1)
_PROBE = 10


def keep_road_open(connection: asyncssh.SSHClientConnection | asyncssh.SSHServerConnection, *, idle: timedelta) -> None:
    """Have the kernel ask the other end after `idle` without a word, and give the connection up where nobody answers.

    It is given up as well where what was sent is not acknowledged for as long as three keepalives would take. The
    system that lacks an option does without.
    """
    plain = connection.get_extra_info("socket")
    options = {
        "TCP_KEEPIDLE": int(idle.total_seconds()),
        "TCP_KEEPINTVL": _PROBE,
        "TCP_KEEPCNT": limits.KEEPALIVE_MISSES + 1,
        "TCP_USER_TIMEOUT": int(_SILENCE.total_seconds() * 1000),
    }
    for name, value in options.items():
        with suppress(OSError, AttributeError):  # a channel, or another system
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
