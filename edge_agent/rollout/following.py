"""Showing how an upgrade goes that is carried through elsewhere."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from edge_agent.policy.layout import UPGRADE_UNIT, Layout
from edge_agent.policy.upgrade import Phase
from edge_agent.policy.upgrade_record import Record
from edge_agent.rollout.fault import RolloutError
from edge_agent.rollout.record import read_record
from edge_agent.rollout.systemd import Service
from edge_agent.rollout.teller import Teller
from protocol.instants import show_instant
from protocol.table import render_facts

_LOOK = 0.5
# For so long a unit may be between two runs of its program.
_IDLE_MAX = 60.0
EXIT = {Phase.DONE: 0, Phase.REFUSED: 1, Phase.ROLLED_BACK: 4}


def follow(layout: Layout, identifier: str, teller: Teller) -> int:
    """Say what an upgrade does until it has ended, and return the exit status.

    Raises:
        RolloutError: nobody carries it through.
    """
    service, idle_since = Service(layout, UPGRADE_UNIT), time.monotonic()
    while True:
        record = read_record(layout)
        if record is None or record.id != identifier:
            raise RolloutError(f"{layout.result} is of another upgrade now: see edge-agent upgrade --status")
        teller.say(record.doing)
        if record.standing.phase.is_final and not Path(layout.upgrade_unit).exists():
            return EXIT[record.standing.phase]
        with suppress(RolloutError):  # systemd does not say just now: it may the next time
            if service.look().is_running:
                idle_since = time.monotonic()
        if time.monotonic() - idle_since > _IDLE_MAX:
            raise RolloutError(f"the upgrade stands still ({record.doing}): see journalctl -u {UPGRADE_UNIT}")
        time.sleep(_LOOK)


def describe(record: Record, width: int | None = None) -> str:
    """Return an upgrade as lines for a person, whose terminal is `width` cells wide; None where there is none."""
    lines = {
        "Upgrade": f"{record.id}, from {record.plan.old} to {record.plan.new}",
        "State": record.state.replace("_", " "),
        "Doing" if record.ended is None else "Result": record.doing,
        "Began": show_instant(record.began, seconds=True),
        "Ended": show_instant(record.ended, seconds=True) if record.ended else "not yet",
    }
    return render_facts(lines.items(), width, mark=" :")
