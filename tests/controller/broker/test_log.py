from __future__ import annotations

import logging

import pytest

from controller.broker.log import BrokerLog
from tests.controller.harbour import HandClock


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="BROKER")
    return caplog


def test_a_line_is_logged_as_grave_as_it_is_and_without_mosquitto_s_own_time(log: pytest.LogCaptureFixture) -> None:
    broker = BrokerLog(HandClock())
    for line in (
        "1795367179: Error: Address already in use",
        "Warning: x",
        "OpenSSL Error[0]: y",
        "Something else",
        "",
    ):
        broker.write(line)
    assert [(record.levelname, record.message) for record in log.records] == [
        ("ERROR", "Error: Address already in use"),
        ("WARNING", "Warning: x"),
        ("WARNING", "OpenSSL Error[0]: y"),
        ("INFO", "Something else"),
    ]


def test_what_is_said_at_every_reload_and_means_nothing_is_left_out(log: pytest.LogCaptureFixture) -> None:
    BrokerLog(HandClock()).write("Warning: ACL pattern 'c/policy' does not contain '%c' or '%u'.")
    assert log.records == []


def test_a_thousand_strangers_are_a_few_lines_and_a_number(log: pytest.LogCaptureFixture) -> None:
    clock = HandClock()
    broker = BrokerLog(clock)
    for _ in range(1000):
        broker.write("OpenSSL Error[0]: peer did not return a certificate")
    told = len(log.records)
    assert 0 < told <= 60
    clock.move(minutes=1)
    broker.write("and then")
    assert [record.message for record in log.records[told:]] == [
        f"{1000 - told} more lines of the broker's were left out",
        "and then",
    ]


def test_a_long_line_is_cut(log: pytest.LogCaptureFixture) -> None:
    BrokerLog(HandClock()).write("x" * 100_000)
    assert len(log.records[0].message) <= 300
