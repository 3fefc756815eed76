"""The controller's door to its service manager: datagrams in the words of `protocol.service_manager`."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress

from protocol.service_manager import parse_address, parse_pulse


class ServiceManager:
    """Whoever runs this process and wants to know how it is; perhaps nobody.

    Args:
        address: where messages go, as `socket.connect` takes it; None where nobody wants any.
        pulse: how many seconds may pass between two pulses; None where nobody counts them.
    """

    def __init__(self, address: str | bytes | None = None, pulse: float | None = None) -> None:
        self._address = address
        self.pulse = pulse if address is not None else None

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> ServiceManager:
        """Return the one that process `pid` was started by."""
        return cls(parse_address(environment), parse_pulse(environment, pid))

    def tell(self, message: bytes) -> None:
        """Send a message. One that does not get through is lost: what matters is said again."""
        if self._address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(message, self._address)
