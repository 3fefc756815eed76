"""The user's own certificate, read without cryptography, against one that a real authority signed."""

from __future__ import annotations

import base64
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import names
from protocol.certificates import node_order, user_order
from protocol.names import Login, RoleName
from tests.harness.simulated_authority import SshAuthority, public_line
from tsh.certificate import UnreadableCertificateError, read_certificate

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
AUTHORITY = SshAuthority()
KEY = public_line(Ed25519PrivateKey.generate())
ORDER = user_order(
    user=names.parse_user_name("alice"),
    roles=(RoleName("access"), RoleName("ops")),
    logins=(Login("root"), Login("ubuntu")),
    ttl=timedelta(hours=12),
    serial=1,
    now=NOW,
)
LINE = AUTHORITY.sign(ORDER, KEY)
BLOB = base64.b64decode(LINE.split()[1])


def test_what_was_signed_is_read() -> None:
    facts = read_certificate(LINE)
    assert facts.logins == ("root", "ubuntu")
    assert facts.valid_before == NOW + timedelta(hours=12)
    assert facts.extensions["roles@skerry"] == "access,ops"
    assert facts.permissions() == ["permit-agent-forwarding", "permit-port-forwarding", "permit-pty"]


def test_what_stands_for_no_login_is_none() -> None:
    assert read_certificate(AUTHORITY.sign(replace(ORDER, principals=("-skerry-nologin-1",)), KEY)).logins == ()


def test_host_certificate_and_plain_key_are_refused() -> None:
    node_id, name = names.parse_node_id("ae79f375-633e-4a81-941e-83faf4a3c966"), names.parse_node_name("web1")
    cluster = names.parse_cluster_name("harbour")
    host = node_order(node_id=node_id, name=name, cluster=cluster, generation=1, serial=1, now=NOW)
    for line in (AUTHORITY.sign(host, KEY), KEY, "", "ssh-ed25519-cert-v01@openssh.com", "x !"):
        with pytest.raises(UnreadableCertificateError):
            read_certificate(line)


def test_every_cut_is_refused() -> None:
    read_through = BLOB.index(b"roles@skerry") + 20  # what stands behind the extensions is not read
    for size in range(read_through):
        with pytest.raises(UnreadableCertificateError):
            read_certificate(f"x {base64.b64encode(BLOB[:size]).decode()}")


@given(st.integers(min_value=0, max_value=len(BLOB) - 1), st.integers(min_value=0, max_value=255))
def test_any_changed_byte_gives_facts_or_the_declared_error(place: int, value: int) -> None:
    changed = BLOB[:place] + bytes([value]) + BLOB[place + 1 :]
    with contextlib.suppress(UnreadableCertificateError):
        read_certificate(f"x {base64.b64encode(changed).decode()}")


@given(st.text())
def test_any_text_gives_facts_or_the_declared_error(text: str) -> None:
    with contextlib.suppress(UnreadableCertificateError):
        read_certificate(text)
