"""The file in which an upgrade stands."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.policy.layout import Layout
from edge_agent.policy.upgrade_record import RECORD_MAX, Record
from edge_agent.rollout.fault import RolloutError, reason
from edge_agent.rollout.placing import write_file
from protocol.fields import MessageError


def read_record(layout: Layout) -> Record | None:
    """Return the upgrade that goes on, or was the last; None where there was none. Raises `RolloutError`."""
    try:
        with Path(layout.result).open("rb") as file:
            return Record.decode(file.read(RECORD_MAX + 1))
    except FileNotFoundError:
        return None
    except MessageError as err:
        raise RolloutError(f"{layout.result} is no upgrade's: {err}; remove it") from None
    except PermissionError:
        raise RolloutError(f"{layout.result} cannot be read: this needs root") from None
    except OSError as err:
        raise RolloutError(f"{layout.result} cannot be read: {reason(err)}") from None


def write_record(layout: Layout, record: Record) -> None:
    """Keep how an upgrade stands, for good once this returns. Raises `OSError`."""
    write_file(Path(layout.result), record.encode(), 0o600)


def now(layout: Layout) -> datetime:
    """Return the time by the controller's clock, as far as it is known on this device."""
    return Clock(Path(layout.data)).now()
