from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controller.audit import AuditLog, Intact
from controller.cluster import ClusterError, open_cluster, utc_now
from controller.config import ControllerConfig, parse_config
from protocol import events, names


def config(folder: Path, name: str = "harbour") -> ControllerConfig:
    text = f"teleport: {{data_dir: '{folder / 'data'}'}}\nauth_service: {{cluster_name: {name}}}\n"
    return parse_config(text, "controller.yaml")


def begun(folder: Path) -> list[str]:
    """Return the names under which the audit log was begun, and see that it is whole."""
    log = AuditLog(folder / "data" / "log", names.parse_cluster_name("any"), utc_now)
    assert isinstance(log.verify(opening=events.CLUSTER_CREATE), Intact)
    return [entry["cluster_name"] for entry in log.entries(kinds=["cluster.create"])]


def test_the_first_opening_fixes_the_name_and_begins_the_audit_log_once(tmp_path: Path) -> None:
    for _ in range(3):
        open_cluster(config(tmp_path))
    assert begun(tmp_path) == ["harbour"]


def test_another_name_is_refused_in_one_line_with_the_old_one_and_nothing_is_changed(tmp_path: Path) -> None:
    open_cluster(config(tmp_path))
    with pytest.raises(ClusterError) as caught:
        open_cluster(config(tmp_path, "lighthouse"))
    said = str(caught.value)
    assert "\n" not in said
    assert f'the cluster in {tmp_path / "data"} is named "harbour"' in said
    assert 'auth_service.cluster_name, which says "lighthouse"' in said
    assert begun(tmp_path) == ["harbour"]
    open_cluster(config(tmp_path))


def test_a_data_directory_from_before_names_were_fixed_takes_the_configured_one(tmp_path: Path) -> None:
    open_cluster(config(tmp_path))
    (tmp_path / "data" / "store" / "cluster.json").unlink()
    open_cluster(config(tmp_path))
    assert begun(tmp_path) == ["harbour"]
    with pytest.raises(ClusterError):
        open_cluster(config(tmp_path, "lighthouse"))


def test_a_first_opening_that_a_crash_cut_short_is_completed_by_the_next(tmp_path: Path) -> None:
    half = open_cluster(config(tmp_path))
    (tmp_path / "data" / "store" / "cluster.json").unlink()
    for path in (tmp_path / "data" / "log").glob("audit-*.log"):
        path.write_bytes(b'{"event":"cluster.cre')
    whole = open_cluster(config(tmp_path))
    assert begun(tmp_path) == ["harbour"]
    assert whole.authority.ca_pins() == half.authority.ca_pins()


def test_a_log_that_is_emptied_later_is_not_begun_anew(tmp_path: Path) -> None:
    cluster = open_cluster(config(tmp_path))
    for path in (tmp_path / "data" / "log").glob("audit-*.log"):
        path.unlink()
    assert list(open_cluster(config(tmp_path)).audit.entries()) == []
    assert not isinstance(cluster.audit.verify(opening=events.CLUSTER_CREATE), Intact)


def test_clusters_of_two_names_live_in_two_directories(tmp_path: Path) -> None:
    open_cluster(config(tmp_path))
    open_cluster(replace(config(tmp_path, "lighthouse"), data_dir=tmp_path / "other"))
