"""Where the agent stands while it works: who started it, where it keeps what is of the moment, what it gives on."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.service_manager import ServiceManager, own_unit
from edge_agent.status import runtime_directory
from edge_agent.threshold import SHARED, Threshold, take_more
from protocol.service_manager import FOR_THE_SERVICE, RUNTIME


@dataclass(frozen=True, slots=True)
class Station:
    """What the process that serves was started with.

    Attributes:
        manager: who started it.
        runtime: the directory for what is of no use once the agent has ended.
        key_place: where sockets of people's own ssh-agents are made: their programs must see it.
        threshold: what programs that are run for somebody pass.
    """

    manager: ServiceManager
    runtime: Path
    key_place: Path
    threshold: Threshold


def take_station(data_dir: Path) -> Station:
    """Return it, and keep what the manager said to this process from all that it starts."""
    with suppress(OSError, RuntimeError, AttributeError):  # standard error is closed
        faulthandler.enable()  # a process that hangs is ended by SIGABRT, and then says where it was
    station = Station(
        ServiceManager.from_environment(),
        runtime_directory(os.environ, data_dir),
        _key_place(os.environ),
        Threshold(take_more(), is_service=own_unit() is not None),
    )
    for name in FOR_THE_SERVICE:
        os.environ.pop(name, None)
    return station


def _key_place(environment: Mapping[str, str]) -> Path:
    """Return the runtime directory where there is one: a service may have a /tmp that nobody else sees."""
    told = environment.get(RUNTIME, "").partition(":")[0]
    return Path(told) if told.startswith("/") else SHARED
