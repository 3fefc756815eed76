"""Devices and the controller have one order of versions."""

from __future__ import annotations

import pytest

from protocol.versions import is_older


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("0.1.0", "0.1.1"),
        ("0.9", "0.10"),
        ("0.9.0", "0.10.0"),
        ("0.1", "0.1.1"),
        ("1.0rc1", "1.0"),
        ("1.0rc1", "1.0.0"),
        ("1.0rc2", "1.0rc10"),
        ("1.0~rc1", "1.0"),
        ("1.0", "1.1rc1"),
        ("1.0.0-alpha", "1.0.0-beta"),
        ("1.0.0-beta", "1.0.0"),
        ("1.0", "1.0-1"),
        ("1.0", "1.0.post1"),
        ("1.0.0", "1.0.0.1"),
        ("1.0.0+one", "1.0.0+two"),
        ("8" * 18, "9" * 64),
        ("", "0.1"),
    ],
)
def test_versions_are_ordered_by_their_numbers_and_previews_come_before(earlier: str, later: str) -> None:
    assert is_older(earlier, later)
    assert not is_older(later, earlier)


@pytest.mark.parametrize(
    ("version", "other"), [("1.0", "1.0"), ("1.0", "1.0.0"), ("1.0rc1", "1.0~rc1"), ("1.0rc1", "1.0.0-rc1"), ("", "")]
)
def test_a_version_is_not_older_than_itself(version: str, other: str) -> None:
    assert not is_older(version, other)
    assert not is_older(other, version)
