from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from controller.service_manager import ServiceManager
from protocol import service_manager

PID = os.getpid()


@pytest.fixture(params=["a path", "an abstract name"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A real socket as a service manager has it, and how it is written in the environment."""
    name = str(tmp_path / "notify") if request.param == "a path" else f"@skerry-test-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind(name.replace("@", "\0"))
        yield sock, name


def test_a_message_reaches_whoever_started_us(listener: tuple[socket.socket, str]) -> None:
    sock, name = listener
    manager = ServiceManager.of({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"}, PID)
    assert manager.pulse == 10
    manager.tell(service_manager.ready("cluster harbour: 5 of 5 processes run"))
    assert sock.recv(4096) == b"READY=1\nSTATUS=cluster harbour: 5 of 5 processes run"


def test_where_nobody_waits_nothing_is_told_and_nobody_counts_pulses() -> None:
    manager = ServiceManager.of({"WATCHDOG_USEC": "30000000"}, PID)
    assert manager.pulse is None
    manager.tell(service_manager.PULSE)


def test_the_pulse_of_another_process_is_not_ours() -> None:
    variables = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID + 1)}
    assert ServiceManager.of(variables, PID).pulse is None


def test_a_manager_that_is_gone_or_does_not_listen_costs_nothing(tmp_path: Path) -> None:
    ServiceManager.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}, PID).tell(service_manager.PULSE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        manager = ServiceManager.of({"NOTIFY_SOCKET": str(tmp_path / "deaf")}, PID)
        for _ in range(10_000):  # far more than the kernel keeps for who does not read
            manager.tell(service_manager.PULSE)
