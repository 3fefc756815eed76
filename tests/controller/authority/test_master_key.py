from __future__ import annotations

import os
from pathlib import Path

import pytest

from controller.authority.master_key import (
    KeyPlace,
    find_master_key,
    load_or_create_master_key,
    make_master_key,
    write_master_key,
)
from controller.authority.vault import VaultError


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    """A directory as systemd makes it for a service, with its master key."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    write_master_key(folder / "master-key")
    (folder / "master-key").chmod(0o440)  # what stat(2) says of an ACL for the service's user
    return folder


def place(tmp_path: Path, credentials: Path | None = None) -> KeyPlace:
    variables = {} if credentials is None else {"CREDENTIALS_DIRECTORY": str(credentials)}
    return KeyPlace.of(tmp_path / "data" / "master.key", variables)


def test_the_credential_wins_over_the_file(tmp_path: Path, credentials: Path) -> None:
    in_file = load_or_create_master_key(tmp_path / "data" / "master.key")
    found = find_master_key(place(tmp_path, credentials))
    assert found is not None
    assert found.reveal() != in_file.reveal()


def test_where_there_is_a_credential_no_file_is_made(tmp_path: Path, credentials: Path) -> None:
    before = (credentials / "master-key").read_bytes()
    make_master_key(place(tmp_path, credentials))
    assert not (tmp_path / "data").exists()
    assert (credentials / "master-key").read_bytes() == before
    assert os.listdir(credentials) == ["master-key"]  # noqa: PTH208 - names


@pytest.mark.parametrize("content", [None, b"", b"\n"])
def test_without_a_credential_or_with_a_blank_one_the_file_counts(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    if content is not None:
        (folder / "master-key").write_bytes(content)
    assert find_master_key(place(tmp_path, folder)) is None
    made = make_master_key(place(tmp_path, folder))
    found = find_master_key(place(tmp_path))
    assert found is not None
    assert found.reveal() == made.reveal()


def test_a_damaged_credential_is_refused_and_the_file_does_not_stand_in_for_it(tmp_path: Path) -> None:
    load_or_create_master_key(tmp_path / "data" / "master.key")
    (tmp_path / "master-key").write_bytes(b"garbage")
    with pytest.raises(VaultError, match=r"master-key is damaged; put it back"):
        find_master_key(place(tmp_path, tmp_path))


def test_a_directory_that_is_no_absolute_path_is_none(tmp_path: Path) -> None:
    assert KeyPlace.of(tmp_path, {"CREDENTIALS_DIRECTORY": "credentials"}) == KeyPlace(tmp_path)


def test_a_key_for_a_cluster_to_come_is_private_and_never_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "master-key"
    write_master_key(path)
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(VaultError, match="a cluster may depend on it, and it is left as it is"):
        write_master_key(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["master-key"]  # noqa: PTH208 - names


def test_a_key_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match=r"^cannot make the master key file .*: No such file or directory$"):
        write_master_key(tmp_path / "no such folder" / "master-key")
