from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.document import is_plausible_version, next_version, parts_of
from protocol.control import PolicyDocument
from protocol.endorsement import Succession
from protocol.locks import Lock
from protocol.names import ClusterName
from protocol.recordings import RecordingTerms

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TERMS = RecordingTerms("best_effort", record_input=False, key_id="k", public_key=b"p" * 32, time=5)
DOCUMENT = PolicyDocument(7, 5, ClusterName("harbour"), ("u",), ("h",), ("t",), TERMS)
LOCK = Lock("11111111-1111-4111-8111-111111111111", "user", "alice", "", None, NOW)
CHANGES: dict[str, Any] = {
    "user_authorities": ("u", "v"),
    "host_authorities": ("i", "h"),
    "tls_authorities": (),
    "recording": replace(TERMS, mode="strict"),
    "locks": (LOCK,),
    "locking_mode": "strict",
    "successions": (Succession("a", "b", b"c"),),
    "renew": ("host",),
    "roles": {"access": {}},
    "void_before": {"alice": 1_795_000_000_000},
}


@given(st.integers(0, 2**40), st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 2)))  # noqa: DTZ001 - hypothesis wants it so
def test_a_version_is_always_above_the_one_before(before: int, now: datetime) -> None:
    assert next_version(before, now) > before


def test_versions_go_with_the_clock_so_that_a_backup_that_is_put_back_outruns_what_it_forgot() -> None:
    old = next_version(0, NOW)
    forgotten = next_version(next_version(old, NOW), NOW + timedelta(hours=1))
    assert next_version(old, NOW + timedelta(hours=2)) > forgotten


def test_a_version_may_be_from_up_to_now_and_a_little_ahead() -> None:
    assert is_plausible_version(next_version(0, NOW), NOW)
    assert is_plausible_version(next_version(0, NOW + timedelta(minutes=4)), NOW)
    assert not is_plausible_version(next_version(0, NOW + timedelta(minutes=6)), NOW)
    assert not is_plausible_version(0, NOW)


def test_version_and_times_are_no_part_of_what_holds() -> None:
    assert parts_of(replace(DOCUMENT, version=8, issued=9, recording=replace(TERMS, time=9))) == parts_of(DOCUMENT)


@pytest.mark.parametrize("name", CHANGES)
def test_each_part_that_changes_is_told_by_its_name(name: str) -> None:
    before, after = parts_of(DOCUMENT), parts_of(replace(DOCUMENT, **{name: CHANGES[name]}))
    assert [part for part in before if before[part] != after[part]] == [name]


def test_every_field_of_a_document_is_a_part_or_its_number() -> None:
    assert {field.name for field in fields(DOCUMENT)} - set(CHANGES) == {"version", "issued", "cluster"}
    assert set(parts_of(DOCUMENT)) == set(CHANGES)
