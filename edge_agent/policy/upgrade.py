"""The life of an upgrade, as one table: what is seen and the time in, an order out.

    prepared -> draining -> switched -> watching -> done
                               |           |
                               +-----------+----> returning -> returned -> rolled_back
       (before the switch) ----------------------------------> refused

The driver (`edge_agent.rollout.runner`) is a program of the old version. It keeps each step on disk before it takes it,
so that a device that loses its power goes on where it was, at the next start. Every order can be carried out twice.

Whether a new version is good:

W1  it does not fail, nor is begun anew again and again
W2  it says that it is the new version, and has the tunnel, and the broker, where the old one had them; for a while
W3  it does so in time
W4  the device was not restarted time and again meanwhile
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum

from edge_agent.policy.layout import Kind
from protocol.durations import format_duration

# For how long a new version has to stay online, in seconds.
STAY = 10
# Where the device was not online before, all that can be seen is that it runs: for so many times as long.
_UNSEEN = 2
# So many times a service may be begun anew before it counts as one that cannot run.
_RESTARTS_MAX = 3
# For how long whatever is in the way of a switch is waited for once nobody is at work any more, in seconds.
_OBSTACLE_MAX = 600
# So many times an upgrade is taken up: a new version may well be what has the device restart.
_STARTS_MAX = 3


class Phase(Enum):
    """Where an upgrade stands."""

    PREPARED = "prepared"
    DRAINING = "draining"
    SWITCHED = "switched"
    WATCHING = "watching"
    RETURNING = "returning"
    RETURNED = "returned"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in {Phase.DONE, Phase.ROLLED_BACK, Phase.REFUSED}


@dataclass(frozen=True, slots=True)
class Plan:
    """What an upgrade is to do.

    Attributes:
        old, new: the versions.
        kind: how the agent is installed.
        drain: for how many seconds it waits at most for people to end their sessions.
        wait: within how many seconds the new version has to be online.
        stay: for how many seconds it has to stay so.
        session: the session that it was asked from, which is not waited for; empty for none.
        was_running: whether the service of the old version ran.
        had_tunnel, had_broker: which connections to the controller the old version had.
    """

    old: str
    new: str
    kind: Kind
    drain: float
    wait: float
    stay: float
    session: str
    was_running: bool
    had_tunnel: bool
    had_broker: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How far it has come.

    Attributes:
        since: when the phase began, in seconds on any clock that only goes forward.
        starts: how often it was taken up.
        good: since when the new version is good, and which process that is; None where it is not.
        reason: why it did not succeed.
    """

    phase: Phase
    since: float
    starts: int = 0
    good: tuple[float, int] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """How the service is doing.

    Attributes:
        sessions: the ids of the sessions that go on.
        version: the version that runs, as it says; empty where nothing runs that says so.
        pid: its process; 0 for none.
        has_tunnel, has_broker: which connections to the controller it has.
        restarts: how often systemd has begun it anew by itself.
        has_failed: whether systemd has given it up.
        text: how it says it is doing.
        obstacle: what is in the way of a switch just now; empty for nothing.
    """

    sessions: tuple[str, ...] = ()
    version: str = ""
    pid: int = 0
    has_tunnel: bool = False
    has_broker: bool = False
    restarts: int = 0
    has_failed: bool = False
    text: str = ""
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in a moment. `text` is for the person."""

    text: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Have the new version run in place of the old one; `text` says so. Then `switched`, or `failed`."""

    text: str


