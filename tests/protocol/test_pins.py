from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from protocol import pins
from protocol.pins import PinError

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def certificate(key: ec.EllipticCurvePrivateKey, name: str = "test") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    return builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1)).sign(key, SHA256())


def pem(*made: x509.Certificate) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in made)


def pin(made: x509.Certificate) -> str:
    return pins.spki_pin(made.public_bytes(Encoding.DER))


def test_a_pin_names_the_key_and_not_the_certificate() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, renewed, other = (
        certificate(key),
        certificate(key, "renewed"),
        certificate(ec.generate_private_key(ec.SECP256R1())),
    )
    assert pin(first) == pin(renewed) != pin(other)
    assert pins.certificate_pin(pem(first, other)) == pin(first)


def test_a_pin_is_what_openssl_computes(tmp_path: Path) -> None:
    made = certificate(ec.generate_private_key(ec.SECP256R1()))
    (tmp_path / "ca.pem").write_text(pem(made))
    script = "openssl x509 -in ca.pem -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert pin(made) == "sha256:" + done.stdout.split()[0]


def test_anchors_are_those_that_match_a_pin() -> None:
    made = [certificate(ec.generate_private_key(ec.SECP256R1()), str(count)) for count in range(3)]
    assert pins.choose_anchors(pem(*made), [pin(made[1])]) == (pem(made[1]),)
    assert pins.choose_anchors(pem(*made), [pin(made[2]).upper(), pin(made[0])]) == (pem(made[0]), pem(made[2]))


def test_a_bundle_without_the_pinned_key_names_what_was_expected_and_found() -> None:
    made = certificate(ec.generate_private_key(ec.SECP256R1()))
    wanted = "sha256:" + "0" * 64
    with pytest.raises(PinError, match=f"expected {wanted}, found {pin(made)}"):
        pins.choose_anchors(pem(made), [wanted])
    with pytest.raises(PinError, match="expected nothing"):
        pins.choose_anchors(pem(made), [])


@pytest.mark.parametrize("text", ["sha256:" + "aB" * 32, "SHA256:" + "AB" * 32, "  sha256:" + "ab" * 32 + "\n"])
def test_a_pin_is_read_in_any_case(text: str) -> None:
    assert pins.parse_pin(text) == "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    "text", ["", "ab" * 32, "sha256:", "sha256:" + "g" * 64, "sha256:" + "a" * 63, "sha1:" + "a" * 40, None, b"x"]
)
def test_what_is_no_pin_is_refused(text: object) -> None:
    with pytest.raises(PinError, match="not a CA pin"):
        pins.parse_pin(text)


@pytest.mark.parametrize(
    "bundle", ["", "garbage", "\ud800", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "x" * 300_000]
)
def test_what_is_no_bundle_is_refused(bundle: str) -> None:
    with pytest.raises(PinError, match="bundle"):
        pins.choose_anchors(bundle, ["sha256:" + "0" * 64])
    with pytest.raises(PinError):
        pins.spki_pin(bundle.encode("utf-8", "replace"))


@given(st.text() | st.binary() | st.none() | st.integers())
def test_any_pin_is_read_or_refused(value: Any) -> None:  # noqa: ANN401 - whatever a person typed
    with pytest.raises(PinError):
        pins.parse_pin(value)


def test_a_key_of_an_unknown_kind_is_refused() -> None:
    made = certificate(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.DER)
    # The object identifier of an elliptic curve's public key, 1.2.840.10045.2.1, becomes one that nobody has.
    strange = made.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f"), 1)
    assert strange != made
    with pytest.raises(PinError, match="kind that is not known"):
        pins.spki_pin(strange)


def test_the_certificate_library_is_not_loaded_before_a_pin_is_used() -> None:
    script = (
        "import sys, protocol.pins as p; p.parse_pin('sha256:' + 'a' * 64); sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_a_bundle_is_read_certificate_by_certificate() -> None:
    made = [certificate(ec.generate_private_key(ec.SECP256R1()), str(count)) for count in range(2)]
    assert pins.read_bundle(pem(*made)) == (pem(made[0]), pem(made[1]))
    for garbage in ("", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(PinError, match="not a bundle"):
            pins.read_bundle(garbage)
