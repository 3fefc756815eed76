"""What the tests of recordings share."""

from __future__ import annotations

import os
import random

import pytest

from tests.harness.real_cluster import Person, RealCluster
from tests.harness.recordings import Archive


@pytest.fixture
def chance() -> random.Random:
    """Randomness whose seed is shown where the test fails; SKERRY_TEST_SEED sets it."""
    seed = int(os.environ.get("SKERRY_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SKERRY_TEST_SEED={seed}")
    return random.Random(seed)  # noqa: S311 - to be repeated, not to be secret


@pytest.fixture
def alice(cluster: RealCluster) -> Person:
    """A person who is signed in to the fresh cluster."""
    person = cluster.add_user("alice")
    cluster.sign_in(person)
    return person


@pytest.fixture
def archive(cluster: RealCluster) -> Archive:
    """What the fresh cluster keeps."""
    return Archive(cluster)
