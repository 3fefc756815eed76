from __future__ import annotations

from datetime import UTC, datetime

from controller import throttle
from controller.policy.rate import Rate
from controller.throttle import Throttle, network_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_addresses_are_counted_apart_and_an_ipv6_network_as_one() -> None:
    one = Throttle(Rate(60, 1))
    assert one.admit("192.0.2.1", NOON) is None
    assert one.admit("192.0.2.1", NOON) is not None
    assert one.admit("192.0.2.2", NOON) is None
    assert one.admit("2001:db8::1", NOON) is None
    assert one.admit("2001:db8::ffff:2", NOON) is not None
    assert one.admit("2001:db8:0:1::1", NOON) is None


def test_an_ipv4_address_in_ipv6_clothes_is_the_same_asker() -> None:
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
    assert network_of("not an address") == ""


def test_the_table_is_bounded_and_forgets_who_was_not_seen_for_longest() -> None:
    one = Throttle(Rate(60, 1))
    for number in range(throttle.ADDRESSES_MAX + 1):
        assert one.admit(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", NOON) is None
    assert len(one._buckets) == throttle.ADDRESSES_MAX
    assert one.admit("10.0.0.0", NOON) is None  # forgotten, so a newcomer again
    assert one.admit("10.0.0.9", NOON) is not None
