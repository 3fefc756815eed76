"""One cluster for each file of tests, and one browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.harness.real_cluster import RealCluster
from tests.system.dashboard.quay import CHROMIUM, FLAGS, Quay


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def cluster_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    cluster = RealCluster(tmp_path_factory.mktemp("quay"))
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def whole_quay(cluster_of_module: RealCluster, chromium: Browser) -> Quay:
    return Quay(cluster_of_module, chromium)


@pytest.fixture
def quay(whole_quay: Quay) -> Iterator[Quay]:
    """The module's quay; a test's browsers are closed after it."""
    yield whole_quay
    whole_quay.close_desks()
