"""How often the heart beats, when the broker is asked whether it is still there, and when a connection is made anew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from protocol import limits

_USUAL = int(limits.HEARTBEAT_INTERVAL.total_seconds())
_KEEPALIVE = int(limits.MQTT_KEEPALIVE.total_seconds())
# A busy device is late by so much at times, however short the interval.
_LEAST = 10
# Two pulses have not come: either the controller has nothing to say, or nothing reaches us any more.
HUSH = (2 * limits.PULSE_INTERVAL).total_seconds() + 30
ANSWER = limits.LINK_SILENCE_MAX.total_seconds()


def parse_interval(value: object) -> int:
    """Return the seconds between two heartbeats. Raises `ValueError`."""
    least, most = limits.HEARTBEAT_MIN_SECONDS, limits.HEARTBEAT_MAX_SECONDS
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"should be a number of seconds from {least} to {most}")
    return value


def keepalive(interval: int) -> int:
    """Return the keepalive in seconds to tell the broker where the heart beats every `interval` seconds.

    The broker gives up after one and a half times that: a heartbeat is the only thing that is sent meanwhile.
    """
    return max(_LEAST, interval * _KEEPALIVE // _USUAL)


class Doubt(Enum):
    """Whether somebody is still there at the other end."""

    NONE = "none"
    ASK = "ask"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds, the broker may say nothing before it is asked, and then until it answers."""

    hush: float = HUSH
    answer: float = ANSWER


def decide_doubt(heard: float, asked: float, now: float, patience: Patience) -> tuple[Doubt, float]:
    """Return what to make of the broker's silence, and in how many seconds to look again.

    That the kernel at the other end acknowledges what we send says nothing of the broker: it may hang, and what
    acknowledges may be a box on the way.

    Args:
        heard: when anything came in last, by a clock that only goes forward, as the others are.
        asked: when the broker was asked last whether it is there; before `heard` where it has answered.
        now: the time.
        patience: how long each may take.
    """
    if asked > heard:
        rest = asked + patience.answer - now
        return (Doubt.NONE, rest) if rest > 0 else (Doubt.GONE, 0.0)
    rest = heard + patience.hush - now
    return (Doubt.NONE, rest) if rest > 0 else (Doubt.ASK, patience.answer)


@dataclass(frozen=True, slots=True)
class Footing:
    """What a connection was made with.

    Attributes:
        address: where the broker is.
        certificate: ours, that we showed.
        voucher: the authority's that vouched for the broker; empty where nothing tells.
    """

    address: tuple[str, int] | None
    certificate: str
    voucher: str


def decide_anew(
    footing: Footing, address: tuple[str, int] | None, certificate: str, authorities: Collection[str], spread: float
) -> float | None:
    """Return in how many seconds a connection is to be made anew; None where it may stay as it is.

    New certificates of our own came at a time that was the node's own. An authority goes for all nodes at once: they
    take `spread` seconds, each its own number, so as not to come back all together.
    """
    if (footing.address, footing.certificate) != (address, certificate):
        return 0.0
    return spread if footing.voucher and footing.voucher not in authorities else None
