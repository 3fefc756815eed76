from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest
from asyncssh.encryption import get_encryption_algs

from protocol.ssh import algorithms


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    algorithms.has_aes.cache_clear()


@pytest.mark.parametrize(
    ("cpuinfo", "aes"),
    [
        ("flags\t\t: fpu vme aes avx\n", True),
        ("Features\t: fp asimd aes pmull\n", True),
        ("flags\t\t: fpu vaes-not vme\nmodel name: aes\n", False),
        ("", False),
    ],
)
def test_the_cipher_that_the_cpu_computes_itself_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, aes: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(algorithms, "Path", lambda _: tmp_path / "cpuinfo")
    assert algorithms.has_aes() == aes
    assert algorithms.ciphers()[0] == ("aes128-gcm@openssh.com" if aes else "chacha20-poly1305@openssh.com")


def test_a_system_that_does_not_tell_has_no_aes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithms, "Path", lambda _: tmp_path / "missing")
    assert not algorithms.has_aes()


def test_the_library_knows_every_cipher_and_none_is_cbc() -> None:
    known = get_encryption_algs()
    offered = {name.encode() for name in algorithms.ciphers()}
    assert offered <= set(known)
    assert not any(b"cbc" in name for name in offered)


def test_the_library_takes_all_that_is_offered_and_nothing_of_it_is_old() -> None:
    options = asyncssh.SSHServerConnectionOptions(**algorithms.offered())
    for names in (options.kex_algs, options.mac_algs, options.signature_algs):
        assert names
        for name in names:
            assert not any(old in name for old in (b"sha1", b"md5", b"group", b"rsa2048", b"ssh-rsa", b"dss"))
    assert options.kex_algs[0] == b"mlkem768x25519-sha256"
