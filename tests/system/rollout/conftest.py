"""Booted devices behind NAT, and a controller on a host of its own: one bed for all tests of a file."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterator
from contextlib import suppress

import pytest

from tests.harness.device_bed.bed import Bed, bed
from tests.harness.device_bed.fleet import Fleet


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the devices said where a test fails."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Bed):
                for device in value.devices.values():
                    with suppress(AssertionError, OSError, subprocess.SubprocessError):  # it may be in no state to say
                        said = device.journal(lines=120) if device.is_on else device.console()
                        report.sections.append((f"journal of {device.name}", said[-8000:]))
    return report


@pytest.fixture(scope="module")
def device_bed() -> Iterator[Bed]:
    """An empty bed, which the tests of one file share."""
    with bed() as made:
        yield made


@pytest.fixture(scope="module")
def fleet(device_bed: Bed) -> Fleet:
    """A controller, installed from its Debian package, and Alice, who is signed in."""
    made = Fleet(device_bed).install_controller()
    made.sign_in()
    return made
