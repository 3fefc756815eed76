from __future__ import annotations

import pytest

from protocol import service_manager
from protocol.service_manager import (
    FOR_THE_SERVICE,
    extending,
    parse_address,
    parse_pulse,
    ready,
    reloading,
    status,
    stopping,
    without_service_variables,
)


def test_messages_are_lines_as_sd_notify_has_them() -> None:
    assert ready("online") == b"READY=1\nSTATUS=online"
    assert status("offline") == b"STATUS=offline"
    assert reloading(1234) == b"RELOADING=1\nMONOTONIC_USEC=1234"
    assert extending(1.5) == b"EXTEND_TIMEOUT_USEC=1500000"
    assert stopping("bye") == b"STOPPING=1\nSTATUS=bye"
    assert service_manager.PULSE == b"WATCHDOG=1"


def test_what_stands_in_a_status_cannot_begin_another_line() -> None:
    assert status("lost\nREADY=1\r\0 half \udce9") == b"STATUS=lost READY=1   half  "


def test_a_status_has_an_end() -> None:
    assert len(status("x" * 100_000)) < 300


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("/run/systemd/notify", "/run/systemd/notify"),
        ("@/abstract/name", b"\0/abstract/name"),
        ("@\udce9", b"\0\xe9"),
        ("", None),
        ("@", None),
        ("vsock:2:1234", None),
        ("relative", None),
    ],
)
def test_the_socket_is_a_path_or_a_name_in_the_abstract_name_space(told: str, address: str | bytes | None) -> None:
    assert parse_address({"NOTIFY_SOCKET": told}) == address


def test_without_a_manager_there_is_no_socket_and_no_pulse() -> None:
    assert parse_address({}) is None
    assert parse_pulse({}, 1) is None


def test_three_pulses_pass_in_the_time_that_the_manager_waits() -> None:
    assert parse_pulse({"WATCHDOG_USEC": "30000000"}, 7) == 10.0
    assert parse_pulse({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 7) == 10.0


@pytest.mark.parametrize("told", ["", "0", "-1", "1.5", "x", "٣", "9" * 5000, str(400 * 24 * 3600 * 10**6)])
def test_a_time_that_makes_no_sense_is_no_time(told: str) -> None:
    assert parse_pulse({"WATCHDOG_USEC": told}, 7) is None


def test_the_pulse_of_another_process_is_not_ours() -> None:
    assert parse_pulse({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 7) is None


def test_what_is_for_the_service_alone_is_left_out_of_an_environment() -> None:
    environment = {"PATH": "/bin", "LANG": "C", **dict.fromkeys(FOR_THE_SERVICE, "x")}
    assert without_service_variables(environment) == {"PATH": "/bin", "LANG": "C"}
    assert {"NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "INVOCATION_ID", "LISTEN_FDS"} <= FOR_THE_SERVICE
