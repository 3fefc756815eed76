from __future__ import annotations

from pathlib import Path

import pytest

from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import Browser


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def lab(tmp_path: Path, clock: HandClock) -> Lab:
    return Lab.open(tmp_path, clock)


@pytest.fixture
def browser(lab: Lab) -> Browser:
    return Browser(lab.app())
