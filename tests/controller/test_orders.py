"""What the configuration orders for the fleet: one word, whichever process asks, until the controller starts again."""

from __future__ import annotations

from pathlib import Path

from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from protocol.control import PolicyDocument
from tests.controller.harbour import HandClock


def opened(folder: Path, clock: HandClock, orders: str) -> Cluster:
    """Open the cluster as a process does that has just read the configuration."""
    text = f"teleport: {{data_dir: '{folder / 'data'}'}}\nmqtt: {{broker: none}}\n"
    text += f"auth_service: {{cluster_name: harbour, {orders}}}\n"
    return open_cluster(parse_config(text, "controller.yaml"), clock)


def document(cluster: Cluster) -> PolicyDocument:
    return PolicyDocument.decode(cluster.control.policy().body)


def test_a_role_that_reads_an_edited_file_goes_by_what_the_controller_was_started_with(tmp_path: Path) -> None:
    clock = HandClock()
    supervisor = opened(tmp_path, clock, "locking_mode: best_effort")
    supervisor.orders.give()
    before = document(supervisor)
    later = opened(tmp_path, clock, "locking_mode: strict, record_session: strict, record_input: true")
    for _ in range(3):  # they take turns, and none raises the version
        assert document(later) == document(supervisor) == before
    terms = later.terms.current()
    assert (terms.mode, terms.record_input) == ("best_effort", False)
    assert len(list(supervisor.audit.entries(kinds=["SK044I"]))) == 1


def test_what_was_edited_holds_everywhere_once_the_controller_is_started_with_it(tmp_path: Path) -> None:
    clock = HandClock()
    first = opened(tmp_path, clock, "locking_mode: best_effort")
    first.orders.give()
    before = document(first)
    opened(tmp_path, clock, "locking_mode: strict, record_session: strict, record_input: true").orders.give()
    after = document(first)
    assert (after.locking_mode, after.recording.mode, after.recording.record_input) == ("strict", "strict", True)
    assert after.version > before.version


def test_before_any_were_given_a_process_goes_by_its_own(tmp_path: Path) -> None:
    assert document(opened(tmp_path, HandClock(), "locking_mode: strict")).locking_mode == "strict"
