"""What a bundle may hold is bounded, whatever lies on the device."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from edge_agent.config import Options
from edge_agent.operations.bundle import BUNDLE_MAX, FILE_MAX, BundleError, bounded, make_bundle
from edge_agent.policy.checkup import Finding

FINDINGS = (Finding("disk", "ok", "room"),)


def bundle(data: Path, output: Path) -> dict[str, bytes]:
    make_bundle(Options(data_dir=str(data)), FINDINGS, "report", str(output))
    with tarfile.open(output) as archive:
        files = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return {name.partition("/")[2]: file.read() for name, file in files.items() if file}


def test_of_a_file_that_is_too_large_its_end_is_kept(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_bytes(b"x" * FILE_MAX + b"the end")
    found = bundle(tmp_path, tmp_path / "bundle.tar.gz")
    assert len(found["policy.json"]) == FILE_MAX
    assert found["policy.json"].endswith(b"the end")
    assert sum(map(len, found.values())) <= BUNDLE_MAX


def test_what_is_not_there_is_said_and_keeps_nothing_from_being_gathered(tmp_path: Path) -> None:
    found = bundle(tmp_path / "none", tmp_path / "bundle.tar.gz")
    assert found["identity.json"] == b"(not there: No such file or directory)\n"
    assert found["doctor.txt"] == b"report\n"
    assert b"python" in found["versions.txt"]


def test_what_makes_no_text_is_carried_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_bytes(b"\xff\x00{")
    assert bundle(tmp_path, tmp_path / "bundle.tar.gz")["node.json"] == "\ufffd\x00{".encode()


def test_a_link_that_lies_where_the_bundle_is_to_be_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "bundle.tar.gz").symlink_to(target)
    with pytest.raises(BundleError, match="is there already"):
        bundle(tmp_path, tmp_path / "bundle.tar.gz")
    assert not target.exists()


def test_once_the_room_is_used_up_nothing_more_is_put_in() -> None:
    members = [(f"{number}.txt", lambda: "x" * FILE_MAX) for number in range(7)]
    sizes = [len(content) for _, content in bounded(iter(members), [])]
    assert sizes == [FILE_MAX] * 5 + [0, 0]


def test_a_file_that_is_there_already_is_not_replaced_and_no_part_of_the_bundle_stays(tmp_path: Path) -> None:
    output = tmp_path / "made" / "bundle.tar.gz"
    output.parent.mkdir()
    output.write_text("precious")
    with pytest.raises(BundleError, match="is there already"):
        bundle(tmp_path, output)
    assert output.read_text() == "precious"
    assert [path.name for path in output.parent.iterdir()] == ["bundle.tar.gz"]
