from __future__ import annotations

import pytest

from controller.policy.severity import SEVERITIES, parse_severity


@pytest.mark.parametrize("severity", SEVERITIES)
def test_any_case_will_do(severity: str) -> None:
    assert parse_severity(severity.lower()) == severity


def test_a_warning_is_a_warn() -> None:
    assert parse_severity("Warning") == "WARN"


@pytest.mark.parametrize("text", ["", "loud", "DEBUG ", "7"])
def test_anything_else_is_refused_with_what_would_do(text: str) -> None:
    with pytest.raises(ValueError, match=r"^should be one of DEBUG, INFO, WARN, ERROR$"):
        parse_severity(text)
