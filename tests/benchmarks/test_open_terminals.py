from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import open_terminals
from benchmarks.open_terminals import p95

pytestmark = pytest.mark.timeout(300)


def test_pages_are_asked_for_beside_real_terminals_that_echo_and_print(tmp_path: Path) -> None:
    found = {row.what: row for row in open_terminals.measure(tmp_path, turns=1, quick=True)}
    for what in ("4 typed in", "4 printing"):
        assert found[f"page, {what}: p95"].ours[0] >= found[f"page, {what}: p50"].ours[0] > 0
        assert found[f"page, {what}: p95"].rival == "none"
        assert found[f"key, {what}: p95"].ours[0] > 0
    # What the devices print comes to the browsers; where nothing prints, only the keys do.
    assert found["printed in all, 4 printing"].ours[0] > 10 * found["printed in all, 4 typed in"].ours[0] > 0


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (20, 18), (100, 94), (160, 151)])
def test_five_in_a_hundred_lie_above(count: int, expected: int) -> None:
    assert p95(list(range(count))) == expected
