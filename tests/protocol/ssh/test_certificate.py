from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ssh.certificate import (
    BadCertificateError,
    key_blob,
    key_line,
    parse_certificate,
    parse_certificate_line,
)

Certify = Any


def blob_of(path: Path) -> bytes:
    return key_blob(path.read_text())


def test_a_user_certificate_by_openssh_is_read(authority: Path, key: Path, certify: Certify) -> None:
    path = certify(
        authority,
        *("-n", "root,pi", "-z", "18446744073709551615", "-V", "20260101000000Z:20270101000000Z"),
        *("-O", "clear", "-O", "permit-pty", "-O", "force-command=true"),
        *("-O", "extension:user@skerry=alice"),
    )
    certificate = parse_certificate_line(path.read_text())
    assert (certificate.kind, certificate.key_id, certificate.serial) == ("user", "alice", 2**64 - 1)
    assert certificate.principals == ("root", "pi")
    assert certificate.valid_after == datetime(2026, 1, 1, tzinfo=UTC)
    assert certificate.valid_before == datetime(2027, 1, 1, tzinfo=UTC)
    assert certificate.critical_options == {"force-command": b"true"}
    assert certificate.extensions == {"permit-pty": b"", "user@skerry": b"alice"}
    assert certificate.signing_key == blob_of(authority.with_suffix(".pub"))
    assert certificate.public_key == blob_of(key.with_suffix(".pub"))


def test_a_host_certificate_without_an_end_ends_with_time(authority: Path, certify: Certify) -> None:
    certificate = parse_certificate_line(certify(authority, "-h", "-n", "kiosk").read_text())
    assert certificate.kind == "host"
    assert certificate.valid_after == datetime(1970, 1, 1, tzinfo=UTC)
    assert certificate.valid_before == datetime(9999, 12, 31, tzinfo=UTC)


@pytest.mark.parametrize("kind", [["rsa", "-b", "3072"], ["ecdsa", "-b", "384"]])
def test_certificates_by_other_kinds_of_authority_are_read(tmp_path: Path, certify: Certify, kind: list[str]) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-N", "", "-C", "", "-f", other], check=True, timeout=60)
    certificate = parse_certificate_line(certify(other, "-n", "root").read_text())
    assert certificate.signing_key == blob_of(other.with_suffix(".pub"))


def test_a_plain_key_is_no_certificate(key: Path) -> None:
    with pytest.raises(BadCertificateError, match="a plain public key"):
        parse_certificate_line(key.with_suffix(".pub").read_text())


def test_a_certificate_with_any_byte_changed_or_cut_is_refused(authority: Path, certify: Certify) -> None:
    blob = blob_of(certify(authority, "-n", "root,pi", "-O", "extension:user@skerry=alice"))
    for at in range(len(blob)):
        for flip in (1, 128):
            with pytest.raises(BadCertificateError):
                parse_certificate(blob[:at] + bytes([blob[at] ^ flip]) + blob[at + 1 :])
        with pytest.raises(BadCertificateError):
            parse_certificate(blob[:at])


def test_a_principal_that_is_no_text_is_refused(authority: Path, certify: Certify) -> None:
    path = certify(authority, "-n", b"\xff".decode("utf-8", "surrogateescape"))
    with pytest.raises(BadCertificateError, match="UnicodeDecodeError"):
        parse_certificate_line(path.read_text())


@settings(max_examples=300)
@given(st.binary() | st.binary().map(lambda rest: b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com" + rest))
def test_any_bytes_are_refused_as_a_certificate(blob: bytes) -> None:
    with pytest.raises(BadCertificateError):
        parse_certificate(blob)


def test_a_key_goes_between_line_and_wire_form(key: Path) -> None:
    line = key.with_suffix(".pub").read_text().strip()
    blob = key_blob(line)
    assert key_line(blob) == line
    assert key_line(blob, "a comment") == f"{line} a comment"
    assert key_blob(f"  {line} a comment\n") == blob


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!!",
        "ssh-ed25519 AAAA",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5",
        "\ud800 AAAA",
        "x \ud800",
    ],
)
def test_what_is_no_key_line_is_refused(line: str) -> None:
    with pytest.raises(BadCertificateError, match="not an OpenSSH public key line"):
        key_blob(line)


@given(st.text())
def test_any_line_is_a_key_or_refused(line: str) -> None:
    try:
        blob = key_blob(line)
    except BadCertificateError:
        return
    assert key_line(blob).split()[0] == line.split(maxsplit=1)[0]
