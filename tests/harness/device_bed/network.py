"""The wires of a bed: one wide-area wire, hosts on it, and sites behind gateways that let nobody in.

Names carry this process's id; what a process left behind that was killed is taken away by the next bed.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.namespaces import ONLY_OUT, Namespace, run_or_fail

PREFIX = "skerry-bed"
_NUMBERS = itertools.count()
_OURS = re.compile(rf"{PREFIX}-(\d+)-")


@dataclass(frozen=True)
class Site:
    """A local network, 192.168.`number`.0/24, with a gateway to the wide one.

    Who is inside may dial out, and nobody may dial in.
    """

    number: int
    gateway: Namespace
    device: Namespace

    def plug_in(self, visitor: Namespace) -> None:
        """Give a visitor a cable into the local network: now the device can be dialled from there."""
        self._cable(f"site{self.number}", visitor, "plug")
        run_or_fail(
            *("ip", "-n", visitor.name, "address", "add", f"192.168.{self.number}.50/24", "dev", f"site{self.number}")
        )

    def pull_out(self, visitor: Namespace) -> None:
        """Take the cable away."""
        run_or_fail("ip", "-n", visitor.name, "link", "delete", f"site{self.number}")

    def silence(self) -> None:
        """Drop all that would pass, either way, and tell nobody."""
        self._nft("table inet silence { chain forward { type filter hook forward priority -20; policy drop; } }")

    def let_through(self) -> None:
        self._nft("delete table inet silence")

    def _cable(self, link: str, other: Namespace, port: str) -> None:
        """Lay a cable from the gateway's switch."""
        gateway, name = self.gateway.name, other.name
        run_or_fail("ip", "link", "add", port, "netns", gateway, "type", "veth", "peer", "name", link, "netns", name)
        run_or_fail("ip", "-n", gateway, "link", "set", port, "master", "lan")
        run_or_fail("ip", "-n", gateway, "link", "set", port, "up")
        run_or_fail("ip", "-n", name, "link", "set", link, "up")

    def lay_out(self) -> None:
        """Wire it up."""
        gateway, device, stem = self.gateway.name, self.device.name, f"192.168.{self.number}"
        run_or_fail("ip", "-n", gateway, "link", "add", "lan", "type", "bridge")
        run_or_fail("ip", "-n", gateway, "link", "set", "lan", "up")
        run_or_fail("ip", "-n", gateway, "address", "add", f"{stem}.1/24", "dev", "lan")
        self._cable("eth0", self.device, "port")
        run_or_fail("ip", "-n", device, "address", "add", f"{stem}.2/24", "dev", "eth0")
        run_or_fail("ip", "-n", device, "route", "add", "default", "via", f"{stem}.1")
        run_or_fail(*self.gateway.prefix, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        # What goes from one plug of the switch to another is none of the firewall's business.
        run_or_fail(*self.gateway.prefix, "sysctl", "-qew", "net.bridge.bridge-nf-call-iptables=0")
        self._nft(ONLY_OUT)

    def _nft(self, rules: str) -> None:
        run_or_fail(*self.gateway.prefix, "nft", "-f", "-", typed=rules)


class Network:
    """Made with its first wire; hosts and sites are added."""

    def __init__(self) -> None:
        self.stem = f"{PREFIX}-{os.getpid()}-{next(_NUMBERS)}"
        self._names: list[str] = []
        self._sites = itertools.count(1)
        self._wide = self._space("wan")
        run_or_fail("ip", "-n", self._wide, "link", "add", "wire", "type", "bridge")
        run_or_fail("ip", "-n", self._wide, "link", "set", "wire", "up")

    def host(self, name: str, address: str) -> Namespace:
        """Add a host with a public address."""
        space = self._space(name)
        self._plug(space, "eth0", address)
        return Namespace(space, address)

    def site(self, name: str) -> Site:
        """Add a gateway, and behind it the place of a device: 192.168.N.2, told from the others for people's sake."""
        number = next(self._sites)
        gateway, device = self._space(f"{name}-gw"), self._space(name)
        self._plug(gateway, "wan", f"203.0.113.{100 + number}")
        made = Site(number, Namespace(gateway, f"192.168.{number}.1"), Namespace(device, f"192.168.{number}.2"))
        made.lay_out()
        return made

    def close(self) -> None:
        for name in self._names:
            _delete(name)
        self._names.clear()

    def _space(self, name: str) -> str:
        full = f"{self.stem}-{name}"
        run_or_fail("ip", "netns", "add", full)
        self._names.append(full)
        run_or_fail("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def _plug(self, space: str, link: str, address: str) -> None:
        end = f"v{len(self._names)}"
        run_or_fail("ip", "link", "add", end, "netns", self._wide, "type", "veth", "peer", "name", link, "netns", space)
        run_or_fail("ip", "-n", self._wide, "link", "set", end, "master", "wire")
        run_or_fail("ip", "-n", self._wide, "link", "set", end, "up")
        run_or_fail("ip", "-n", space, "address", "add", f"{address}/24", "dev", link)
        run_or_fail("ip", "-n", space, "link", "set", link, "up")


@contextmanager
def network() -> Iterator[Network]:
    """Make one, and take it away again."""
    made = Network()
    try:
        yield made
    finally:
        made.close()


def is_left(name: str) -> bool:
    """Tell whether what has this name was made by a process that is gone."""
    found = _OURS.match(name)
    return found is not None and not Path(f"/proc/{found[1]}").exists()


def leftovers() -> list[str]:
    """Return the network namespaces whose makers are gone."""
    return [path.name for path in Path("/run/netns").glob(f"{PREFIX}-*") if is_left(path.name)]


def sweep() -> None:
    """Take away the namespaces that test runs left behind that were killed."""
    for name in leftovers():
        _delete(name)


def _delete(name: str) -> None:
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20, check=False)
