"""Carrying an upgrade through: by the version that is to be replaced, as a unit of its own, over the device's restarts.

Whatever was done is done again where it was cut off: each step is on the disk before it is taken.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from edge_agent.policy import upgrade as policy
from edge_agent.policy.layout import UPGRADE_UNIT, Layout
from edge_agent.policy.upgrade import End, GoBack, Order, Seen, Standing, Switch, Wait
from edge_agent.policy.upgrade_record import Record
from edge_agent.rollout.facts import look
from edge_agent.rollout.fault import RolloutError, reason
from edge_agent.rollout.lock import exclusive
from edge_agent.rollout.placing import write_file
from edge_agent.rollout.record import now, read_record, write_record
from edge_agent.rollout.switching import find_obstacle, switch, tidy
from edge_agent.rollout.systemd import Service
from edge_agent.rollout.teller import Teller

_LOOK = 0.5
_UNIT = """\
# Carries an upgrade of Skerry's agent through, and is there only while one goes on. It runs the version that is to be
# replaced: what takes a device back must not be of the version that may be broken. It is enabled, so that an upgrade
# that a power cut broke off is gone on with when the device starts again.
[Unit]
Description=Upgrade of Skerry's agent from {old} to {new}, with a way back
After=network.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


def place_runner(layout: Layout, record: Record) -> None:
    """Have the upgrade of `record` carried through from the next start on, or from `start_runner`.

    Raises:
        OSError, RolloutError: it cannot be; nothing was changed.
    """
    plan, service = record.plan, Service(layout, UPGRADE_UNIT)
    program = f"{layout.runner(plan.kind, plan.old)}/bin/edge-agent upgrade --resume {record.id}"
    command = f"{program} --root {layout.root}" if layout.root else program
    try:
        unit = _UNIT.format(old=plan.old, new=plan.new, command=command)
        write_file(Path(layout.upgrade_unit), unit.encode())
        service.reload()
        service.enable()
        write_record(layout, record)  # from here on it is a matter of fact: without it, the unit only takes itself away
    except BaseException:
        remove_runner(layout)
        raise


def start_runner(layout: Layout, record: Record) -> None:
    """Have the upgrade carried through now. Raises `RolloutError` where systemd would not."""
    try:
        Service(layout, UPGRADE_UNIT).start()
    except RolloutError:
        with suppress(OSError):
            write_record(layout, _never_begun(record))
            tidy(layout, record.plan, policy.Phase.REFUSED)
        remove_runner(layout)
        raise


def _never_begun(record: Record) -> Record:
    standing = policy.refused(record.standing, "systemd would not run it", 0.0)
    return record.step(standing, policy.describe_end(record.plan, standing), record.began)


def remove_runner(layout: Layout) -> None:
    """Take the unit away."""
    service, unit = Service(layout, UPGRADE_UNIT), Path(layout.upgrade_unit)
    with suppress(RolloutError):
        service.disable()
    with suppress(OSError):
        unit.unlink(missing_ok=True)
    with suppress(RolloutError):
        service.reload()


def resume(layout: Layout, identifier: str, teller: Teller) -> int:
    """Carry through the upgrade that was begun; without one, take the unit away. Returns the exit status.

    A record of another upgrade than `identifier` is left alone: what that one was to do has long been done, and this
    one was cut off before it was a matter of fact.

    Raises:
        RolloutError: it could not be done now; it is tried again.
    """
    with exclusive(Path(layout.lock)):
        record = read_record(layout)
        if record is not None and identifier in {"", record.id}:
            teller.keep(Path(layout.log))
            phase = _Run(layout, record, teller).to_its_end()
            try:
                tidy(layout, record.plan, phase)
            except OSError as err:
                raise RolloutError(f"the versions that are not needed cannot be removed: {reason(err)}") from None
        remove_runner(layout)
    return 0


class _Run:
    """One upgrade, from where it stands to its end."""

    def __init__(self, layout: Layout, record: Record, teller: Teller) -> None:
        self._layout, self._record, self._teller = layout, record, teller
        self._service = Service(layout)

    def to_its_end(self) -> policy.Phase:
        """Do what is to be done until nothing is, and return how it ended.

        Raises:
            RolloutError: the disk would not have it, or the old version cannot be put back just now.
        """
        if self._record.standing.phase.is_final:
            return self._record.standing.phase
        self._keep(policy.take_up(self._record.standing, time.monotonic()), "begun")
        while True:
            seen = self._look()
            standing, order = policy.decide(self._record.plan, self._record.standing, seen, time.monotonic())
            self._keep(standing, order.text)
            self._teller.say(order.text)
            if isinstance(order, End):
                return standing.phase
            self._carry_out(order)

    def _look(self) -> Seen:
        """Return how the service is doing, and what is in the way of a switch: both may pass."""
        try:
            seen = look(self._layout, self._service)
        except RolloutError as err:
            return Seen(text=str(err), obstacle=str(err))
        return replace(seen, obstacle=find_obstacle(self._layout, self._record.plan))

    def _carry_out(self, order: Order) -> None:
        match order:
            case Wait():
                time.sleep(_LOOK)
            case Switch():
                standing = self._switch()
                self._keep(standing, standing.reason or order.text)
            case GoBack():
                switch(self._layout, self._record.plan, self._service, back=True)
                # dpkg may have taken minutes: the old version's time begins now.
                self._set(policy.came_back(self._record.standing, time.monotonic()))

    def _switch(self) -> Standing:
        try:
            switch(self._layout, self._record.plan, self._service)
        except RolloutError as err:
            return policy.failed(self._record.standing, str(err), time.monotonic())
        return policy.switched(self._record.standing, time.monotonic())

    def _set(self, standing: Standing) -> None:
        """Take note of where it stands: `policy.decide` says next what that means, and it is kept then."""
        self._record = replace(self._record, standing=standing)

    def _keep(self, standing: Standing, doing: str) -> None:
        before, self._record = self._record, self._record.step(standing, doing, now(self._layout))
        if replace(before, standing=replace(before.standing, since=0, good=None)) == replace(
            self._record, standing=replace(standing, since=0, good=None)
        ):
            return
        try:
            write_record(self._layout, self._record)
        except OSError as err:
            # Before the switch nothing is done that is not kept first; afterwards going on is better than waiting.
            if self._record.standing.phase in {policy.Phase.SWITCHED, policy.Phase.DRAINING}:
                raise RolloutError(f"{self._layout.result} cannot be written: {reason(err)}") from None
            self._teller.warn(f"{self._layout.result} cannot be written: {reason(err)}")
