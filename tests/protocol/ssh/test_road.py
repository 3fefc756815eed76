from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from protocol.ssh.road import keep_road_open


@dataclass
class Connection:
    """As much of the library's connection as tells its socket."""

    plain: socket.socket | None

    def get_extra_info(self, name: str) -> socket.socket | None:
        assert name == "socket"
        return self.plain


def test_kernel_asks_after_so_long_and_gives_up_what_is_not_acknowledged() -> None:
    with socket.socket() as plain:
        keep_road_open(cast("Any", Connection(plain)), idle=timedelta(seconds=180))
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 180
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000


def test_connection_that_is_no_tcp_is_left_as_it_is() -> None:
    keep_road_open(cast("Any", Connection(None)), idle=timedelta(seconds=180))
    one, other = socket.socketpair()
    with one, other:
        keep_road_open(cast("Any", Connection(one)), idle=timedelta(seconds=180))
