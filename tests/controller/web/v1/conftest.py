from __future__ import annotations

import pytest

from tests.controller.web.lab import Lab
from tests.controller.web.v1.office import Office


@pytest.fixture
def office(lab: Lab) -> Office:
    return Office(lab)
