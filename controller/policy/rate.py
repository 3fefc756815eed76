"""How often one address may ask: a token bucket (RFC 2697's single rate, counted in requests)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from protocol.decision import Granted


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a bucket fills and how much it holds.

    Attributes:
        per_minute: requests that may be made in the long run.
        burst: requests that may be made at once after a pause.
    """

    per_minute: int
    burst: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one address has left at `at`; a bucket that nobody has drawn from is full."""

    level: float
    at: datetime


@dataclass(frozen=True, slots=True)
class TooSoon:
    """The request may not be made yet.

    Attributes:
        retry_after: how long the peer should wait, whole seconds, at least one.
    """

    retry_after: timedelta


def full_bucket(rate: Rate, now: datetime) -> Bucket:
    """Return the bucket of an address that is seen for the first time."""
    return Bucket(float(rate.burst), now)


def draw(bucket: Bucket, rate: Rate, now: datetime) -> Granted[Bucket] | TooSoon:
    """Take one request out of `bucket`. A clock that went back adds nothing and takes nothing."""
    per_second = rate.per_minute / 60
    elapsed = max(0.0, (now - bucket.at).total_seconds())
    level = min(float(rate.burst), bucket.level + elapsed * per_second)
    if level >= 1:
        return Granted(Bucket(level - 1, now))
    return TooSoon(timedelta(seconds=max(1, math.ceil((1 - level) / per_second))))
