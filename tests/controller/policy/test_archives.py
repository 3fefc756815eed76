from __future__ import annotations

import pytest

from controller.policy.archives import ArchiveName, in_order, newest, parse_archive_name


def test_a_file_name_says_version_and_architecture() -> None:
    file = "skerry-agent-1.2.3-linux-arm64.tar.gz"
    assert parse_archive_name(file) == ArchiveName(file, "1.2.3", "arm64")


@pytest.mark.parametrize(
    "file",
    [
        "",
        "SHA256SUMS",
        "skerry-agent-1.2.3-linux-arm64.tar.gz\n",
        "skerry-agent-1.2.3-linux-armv7l.tar.gz",
        "skerry-agent-$(id)-linux-amd64.tar.gz",
        "skerry-agent-1/../../etc-linux-amd64.tar.gz",
        "skerry-agent--linux-amd64.tar.gz",
        "skerry-controller-1.2.3-linux-amd64.tar.gz",
        f"skerry-agent-{'1' * 100}-linux-amd64.tar.gz",
    ],
)
def test_any_other_file_is_no_archive(file: str) -> None:
    with pytest.raises(ValueError, match="not named"):
        parse_archive_name(file)


def test_of_each_architecture_the_newest_is_chosen() -> None:
    files = ["0.9.0-linux-amd64", "0.10.0-linux-amd64", "0.2.0-linux-amd64", "0.9.0-linux-arm64"]
    names = [parse_archive_name(f"skerry-agent-{file}.tar.gz") for file in files]
    assert {name: found.version for name, found in newest(names).items()} == {"amd64": "0.10.0", "arm64": "0.9.0"}


def test_the_newest_stand_first() -> None:
    names = [parse_archive_name(f"skerry-agent-{version}-linux-amd64.tar.gz") for version in ("0.9", "0.10", "0.10rc1")]
    assert [name.version for name in in_order(names)] == ["0.10", "0.10rc1", "0.9"]
