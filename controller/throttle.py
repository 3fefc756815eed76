"""The buckets of the addresses that ask this process, a bounded number of them."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from datetime import datetime

from controller.policy.rate import Bucket, Rate, TooSoon, draw, full_bucket
from protocol.decision import Granted

ADDRESSES_MAX = 10_000


class Throttle:
    """Counts requests per address. Past `ADDRESSES_MAX` the address not seen for longest is forgotten."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, address: str, now: datetime) -> TooSoon | None:
        """Count one request from `address`; return how long it must wait, or None where it may go on."""
        key = network_of(address)
        with self._lock:
            bucket = self._buckets.get(key) or full_bucket(self._rate, now)
            answer = draw(bucket, self._rate, now)
            self._keep(key, answer.value if isinstance(answer, Granted) else bucket)
        return None if isinstance(answer, Granted) else answer

    def _keep(self, key: str, bucket: Bucket) -> None:
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        if len(self._buckets) > ADDRESSES_MAX:
            self._buckets.popitem(last=False)


def network_of(address: str) -> str:
    """Return what counts as one asker: an IPv4 address, or the /64 that one IPv6 customer holds."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
