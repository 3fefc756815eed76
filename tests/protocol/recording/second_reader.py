"""Another reader of recordings, written from docs/recording-format.md alone: it shares no line with the project's own.

What it does not like it says with one of `FAULTS`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FAULTS = (ValueError, LookupError, TypeError, InvalidTag, InvalidSignature, zstandard.ZstdError, struct.error)
DICTIONARIES = Path(__file__).parents[3] / "protocol" / "recording"


@dataclass
class Found:
    """What is in a recording: header, records in their order, the chain's value after the last, and the rest."""

    signer: bytes
    key: bytes | None
    cluster_key: bytes | None
    header: dict[str, Any] = field(default_factory=dict)
    wrapped: bytes = b""
    records: list[dict[str, Any]] = field(default_factory=list)
    chain: bytes = b""
    begin: int = 0
    rest: bytes = b""


def read(data: bytes, signer: bytes, key: bytes | None, cluster_key: bytes | None = None) -> Found:
    """Read a recording. Its own key is given, or the cluster's private one, or neither for cipher none."""
    found, at, number = Found(signer, key, cluster_key), 8, 0
    if data[:8] != b"SKERRYR1":
        raise ValueError("magic")
    found.chain = hashlib.sha256(data[:8]).digest()
    while at + 13 <= len(data):
        kind, size, told, link = struct.unpack(">cII4s", data[at : at + 13])
        stem, body = data[at : at + 9], data[at + 13 : at + 13 + size]
        if len(body) < size:
            break
        after = hashlib.sha256(found.chain + stem + body).digest()
        if told != number or link != after[:4] or (kind == b"H") != (number == 0):
            raise ValueError(f"record {number}: out of place")
        {b"H": take_header, b"D": take_data, b"S": take_seal}[kind](found, stem, body)
        found.chain, at, number = after, at + 13 + size, number + 1
    found.rest = data[at:]
    return found


def take_header(found: Found, _: bytes, body: bytes) -> None:
    """Take the header, and open the recording's key where the cluster's is there."""
    line, _, found.wrapped = body.partition(b"\n")
    found.header = json.loads(line)
    if base64.b64decode(found.header["signer"]) != found.signer or found.header["version"] != 1:
        raise ValueError("another's")
    if found.cluster_key:
        found.key = unwrap(found, found.cluster_key)


def take_data(found: Found, stem: bytes, body: bytes) -> None:
    """Take a data record's lines."""
    if int.from_bytes(body[:5], "big") < found.begin:
        raise ValueError("earlier")
    found.begin, frame = int.from_bytes(body[:5], "big"), body[5:]
    if found.header["cipher"] == "AES-256-GCM":
        nonce = bytes(8) + stem[5:9]
        frame = AESGCM(found.key or b"").decrypt(nonce, frame, found.chain + stem + body[:5])
    content = unpack(frame, found.header["dictionary"])
    found.records.append({"begin": found.begin, "content": content, "events": list(events(content))})


def events(content: bytes) -> Iterator[list[Any]]:
    """Yield time in milliseconds, code and text of each event."""
    while content:
        line, _, content = content.partition(b"\n")
        event = json.loads(line)
        if isinstance(event, dict):
            continue
        time, code, data = event
        if isinstance(data, dict):
            size = data["raw"]
            if content[size : size + 1] != b"\n":
                raise ValueError("raw output without its end")
            data, content = content[:size].decode(errors="replace"), content[size + 1 :]
        yield [round(time * 1000), code, data]


def take_seal(found: Found, stem: bytes, body: bytes) -> None:
    """Take a seal whose signature is good."""
    reason, device, corrected, until, signature = struct.unpack(">BQQQ64s", body)
    said = b"skerry recording seal v1\0" + found.chain + stem + body[:25]
    Ed25519PublicKey.from_public_bytes(found.signer).verify(signature, said)
    name = ("running", "final", "interrupted", "stopped")[reason]
    found.records.append({"seal": name, "device": device, "corrected": corrected, "at": until})


def summaries(found: Found) -> list[tuple[int, str, str]]:
    """Return size, stream and SHA-256 of each output that was no text."""
    told = [event for record in found.records for event in record.get("events", [])]
    texts = [text.split(" ") for _, code, text in told if code == "b"]
    return [(int(count), stream, digest.removeprefix("sha256:")) for count, stream, digest in texts]


def unpack(frame: bytes, dictionary: int) -> bytes:
    """Return a frame's content: with a magic number in front of it, any zstd reads it."""
    file = DICTIONARIES / f"dictionary-{dictionary}.zdict"
    known = zstandard.ZstdCompressionDict(file.read_bytes()) if dictionary else None
    return zstandard.ZstdDecompressor(dict_data=known).decompress(b"\x28\xb5\x2f\xfd" + frame, allow_extra_data=False)


def unwrap(found: Found, cluster_key: bytes) -> bytes:
    """Return the recording's own key: X-Wing, then RFC 9180 section 5.1 with HKDF-SHA256, spelt out."""
    ciphertext, share, sealed = found.wrapped[:1088], found.wrapped[1088:1120], found.wrapped[1120:]
    mlkem = MLKEM768PrivateKey.from_seed_bytes(cluster_key[:64])
    x25519 = X25519PrivateKey.from_private_bytes(cluster_key[64:])
    parts = mlkem.decapsulate(ciphertext), x25519.exchange(X25519PublicKey.from_public_bytes(share)), share
    shared = hashlib.sha3_256(b"".join(parts) + x25519.public_key().public_bytes_raw() + b"\\.//^\\").digest()
    suite = b"HPKE\x64\x7a\x00\x01\x00\x02"
    info = f"skerry recording key v1\n{found.header['session']}\n{found.header['node']}".encode()

    def extract(salt: bytes, label: bytes, what: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + what, "sha256")

    def expand(secret: bytes, label: bytes, what: bytes, size: int) -> bytes:
        return hmac.digest(secret, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + what + b"\1", "sha256")[:size]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    key, nonce = expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, sealed, b"")
