"""For the whole suite."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings
from playwright.sync_api import expect

# How long one example takes says more about the machine than about the code.
settings.register_profile("skerry", deadline=None)
settings.load_profile("skerry")

# What a page is to show is waited for as long as a loaded machine may take, in whatever order the tests run.
expect.set_options(timeout=60_000)

# Run in the background, or under nohup, the suite would hand on that these are ignored.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

pytest_plugins = ["tests.harness.doors"]

# Files that wait more than they work. scripts/test keeps this order: begun first, they cost the others little, and none
# of them is left for the end.
PATIENT = (
    "system/rollout/test_arm64.py",
    "system/rollout/test_first_rollout.py",
    "system/rollout/test_upgrade.py",
    "system/rollout/test_one_liner.py",
    "system/rollout/test_service.py",
    "system/rollout/test_operations.py",
    "system/test_idle_traffic.py",
    "system/presence/test_links.py",
    "system/presence/test_locks_everywhere.py",
    "system/presence/test_standing.py",
    "system/presence/test_restarts.py",
    "system/recording/test_killed_agent.py",
    "system/recording/test_slow_link.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the patient files first."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(PATIENT))