@dataclass(frozen=True, slots=True)
class GoBack:
    """Have the old version run again; `text` says so. Then `came_back`."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """It is over; `text` says how."""

    text: str


Order = Wait | Switch | GoBack | End
Answer = tuple[Standing, Order]


def take_up(standing: Standing, now: float) -> Standing:
    """Return how far it has come when it is taken up: for the first time, or after a restart (W4)."""
    standing = replace(standing, since=now, starts=standing.starts + 1, good=None)
    if standing.phase in {Phase.SWITCHED, Phase.WATCHING} and standing.starts > _STARTS_MAX:
        return failed(standing, f"the upgrade was cut off {standing.starts - 1} times while it was on trial", now)
    if standing.phase in {Phase.PREPARED, Phase.DRAINING} and standing.starts > _STARTS_MAX:
        return refused(standing, f"the upgrade was cut off {standing.starts - 1} times before it could begin", now)
    return standing


def switched(standing: Standing, now: float) -> Standing:
    """Return how far it has come when the new version was put in place."""
    return replace(standing, phase=Phase.WATCHING, since=now, good=None)


def failed(standing: Standing, reason: str, now: float) -> Standing:
    """Return how far it has come when the new version is no good."""
    return replace(standing, phase=Phase.RETURNING, since=now, good=None, reason=reason)


def came_back(standing: Standing, now: float) -> Standing:
    """Return how far it has come when the old version is in place again."""
    return replace(standing, phase=Phase.RETURNED, since=now)


def refused(standing: Standing, reason: str, now: float) -> Standing:
    """Return how far it has come when it turns out before the switch that it cannot be done."""
    return replace(standing, phase=Phase.REFUSED, since=now, reason=reason)


def decide(plan: Plan, standing: Standing, seen: Seen, now: float) -> Answer:
    """Return how far it has come by what is seen, and what to do now."""
    return _TABLE[standing.phase](plan, standing, seen, now)


def _prepared(plan: Plan, standing: Standing, seen: Seen, now: float) -> Answer:
    return _drain(plan, replace(standing, phase=Phase.DRAINING, since=now), seen, now)


def _drain(plan: Plan, standing: Standing, seen: Seen, now: float) -> Answer:
    others = [session for session in seen.sessions if session != plan.session]
    if others and now < standing.since + plan.drain:
        return standing, Wait(
            f"waiting for {_sessions(others)} to end, for {_span(plan.drain)} at most: {', '.join(others)}"
        )
    if seen.obstacle:
        return _await_way(plan, standing, seen, now)
    text = f"switching from {plan.old} to {plan.new}"
    if others:
        text += f"; {_sessions(others)} did not end within {_span(plan.drain)} and will be cut: {', '.join(others)}"
    return replace(standing, phase=Phase.SWITCHED, since=now), Switch(text)


def _await_way(plan: Plan, standing: Standing, seen: Seen, now: float) -> Answer:
    """Wait for what is in the way of the switch: nothing is changed before it is gone."""
    if now < standing.since + plan.drain + _OBSTACLE_MAX:
        return standing, Wait(f"waiting until it can be switched: {seen.obstacle}")
    standing = refused(standing, f"{seen.obstacle}, for {_span(_OBSTACLE_MAX)} now", now)
    return standing, End(describe_end(plan, standing))


def _switch(plan: Plan, standing: Standing, _: Seen, __: float) -> Answer:
    return standing, Switch(f"switching from {plan.old} to {plan.new}")


def _watch(plan: Plan, standing: Standing, seen: Seen, now: float) -> Answer:
    if not plan.was_running:
        return _finish(plan, standing, now)
    if seen.has_failed or seen.restarts >= _RESTARTS_MAX:
        return _return(plan, failed(standing, f"version {plan.new} does not start", now))
    is_good = _is_as_before(plan, seen, plan.new)
    good = standing.good if is_good and standing.good and standing.good[1] == seen.pid else None
    standing = replace(standing, good=(good or (now, seen.pid)) if is_good else None)
    stay = plan.stay if plan.had_tunnel else plan.stay * _UNSEEN
    if standing.good and now - standing.good[0] >= stay:
        return _finish(plan, standing, now)
    if standing.good is None and now - standing.since >= plan.wait:
        return _return(plan, failed(standing, _lateness(plan, seen), now))
    wanted = "is online" if plan.had_tunnel else "runs"
    if standing.good:
        return standing, Wait(f"version {plan.new} {wanted}; watching whether that lasts {stay:.0f} s")
    doing = f" ({seen.text})" if seen.text else ""
    return standing, Wait(f"waiting until version {plan.new} {wanted}, for {_span(plan.wait)} at most{doing}")


def _is_as_before(plan: Plan, seen: Seen, version: str) -> bool:
    """Tell whether `version` runs, with each connection that there was before."""
    has_links = (seen.has_tunnel or not plan.had_tunnel) and (seen.has_broker or not plan.had_broker)
    return seen.version == version and seen.pid > 0 and has_links


def _lateness(plan: Plan, seen: Seen) -> str:
    lack = "come online" if plan.had_tunnel else "come up"
    doing = f": {seen.text}" if seen.text else ""
    return f"version {plan.new} did not {lack} within {_span(plan.wait)}{doing}"


def _finish(plan: Plan, standing: Standing, now: float) -> Answer:
    standing = replace(standing, phase=Phase.DONE, since=now, good=None, reason="")
    return standing, End(describe_end(plan, standing))


def _return(plan: Plan, standing: Standing) -> Answer:
    return standing, GoBack(f"{standing.reason}; going back to {plan.old}")


def _go_back(plan: Plan, standing: Standing, _: Seen, __: float) -> Answer:
    return _return(plan, standing)


def _await_old(plan: Plan, standing: Standing, seen: Seen, now: float) -> Answer:
    """Wait until the old version is as it was. Where it is not in time, nothing is left that could be done."""
    if plan.was_running and not _is_as_before(plan, seen, plan.old):
        if now - standing.since < plan.wait:
            return standing, Wait(f"waiting until version {plan.old} is back")
        lack = f"{standing.reason}; and version {plan.old} is not back after {_span(plan.wait)}"
        standing = replace(standing, reason=lack)
    standing = replace(standing, phase=Phase.ROLLED_BACK, since=now)
    return standing, End(describe_end(plan, standing))


def _end(plan: Plan, standing: Standing, _: Seen, __: float) -> Answer:
    return standing, End(describe_end(plan, standing))


_TABLE: Mapping[Phase, Callable[[Plan, Standing, Seen, float], Answer]] = {
    Phase.PREPARED: _prepared,
    Phase.DRAINING: _drain,
    Phase.SWITCHED: _switch,
    Phase.WATCHING: _watch,
    Phase.RETURNING: _go_back,
    Phase.RETURNED: _await_old,
    Phase.DONE: _end,
    Phase.ROLLED_BACK: _end,
    Phase.REFUSED: _end,
}


def describe_end(plan: Plan, standing: Standing) -> str:
    """Return how an upgrade that has ended did, as one line."""
    phase = standing.phase
    if phase is Phase.DONE and not plan.was_running:
        return f"upgraded from {plan.old} to {plan.new}; the service did not run before and was not started"
    if phase is Phase.DONE:
        online = " and is online" if plan.had_tunnel else ""
        return f"upgraded from {plan.old} to {plan.new}: it runs{online}"
    if phase is Phase.ROLLED_BACK:
        return f"went back to {plan.old}: {standing.reason}"
    return f"refused, and {plan.old} runs on: {standing.reason}"


def _sessions(sessions: list[str]) -> str:
    return f"{len(sessions)} session{'' if len(sessions) == 1 else 's'}"


def _span(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))
