"""How often the proxy asks each node over SSH whether its tunnel is there.

Heartbeats over MQTT tell that a node's link lives: of a node that is online by them its tunnel is hardly ever asked,
as the node asks by itself. One whose heart has stopped is asked at once, so that no ghost of a tunnel stays. Where
heartbeats tell nothing, because there is no broker or it is away, tunnels are asked as they ever were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controller.presence.mirror import View
from controller.proxy.tunnels import TunnelLink, Tunnels
from protocol import limits

# The node asks in half this time, which counts as a word of its own.
_IDLE = 2 * limits.TUNNEL_KEEPALIVE_IDLE.total_seconds()
_USUAL = limits.KEEPALIVE_INTERVAL.total_seconds()
_PROBE = limits.TUNNEL_PROBE.total_seconds()


class Pace:
    """Sets the pace of every tunnel. To be used in the event loop."""

    def __init__(self, tunnels: Tunnels, view: Callable[[], View], *, probe: float = _PROBE) -> None:
        """Make it for `tunnels`.

        Args:
            tunnels: all there are.
            view: returns what is known of nodes by MQTT, at once.
            probe: seconds between two questions where a tunnel may be dead.
        """
        self._probing = probe
        self._tunnels = tunnels
        self._view = view
        self._relaxed: set[TunnelLink] = set()

    def adjust(self) -> None:
        """Look who is online by MQTT, and ask the tunnels of the others more often."""
        view, links = self._view(), set(self._tunnels.all())
        online = {link for link in links if view.of(link.node_id).presence == "online"}
        for link in online - self._relaxed:
            link.connection.set_keepalive(_IDLE)
        for link in (self._relaxed & links) - online:
            if view.of(link.node_id).presence == "offline":
                self._probe(link)
            else:
                link.connection.set_keepalive(_USUAL)
        self._relaxed = online

    def _probe(self, link: TunnelLink) -> None:
        link.connection.set_keepalive(self._probing)
        # By then it has answered, or is gone.
        asyncio.get_running_loop().call_later(self._probing * (limits.KEEPALIVE_MISSES + 1), self._calm_down, link)

    def _calm_down(self, link: TunnelLink) -> None:
        if link not in self._relaxed and self._tunnels.get(link.node_id) is link:
            link.connection.set_keepalive(_USUAL)
