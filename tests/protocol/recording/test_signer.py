from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from protocol.recording.signer import SignerError, fingerprint, parse_signer, signer_line

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
LINE = KEY.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def test_a_public_key_is_read_from_its_line_and_written_as_openssh_writes_it() -> None:
    assert parse_signer(LINE) == KEY.public_bytes_raw()
    assert parse_signer(f"  {LINE} root@gw-1 and more\n") == KEY.public_bytes_raw()
    assert signer_line(KEY.public_bytes_raw()) == LINE


def test_the_fingerprint_is_the_one_that_ssh_keygen_shows(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(LINE)
    shown = subprocess.check_output(["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], text=True, timeout=30)
    assert shown.split()[1] == fingerprint(KEY.public_bytes_raw())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 é",
        "ssh-ed25519 !!!!",
        LINE[:-8],
        LINE + "AAAA",
        LINE.replace("ssh-ed25519", "ssh-rsa"),
        "x" * 10_000,
        LINE + " " + "x" * 10_000,
    ],
)
def test_what_is_no_such_key_is_refused(line: str) -> None:
    with pytest.raises(SignerError):
        parse_signer(line)


@given(st.text(max_size=100))
def test_no_text_raises_anything_else(text: str) -> None:
    for line in (text, f"ssh-ed25519 {text}"):
        with pytest.raises(SignerError):
            parse_signer(line)
