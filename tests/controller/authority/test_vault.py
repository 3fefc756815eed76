from __future__ import annotations

import base64
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.authority import Vault, VaultError, load_or_create_master_key
from protocol.secret import Secret

VAULT = Vault(Secret(b"insecure master key of 32 bytes."))


@given(st.binary(max_size=500), st.text(max_size=50).filter(str.isprintable))
def test_what_was_sealed_opens_for_its_purpose_only(plaintext: bytes, purpose: str) -> None:
    sealed = VAULT.seal(plaintext, purpose)
    assert sealed.isascii()
    assert VAULT.open(sealed, purpose).reveal() == plaintext
    with pytest.raises(VaultError):
        VAULT.open(sealed, purpose + "x")


def test_sealing_twice_gives_two_texts() -> None:
    assert VAULT.seal(b"x", "p") != VAULT.seal(b"x", "p")


@pytest.mark.parametrize("sealed", ["", "v1:", "v1:AAAA", "v1:\u00e9", "v1:!!!!", "v2:AAAA", "v1:" + "A" * 60])
def test_what_was_not_sealed_here_does_not_open(sealed: str) -> None:
    with pytest.raises(VaultError, match="totp:alice"):
        VAULT.open(sealed, "totp:alice")


def test_a_changed_seal_does_not_open() -> None:
    blob = base64.b64decode(VAULT.seal(b"insecure secret", "p").removeprefix("v1:"))
    for at in range(len(blob)):
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        with pytest.raises(VaultError):
            VAULT.open("v1:" + base64.b64encode(changed).decode(), "p")


def test_a_mac_is_the_same_for_the_same_data_purpose_and_key_alone() -> None:
    other = Vault(Secret(b"another insecure key of 32 bytes"))
    mac = VAULT.mac(b"data", "p")
    assert len(mac) == 32
    assert VAULT.mac(b"data", "p") == mac
    assert mac not in {VAULT.mac(b"data", "q"), VAULT.mac(b"Data", "p"), other.mac(b"data", "p")}


def test_a_master_key_has_32_bytes() -> None:
    with pytest.raises(VaultError, match="32 bytes"):
        Vault(Secret(b"short"))


def test_the_master_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "master.key"
    first = load_or_create_master_key(path)
    assert load_or_create_master_key(path).reveal() == first.reveal()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(first.reveal()) == 32


def test_a_directory_that_others_use_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc").chmod(0o755)
    load_or_create_master_key(tmp_path / "etc" / "master.key")
    assert (tmp_path / "etc").stat().st_mode & 0o777 == 0o755


def test_a_master_key_that_others_can_read_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    load_or_create_master_key(path)
    path.chmod(0o640)
    with pytest.raises(VaultError, match=f"chmod 600 {path}"):
        load_or_create_master_key(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"skerry-master-key-v1 AAAA\n", b"skerry-master-key-v1 \xff\n"])
def test_a_damaged_master_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(VaultError, match="damaged"):
        load_or_create_master_key(path)
    assert path.read_bytes() == content


def test_a_master_key_in_an_impossible_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VaultError, match="cannot read or make the master key file"):
        load_or_create_master_key(tmp_path / "file" / "master.key")


def _load(path: Path, results: multiprocessing.Queue[bytes]) -> None:
    results.put(load_or_create_master_key(path).reveal())


def test_processes_that_start_at_once_share_one_master_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for turn in range(10):
        results: multiprocessing.Queue[bytes] = context.Queue()
        path = tmp_path / str(turn) / "master.key"
        children = [context.Process(target=_load, args=(path, results)) for _ in range(4)]
        for child in children:
            child.start()
        assert len({results.get(timeout=30) for _ in children}) == 1
        for child in children:
            child.join(30)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_gives_the_master_key_to_the_directorys_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    load_or_create_master_key(tmp_path / "master.key")
    assert (tmp_path / "master.key").stat().st_uid == 65534
