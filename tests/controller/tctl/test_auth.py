from __future__ import annotations

import subprocess
from collections.abc import Callable

from controller.audit import Intact
from controller.cluster import Cluster
from tests.harness.tape import Tape

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
    for arguments in ([], ["--type", "user"], ["--type", ""]):
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
