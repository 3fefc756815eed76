"""A small internet of network namespaces: a controller, and a device behind a gateway that lets nobody in.

Names are this process's own, so that test runs side by side do not meet; what was made is taken away however
the test ends. Needs root, `ip` and `nft`.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_SLOW_WIRE = Path(__file__).with_name("slow_wire.py")
_NUMBERS = itertools.count()
_CLONE_NEWNET = 0x40000000
_DIAL = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5).close()"
# What a cheap router does: whoever is inside may dial out, and what comes back to that is let through.
ONLY_OUT = """
table inet firewall {
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan" oifname "wan" accept
  }
  chain input { type filter hook input priority 0; policy drop;
    iifname "lo" accept
    iifname "lan" accept
    ct state established,related accept
  }
}
table ip nat {
  chain postrouting { type nat hook postrouting priority 100;
    oifname "wan" masquerade
  }
}
"""
# What the device sends to one port, counted where it passes.
_METER = """
table inet counting {
  chain forward { type filter hook forward priority -10; policy accept;
    iifname "lan" tcp dport %d counter
  }
}
"""
# Everything that would pass is dropped, and nobody is told: the links stay up.
_SILENCE = """
table inet silence {
  chain forward { type filter hook forward priority -20; policy drop; }
}
"""
# A cheap modem keeps what does not fit for many seconds, and so delays all that comes after it.
_MODEM_BUFFER = 64 * 1024


def run_or_fail(*command: str, typed: str | None = None) -> None:
    """Run what makes or changes the network."""
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()} (root is needed, and ip and nft)"


@dataclass(frozen=True)
class Namespace:
    """One network namespace and its address."""

    name: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands in front of a command that is to run in here."""
        return ("ip", "netns", "exec", self.name)

    def can_reach(self, address: str, port: int) -> bool:
        """Tell whether a TCP connection from in here comes about."""
        command = [*self.prefix, sys.executable, "-c", _DIAL, address, str(port)]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread of this process that is in here: the sockets it makes are, too."""
        answers: list[T] = []
        faults: list[BaseException] = []

        def inside() -> None:
            try:
                handle = os.open(Path("/run/netns") / self.name, os.O_RDONLY)
                try:
                    if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(handle)
                answers.append(function())
            except BaseException as err:  # noqa: BLE001 - raised again in the caller's thread
                faults.append(err)

        thread = threading.Thread(target=inside, name=self.name)
        thread.start()
        thread.join()
        if faults:
            raise faults[0]
        return answers[0]


@dataclass(frozen=True)
class Internet:
    """Controller and gateway share a wire; the device is behind the gateway."""

    controller: Namespace
    gateway: Namespace
    device: Namespace
    wire: subprocess.Popen[str] | None = None  # between gateway and device, where it is a slow one

    def delay(self, milliseconds: int, *, loss: int) -> None:
        """Have the slow wire take so long for each frame, each way, and lose `loss` of a thousand."""
        assert self.wire
        assert self.wire.stdin
        self.wire.stdin.write(f"{milliseconds} {loss}\n")
        self.wire.stdin.flush()

    def cut(self) -> None:
        """Take down the gateway's link to the device: packets vanish, and neither end is told."""
        run_or_fail("ip", "-n", self.gateway.name, "link", "set", "lan", "down")

    def mend(self) -> None:
        """Put it up again."""
        run_or_fail("ip", "-n", self.gateway.name, "link", "set", "lan", "up")

    def silence(self) -> None:
        """Have the gateway drop all that would pass, either way, and say nothing."""
        run_or_fail(*self.gateway.prefix, "nft", "-f", "-", typed=_SILENCE)

    def let_through(self) -> None:
        """Have it let through again what it did before."""
        run_or_fail(*self.gateway.prefix, "nft", "delete", "table", "inet", "silence")

    def forget_connections(self) -> None:
        """Have the device lose its connections to the controller, as with a radio that is reset."""
        run_or_fail(*self.device.prefix, "ss", "-K", "-t", "dst", self.controller.address)

    def narrow(self, kbits: int) -> None:
        """Let no more than so many kbit/s through the gateway in each direction, with a modem's deep buffer."""
        for link in ("wan", "lan"):
            shape = ["tbf", "rate", f"{kbits}kbit", "burst", "1600", "limit", str(_MODEM_BUFFER)]
            run_or_fail("tc", "-n", self.gateway.name, "qdisc", "replace", "dev", link, "root", *shape)

    def meter(self, port: int) -> Callable[[], int]:
        """Count what the device sends to `port`; return what tells the bytes since, headers of TCP and IP included."""
        run_or_fail(*self.gateway.prefix, "nft", "-f", "-", typed=_METER % port)
        command = [*self.gateway.prefix, "nft", "-j", "list", "table", "inet", "counting"]

        def read() -> int:
            told = json.loads(subprocess.run(command, capture_output=True, timeout=20, check=True).stdout)
            rules = [part["rule"]["expr"] for part in told["nftables"] if "rule" in part]
            return sum(int(term["counter"]["bytes"]) for rule in rules for term in rule if "counter" in term)

        return read


