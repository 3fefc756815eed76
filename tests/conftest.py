"""For the whole suite."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings
from playwright.sync_api import expect

# How long one example takes says more about the machine than about the code.
settings.register_profile("skerry", deadline=None)
# `make coverage`: what is covered must not depend on luck.
settings.register_profile("few", deadline=None, max_examples=10, derandomize=True)
settings.load_profile("skerry")

# What a page is to show is waited for as long as a loaded machine may take, in whatever order the tests run.
expect.set_options(timeout=60_000)

# Run in the background, or under nohup, the suite would hand on that these are ignored.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

pytest_plugins = ["tests.harness.doors"]

# Files that wait more than they work, the longest first. scripts/test keeps this order: begun first, they cost the
# others little, and none of them is left for the end.
PATIENT = (
    "system/rollout/test_playbooks.py",
    "system/rollout/test_first_rollout.py",
    "system/test_controller_service.py",
    "system/test_idle_traffic.py",
    "system/rollout/test_arm64.py",
    "system/presence/test_links.py",
    "deploy/packages/test_debian.py",
    "system/presence/test_locks_everywhere.py",
    "system/rollout/test_upgrade.py",
    "system/presence/test_standing.py",
    "system/rollout/test_one_liner.py",
    "system/presence/test_restarts.py",
    "system/rollout/test_service.py",
    "system/recording/test_killed_agent.py",
    "system/rollout/test_operations.py",
    "system/recording/test_slow_link.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the patient files first, file by file as they are listed."""
    items.sort(key=lambda item: _place(item.path.as_posix()))


def _place(path: str) -> int:
    return next((place for place, name in enumerate(PATIENT) if path.endswith(name)), len(PATIENT))
