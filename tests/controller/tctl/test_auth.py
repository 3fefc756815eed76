from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from controller.audit import Intact
from controller.authority import ROTATABLE_KINDS, RotatableKind
from controller.cluster import Cluster
from controller.policy.liveness import Standing
from controller.policy.rotation import Phase
from protocol.decision import Granted
from protocol.names import NodeId
from tests.controller.harbour import PING, WEB, Device
from tests.controller.presence.crier import telling
from tests.controller.tctl.conftest import STATIC_TOKEN
from tests.harness.tape import Tape

ON: tuple[Phase, ...] = ("init", "update_clients", "update_servers", "standby")
Tctl = Callable[..., subprocess.CompletedProcess[str]]


def rotations(cluster: Cluster) -> list[tuple[str, str]]:
    assert isinstance(cluster.audit.verify(), Intact)
    return [(entry["key_id"], entry["via"]) for entry in cluster.audit.entries(kinds=["recording_key.rotate"])]


def test_a_rotation_changes_the_key_says_so_and_is_audited(tctl: Tctl, cluster: Cluster) -> None:
    before = cluster.authority.recording_key()
    done = tctl("auth", "rotate", "--type", "recording")
    after = cluster.authority.recording_key()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"The recording key has been rotated. New recordings are locked with {after[0]} within an hour; "
        "those from before still open.\n"
    )
    assert after != before
    assert rotations(cluster) == [(after[0], "tctl")]
    assert cluster.terms.current().key_id == after[0]


def test_what_was_recorded_before_two_rotations_still_opens(tctl: Tctl, cluster: Cluster) -> None:
    tape = Tape(recipient=cluster.authority.recording_key())
    for _ in range(2):
        assert tctl("auth", "rotate", "--type=recording").returncode == 0
    key = cluster.authority.open_recording(tape.header)
    assert key is not None
    assert tape.key is not None
    assert key.reveal() == tape.key.reveal()


def test_nothing_is_rotated_where_it_is_not_said_what(tctl: Tctl, cluster: Cluster) -> None:
    before = cluster.authority.recording_key()
    for arguments in ([], ["--type", "all"], ["--type", ""]):
        done = tctl("auth", "rotate", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--type" in done.stderr
        assert "recording" in done.stderr
    assert cluster.authority.recording_key() == before
    assert rotations(cluster) == []


def test_a_rotation_that_cannot_be_audited_does_not_happen(tctl: Tctl, cluster: Cluster) -> None:
    before = cluster.authority.recording_key()
    log = cluster.config.data_dir / "log"
    log.rename(log.with_name("aside"))
    log.write_text("in the way")
    done = tctl("auth", "rotate", "--type", "recording")
    assert done.returncode == 1
    assert "recording_key.rotate" in done.stderr
    assert cluster.authority.recording_key() == before


def phases(cluster: Cluster) -> list[tuple[str, str, str]]:
    assert isinstance(cluster.audit.verify(), Intact)
    entries = cluster.audit.entries(kinds=["cert_authority.rotate"])
    return [(entry["type"], entry["before"], entry["phase"]) for entry in entries]


@pytest.mark.parametrize("kind", ROTATABLE_KINDS)
def test_a_rotation_goes_phase_by_phase_each_says_what_is_next_and_is_audited(
    tctl: Tctl, cluster: Cluster, kind: RotatableKind
) -> None:
    before = cluster.authority.fingerprints(kind)
    following = ("update_clients", "update_servers", "standby", "init")
    for phase, then in zip(ON, following, strict=True):
        done = tctl("auth", "rotate", "--manual", f"--type={kind}", f"--phase={phase}")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{kind} CA: {phase if phase != 'standby' else 'rotated'} ")
        assert f"\n    tctl auth rotate --type {kind} --phase {then}\n" in done.stdout
    assert phases(cluster) == [(kind, *pair) for pair in pairwise(("standby", *ON))]
    assert len(cluster.authority.fingerprints(kind)) == 1
    assert cluster.authority.fingerprints(kind) != before


def test_without_a_phase_it_is_told_where_a_rotation_stands_and_nothing_is_changed(
    tctl: Tctl, cluster: Cluster
) -> None:
    shown = tctl("auth", "rotate", "--type", "user")
    assert shown.stdout.splitlines() == [
        "user CA: never updated",
        "One key signs and is trusted.",
        "A rotation begins with:",
        "    tctl auth rotate --type user --phase init",
    ]
    tctl("auth", "rotate", "--type", "user", "--phase", "init")
    told = json.loads(tctl("auth", "rotate", "--type", "user", "--format", "json").stdout)
    assert (told["type"], told["phase"], told["next"]) == ("user", "init", ["update_clients", "rollback"])
    assert "    tctl auth rotate --type user --phase rollback\n" in tctl("auth", "rotate", "--type", "user").stdout
    assert phases(cluster) == [("user", "standby", "init")]


def test_a_phase_in_the_wrong_order_is_one_clear_error(tctl: Tctl, cluster: Cluster) -> None:
    done = tctl("auth", "rotate", "--type", "host", "--phase", "update_servers")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "ERROR: the host CA cannot be rotated so: it is in the phase standby, which update_servers cannot follow; "
        "what may come next is init. Nothing was changed; see `tctl auth rotate --type host`\n"
    )
    assert phases(cluster) == []
    assert tctl("auth", "rotate", "--type", "recording", "--phase", "init").returncode == 2
    assert rotations(cluster) == []