@contextmanager
def internet(*, slow: bool = False) -> Iterator[Internet]:
    """Make the three, wire them up, and take them away again. Where `slow`, the device's wire can be slowed down."""
    stem = f"skerry-{os.getpid()}-{next(_NUMBERS)}"
    net = Internet(
        Namespace(f"{stem}-controller", "203.0.113.1"),
        Namespace(f"{stem}-gateway", "203.0.113.2"),
        Namespace(f"{stem}-device", "192.168.7.2"),
    )
    made: list[str] = []
    try:
        for space in (net.controller, net.gateway, net.device):
            run_or_fail("ip", "netns", "add", space.name)
            made.append(space.name)
            run_or_fail("ip", "-n", space.name, "link", "set", "lo", "up")
        with _last_wire(net, slow=slow) as wire:
            _wire(net)
            yield replace(net, wire=wire)
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20, check=False)


@contextmanager
def _last_wire(net: Internet, *, slow: bool) -> Iterator[subprocess.Popen[str] | None]:
    """Lay the wire between gateway and device."""
    gateway, device = net.gateway.name, net.device.name
    if not slow:
        run_or_fail(
            "ip", "link", "add", "lan", "netns", gateway, "type", "veth", "peer", "name", "eth0", "netns", device
        )
        yield None
        return
    command = [sys.executable, str(_SLOW_WIRE), gateway, "lan", device, "eth0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as wire:
        assert wire.stdout
        assert wire.stdout.readline() == "ready\n"
        yield wire  # it ends with its standard input, which is closed here


def _wire(net: Internet) -> None:
    controller, gateway, device = net.controller.name, net.gateway.name, net.device.name
    run_or_fail(
        "ip", "link", "add", "wan", "netns", controller, "type", "veth", "peer", "name", "wan", "netns", gateway
    )
    for name, link, address in (
        (controller, "wan", f"{net.controller.address}/24"),
        (gateway, "wan", f"{net.gateway.address}/24"),
        (gateway, "lan", "192.168.7.1/24"),
        (device, "eth0", f"{net.device.address}/24"),
    ):
        run_or_fail("ip", "-n", name, "address", "add", address, "dev", link)
        run_or_fail("ip", "-n", name, "link", "set", link, "up")
    run_or_fail("ip", "-n", device, "route", "add", "default", "via", "192.168.7.1")
    # Even somebody who knows the way inside, and takes it, does not get in.
    run_or_fail("ip", "-n", controller, "route", "add", "192.168.7.0/24", "via", net.gateway.address)
    run_or_fail(*net.gateway.prefix, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    run_or_fail(*net.gateway.prefix, "nft", "-f", "-", typed=ONLY_OUT)
