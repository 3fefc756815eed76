"""What an agent at rest sends and receives, everything included, counted where its only link leaves the device.

A heartbeat comes every half minute, a keepalive of the tunnel every two and a half, a pulse every four. So each kind is
counted by itself, and the day made up of them: what falls into a window by chance changes nothing.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from protocol import limits, topics
from protocol.control import Pulse
from protocol.endorsement import Endorsed
from tests.harness.namespaces import Internet, Namespace, internet
from tests.harness.real_cluster import RealCluster
from tests.harness.running_program import children_of

pytestmark = [pytest.mark.system, pytest.mark.netns]
_DAY = 86_400.0
_DAY_MAX = 1_000_000
_MQTT, _TUNNEL = 8883, 3024
_PATIENCE = 60.0
# An IPv4 header, a TCP header, and its timestamps; of a packet that bears nothing, there is nothing else.
_BARE = 20 + 20 + 12
# What an IPv6 header is longer.
_IPV6 = 20
# Head, kind and seal of a record in TLS 1.3; head of an MQTT message that is longer than 127 bytes.
_RECORD, _HEAD = 5 + 1 + 16, 3
_COUNTING = f"""
table inet counting {{
  chain in {{ type filter hook input priority -10; policy accept;
    iifname "eth0" tcp sport {_MQTT} ip length > {_BARE} counter comment "mqtt heard"
    iifname "eth0" tcp sport {_MQTT} ip length <= {_BARE} counter comment "mqtt heard bare"
    iifname "eth0" tcp sport {_TUNNEL} counter comment "tunnel heard"
    iifname "eth0" ip protocol tcp counter comment "all heard"
  }}
  chain out {{ type filter hook output priority -10; policy accept;
    oifname "eth0" tcp dport {_MQTT} ip length > {_BARE} counter comment "mqtt said"
    oifname "eth0" tcp dport {_MQTT} ip length <= {_BARE} counter comment "mqtt said bare"
    oifname "eth0" tcp dport {_TUNNEL} counter comment "tunnel said"
    oifname "eth0" ip protocol tcp counter comment "all said"
  }}
}}
"""


@dataclass(frozen=True)
class Count:
    """Packets, and bytes of IP."""

    packets: int = 0
    size: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.packets + other.packets, self.size + other.size)

    def __sub__(self, other: Count) -> Count:
        return Count(self.packets - other.packets, self.size - other.size)

    def times(self, number: float) -> Count:
        return Count(round(self.packets * number), round(self.size * number))


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


def _load(device: Namespace, rules: str) -> None:
    command = [*device.prefix, "nft", "-f", "-"]
    loaded = subprocess.run(command, input=rules, capture_output=True, text=True, timeout=20, check=False)
    assert loaded.returncode == 0, loaded.stderr


def _count(device: Namespace) -> dict[str, Count]:
    """Return what was counted so far, by kind."""
    command = [*device.prefix, "nft", "-j", "list", "table", "inet", "counting"]
    told = json.loads(subprocess.run(command, capture_output=True, timeout=20, check=True).stdout)
    rules = [part["rule"] for part in told["nftables"] if "rule" in part]
    found = {
        rule["comment"]: Count(int(term["counter"]["packets"]), int(term["counter"]["bytes"]))
        for rule in rules
        for term in rule["expr"]
        if "counter" in term
    }
    assert len(found) == len(rules)
    return found


def _pulse() -> Count:
    """Return what a pulse takes: a packet that bears it, and one that acknowledges it."""
    signing = "ssh-ed25519 " + "A" * 68
    word = Endorsed("pulse", Pulse(1_800_000_000_000, 1_800_000_000_000).encode(), signing, bytes(64))
    payload = json.dumps(word.to_dict()).encode()
    message = _HEAD + 2 + len(topics.PULSE) + len(payload)
    return Count(2, 2 * _BARE + _RECORD + message)


def _await_rest(pid: int) -> None:
    """Wait until all is said that is said at the start: the agent has nobody at work any more."""
    deadline = time.monotonic() + _PATIENCE
    while children_of(pid):
        assert time.monotonic() < deadline, "a worker of the agent's does not end"
        time.sleep(0.2)


def _await_keepalive(device: Namespace, began: dict[str, Count]) -> dict[str, Count]:
    """Return what was counted when the tunnel has been asked once whether it is there."""
    deadline = time.monotonic() + limits.TUNNEL_KEEPALIVE_IDLE.total_seconds() + _PATIENCE
    while True:
        found = _count(device)
        asked = found["tunnel said"].packets - began["tunnel said"].packets
        if asked and found["tunnel heard"].packets > began["tunnel heard"].packets:
            time.sleep(1)  # the last acknowledgement is on its way
            return _count(device)
        assert time.monotonic() < deadline, "the tunnel is not asked whether it is there"
        time.sleep(1)


@pytest.mark.timeout(400)
def test_agent_at_rest_moves_less_than_a_megabyte_a_day(
    net: Internet, make_cluster: Callable[..., RealCluster]
) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - of a namespace of its own
    proxy = {
        "listen_addr": f"{everywhere}:3023",
        "tunnel_listen_addr": f"{everywhere}:3024",
        "web_listen_addr": f"{everywhere}:3080",
        "public_addr": f"{net.controller.address}:3080",
    }
    sections = {
        "proxy_service": proxy,
        "auth_service": {"cluster_name": "harbour", "listen_addr": f"{everywhere}:3025"},
        "mqtt": {"listen_addr": f"{everywhere}:8883"},
    }
    cluster = make_cluster(sections, prefix=net.controller.prefix, host=everywhere).start()
    agent = cluster.start_agent("kiosk", "site=harbour", prefix=net.device.prefix)
    agent.program.await_line("connected to the broker")
    _await_rest(agent.program.pid)
    _load(net.device, _COUNTING)
    first = _count(net.device)
    last = _await_keepalive(net.device, first)
    spent = {kind: last[kind] - first[kind] for kind in last}
    beats, pulses = spent["mqtt said"].packets, spent["mqtt heard"]
    assert beats >= 3, "the heart beats"
    # An acknowledgement of a pulse, where one came, counts as a heartbeat's.
    beat = (spent["mqtt said"] + spent["mqtt said bare"] + spent["mqtt heard bare"]).times(1 / beats)
    keepalive = spent["tunnel said"] + spent["tunnel heard"]
    other = spent["all said"] + spent["all heard"] - beat.times(beats) - pulses - keepalive
    assert other.size <= beats, f"nothing else is said: {spent}"  # but for what was lost in rounding
    assert pulses.size <= _pulse().size * pulses.packets
    kinds = {
        "heartbeats": (beat, limits.HEARTBEAT_INTERVAL),
        "keepalives": (keepalive, limits.TUNNEL_KEEPALIVE_IDLE),
        "pulses": (_pulse(), limits.PULSE_INTERVAL),
    }
    day = Count()
    for kind, (each, interval) in kinds.items():
        days = each.times(_DAY / interval.total_seconds())
        print(f"{kind}: {each.packets} packets, {each.size} bytes each; {days.size} bytes a day")
        day += days
    longer = day.size + _IPV6 * day.packets
    print(f"{day.size} bytes a day over IPv4, {longer} over IPv6")
    assert day.size <= _DAY_MAX
