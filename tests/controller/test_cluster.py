from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.audit import AuditLog, Intact
from controller.authority import AuthorityError
from controller.authority.master_key import write_master_key
from controller.cluster import ClusterError, open_cluster, utc_now
from controller.config import ControllerConfig, parse_config
from controller.policy.retention import Retention
from controller.policy.upload import Piece
from protocol import events, names
from protocol.decision import Granted
from protocol.secret import Secret
from tests.controller.harbour import ADMIN, PING, STATIC, WEB, Device, HandClock
from tests.harness.tape import short_tape


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


def test_a_cluster_from_before_recordings_gets_its_recording_key_at_the_next_opening(tmp_path: Path) -> None:
    old = open_cluster(config(tmp_path))
    old.store.collection("authorities").delete("recording", now=utc_now())
    new = open_cluster(config(tmp_path))
    assert new.terms.current().key_id == new.authority.recording_key()[0]
    assert new.authority.ca_pins() == old.authority.ca_pins()
    assert begun(tmp_path) == ["harbour"]


def test_the_terms_are_the_configuration_s(tmp_path: Path) -> None:
    settings = replace(config(tmp_path), record_session="off", record_input=True)
    terms = open_cluster(settings).terms.current()
    assert (terms.mode, terms.record_input) == ("off", True)


def test_recordings_go_when_the_configuration_says_so(tmp_path: Path) -> None:
    clock = HandClock()
    settings = replace(config(tmp_path), recording_retention=Retention(age=timedelta(days=30)))
    cluster = open_cluster(replace(settings, static_tokens=(Secret(STATIC),)), clock)
    device = Device()
    joined = cluster.enrolment.join(device.request(STATIC), PING, WEB)
    assert isinstance(joined, Granted)
    node = cluster.enrolment.nodes.get(joined.value.node_id)
    assert node is not None
    tape = short_tape(signing=device.key, node=node.node_id, recipient=cluster.authority.recording_key())
    assert isinstance(cluster.recordings.begin(node, tape.session, None, "192.0.2.9:1"), Granted)
    assert isinstance(cluster.recordings.append(node, tape.session, Piece(0, tape.content), "192.0.2.9:1"), Granted)
    clock.move(days=29)
    assert (cluster.expire_recordings(), len(cluster.recordings.entries())) == (0, 1)
    clock.move(days=1)
    assert (cluster.expire_recordings(), len(cluster.recordings.entries())) == (1, 0)


def test_clusters_of_two_names_live_in_two_directories(tmp_path: Path) -> None:
    open_cluster(config(tmp_path))
    open_cluster(replace(config(tmp_path, "lighthouse"), data_dir=tmp_path / "other"))


def test_locks_that_are_over_are_dropped_for_good_and_others_kept(tmp_path: Path) -> None:
    clock = HandClock()
    cluster = open_cluster(config(tmp_path), clock)
    cluster.locks.add("user", "alice", "", timedelta(hours=1), ADMIN)
    kept = cluster.locks.add("user", "bob", "", None, ADMIN)
    clock.move(hours=1)
    assert cluster.purge() == 1
    assert cluster.locks.list() == [kept]


def test_a_cluster_that_has_lost_its_master_key_is_told_so_and_no_other_is_made(tmp_path: Path) -> None:
    open_cluster(config(tmp_path))
    (tmp_path / "data" / "master.key").unlink()
    with pytest.raises(AuthorityError) as caught:
        open_cluster(config(tmp_path))
    assert "has lost its master key" in str(caught.value)
    assert "auth_service.master_key_file" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "master.key").exists()


def test_another_cluster_s_master_key_is_refused_before_anything_is_sealed_with_it(tmp_path: Path) -> None:
    open_cluster(config(tmp_path))
    (tmp_path / "data" / "master.key").unlink()
    write_master_key(tmp_path / "data" / "master.key")
    with pytest.raises(AuthorityError, match="the master key file is not the one it was sealed with"):
        open_cluster(config(tmp_path))


def test_the_master_key_may_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = replace(config(tmp_path), master_key_file=tmp_path / "etc" / "master-key")
    open_cluster(elsewhere)
    assert not (tmp_path / "data" / "master.key").exists()
    open_cluster(elsewhere)
    with pytest.raises(AuthorityError, match="has lost its master key"):
        open_cluster(config(tmp_path))