def test_a_rotation_that_is_rolled_back_says_so(tctl: Tctl, cluster: Cluster) -> None:
    before = cluster.authority.fingerprints("host")
    for phase in ("init", "update_clients", "update_servers", "rollback"):
        assert tctl("auth", "rotate", "--type", "host", "--phase", phase).returncode == 0
    done = tctl("auth", "rotate", "--type", "host", "--phase", "standby")
    assert done.stdout.startswith("host CA: never updated\n")
    assert cluster.authority.fingerprints("host") == before
    assert phases(cluster)[-2:] == [("host", "update_servers", "rollback"), ("host", "rollback", "standby")]


def join(cluster: Cluster, name: str) -> NodeId:
    joined = cluster.enrolment.join(Device(name).request(STATIC_TOKEN), PING, WEB)
    assert isinstance(joined, Granted)
    return joined.value.node_id


@pytest.mark.parametrize("kind", ["host", "tls"])
@pytest.mark.parametrize("before", ["update_servers", "rollback"])
def test_a_key_that_nodes_which_are_online_go_by_is_dropped_by_force_alone(
    tctl: Tctl, cluster: Cluster, kind: RotatableKind, before: Phase
) -> None:
    later = cluster.clock() + timedelta(minutes=1)
    entered = ON[:3] if before == "update_servers" else (*ON[:3], before)
    ids = {} if before == "rollback" else {name: join(cluster, name) for name in ("awake", "asleep")}
    for phase in entered:
        if phase == "rollback":  # certificates of the new key are what is to be replaced then
            ids = {name: join(cluster, name) for name in ("awake", "asleep")}
        cluster.authority.rotate(kind, phase, later)
    standby = ("auth", "rotate", "--type", kind, "--phase", "standby")
    known = {ids["awake"]: Standing("online"), ids["asleep"]: Standing("offline")}
    with telling(cluster.config.data_dir, known):
        done = tctl(*standby)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"the {kind} CA keeps both keys, since 1 node that is online has not renewed yet: awake." in done.stderr
        assert cluster.authority.rotation(kind).phase == before
        assert tctl(*standby, "--force").returncode == 0
    assert cluster.authority.rotation(kind).phase == "standby"


@pytest.mark.parametrize("kind", ["host", "tls"])
def test_nodes_that_sleep_do_not_hold_a_rotation_up(tctl: Tctl, cluster: Cluster, kind: RotatableKind) -> None:
    node_id = join(cluster, "asleep")
    for phase in ON[:3]:
        cluster.authority.rotate(kind, phase, cluster.clock() + timedelta(minutes=1))
    with telling(cluster.config.data_dir, {node_id: Standing("offline")}):
        assert tctl("auth", "rotate", "--type", kind, "--phase", "standby").returncode == 0


def test_a_phase_that_cannot_be_audited_is_not_entered(tctl: Tctl, cluster: Cluster) -> None:
    log = cluster.config.data_dir / "log"
    log.rename(log.with_name("aside"))
    log.write_text("in the way")
    done = tctl("auth", "rotate", "--type", "tls", "--phase", "init")
    assert done.returncode == 1
    assert "cert_authority.rotate" in done.stderr
    assert cluster.authority.rotation("tls").phase == "standby"


def test_openssh_trusts_what_is_exported(tctl: Tctl, cluster: Cluster, tmp_path: Path) -> None:
    cluster.authority.rotate("host", "init", cluster.clock())
    cluster.authority.rotate("user", "init", cluster.clock())
    known = tctl("auth", "export", "--type", "host").stdout
    assert len(known.splitlines()) == 2
    (tmp_path / "known_hosts").write_text(known)
    command = ["ssh-keygen", "-F", "gw-1", "-f", "known_hosts"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    for line in cluster.authority.ssh_authorities("host"):
        assert f"@cert-authority * {line.split()[0]} {line.split()[1]}" in found
    users = tctl("auth", "export", "--type", "user").stdout.splitlines()
    assert [line.split()[:3] for line in users] == [
        ["cert-authority", *line.split()[:2]] for line in cluster.authority.ssh_authorities("user")
    ]
    assert users[0].endswith(" clustername=harbour&type=user")


def test_the_tls_authorities_are_exported_in_pem_without_keys(tctl: Tctl, cluster: Cluster) -> None:
    cluster.authority.rotate("tls", "init", cluster.clock())
    assert tctl("auth", "export", "--type", "tls").stdout == "".join(cluster.authority.tls_authorities())
    untyped = tctl("auth", "export")
    assert (untyped.returncode, untyped.stderr.splitlines()[-1]) == (
        2,
        "ERROR: Missing option '--type'. Choose from: user, host, tls",
    )
    assert tctl("auth", "export", "--type", "recording").returncode == 2
