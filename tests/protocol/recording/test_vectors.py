from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.recording import cast, cipher, frame, framing, seal
from protocol.recording.fault import RecordingError
from protocol.recording.header import Header, WrappedKey
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, HeaderRecord, Reader, SealRecord
from protocol.recording.seal import Seal
from protocol.recording.writer import Writer
from protocol.secret import Secret
from tests.protocol.recording import second_reader

VECTORS = Path(__file__).parents[2] / "vectors"
SIGNER = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
NAMES = sorted(path.stem for path in VECTORS.glob("*.skr"))


def content_of(step: dict[str, Any]) -> bytes:
    """Return the content of a data record, as a vector has it."""
    return step["lines"].encode() if "lines" in step else base64.b64decode(step["base64"])


class Vector:
    """A golden recording and what is said of it."""

    def __init__(self, name: str) -> None:
        self.data = (VECTORS / f"{name}.skr").read_bytes()
        self.said: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
        self.signing = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.said["insecure_signing_key"]))
        self.signer = self.signing.public_key().public_bytes_raw()
        self.key = self._secret("insecure_recording_key")
        self.cluster_key = self._secret("insecure_cluster_key")
        self.whole = self.data[: self.said["size"]]

    def _secret(self, name: str) -> bytes | None:
        return bytes.fromhex(self.said[name]) if self.said[name] else None

    @property
    def secret(self) -> Secret[bytes] | None:
        return Secret(self.key) if self.key else None

    @property
    def records(self) -> list[dict[str, Any]]:
        """What a reader is to find after the header."""
        steps = self.said["records"]
        return [
            step
            if "seal" in step
            else {name: step[name] for name in ("begin", "events")} | {"content": content_of(step)}
            for step in steps
        ]

    def header(self) -> Header:
        fields = dict(self.said["header"])
        key = fields.pop("key")
        wrapped = WrappedKey(key["id"], key["suite"], bytes.fromhex(key["sealed"])) if key else None
        return Header(**{**fields, "signer": bytes.fromhex(fields["signer"]), "key": wrapped})

    def bodies(self) -> list[tuple[framing.Position, bytes, bytes]]:
        """Return each record: where it stands, prefix and body."""
        position, found = framing.START, []
        while position.offset < len(self.whole):
            size = struct.unpack_from(">I", self.whole, position.offset + 1)[0]
            record = self.whole[position.offset : position.offset + 13 + size]
            found.append((position, record[:13], record[13:]))
            position = framing.advance(position, record)
        return found


def test_there_is_a_vector_for_every_kind_of_end_and_cipher() -> None:
    assert NAMES == [
        "encrypted",
        "interrupted",
        "no-terminal",
        "plain",
        "raw",
        "stopped",
        "unsealed",
        "without-dictionary",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_reads_as_it_is_said_to(name: str) -> None:
    vector = Vector(name)
    reader = Reader(vector.signer)
    first, *records = reader.feed(vector.data)
    assert isinstance(first, HeaderRecord)
    assert first.header == reader.header == vector.header()
    opener = Opener(first.header, vector.secret)
    found: list[dict[str, Any]] = []
    for record in records:
        if isinstance(record, DataRecord):
            events = [event for event in opener.events(record) if isinstance(event, cast.Event)]
            told = [[event.time, event.code, event.data] for event in events]
            found.append({"begin": record.begin, "content": opener.content(record), "events": told})
        elif isinstance(record, SealRecord):
            found.append({"seal": record.seal.reason, "device": record.seal.device,
                          "corrected": record.seal.corrected, "at": record.seal.at})  # fmt: skip
    assert found == vector.records
    assert (reader.position.offset, reader.position.chain.hex()) == (vector.said["size"], vector.said["hash"])
    assert reader.pending == len(bytes.fromhex(vector.said["torn"]))


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_written_from_the_document_alone_reads_the_same(name: str) -> None:
    vector = Vector(name)
    found = second_reader.read(vector.data, vector.signer, vector.key)
    assert found.records == vector.records
    assert (found.chain.hex(), found.rest.hex()) == (vector.said["hash"], vector.said["torn"])
    assert found.header["session"] == vector.said["header"]["session"]


@pytest.mark.parametrize("name", ["encrypted", "interrupted", "no-terminal", "stopped"])
def test_the_wrapped_key_opens_with_the_cluster_s_here_and_by_the_document(name: str) -> None:
    vector = Vector(name)
    assert vector.cluster_key is not None
    header = vector.header()
    assert header.key is not None
    opened = cipher.unwrap(header.key, Secret(vector.cluster_key), header.session, header.node)
    assert opened.reveal() == vector.key
    found = second_reader.read(vector.data, vector.signer, None, vector.cluster_key)
    assert found.records == vector.records


@pytest.mark.parametrize("name", NAMES)
def test_the_writer_makes_the_same_bytes_of_all_that_zstd_has_no_say_in(name: str) -> None:
    vector = Vector(name)
    steps = iter(vector.said["records"])
    key = AESGCM(vector.key) if vector.key else None
    for position, prefix, body in vector.bodies():
        kind = chr(prefix[0])
        stem = prefix[:9]
        assert framing.add(framing.KINDS[prefix[0]], body, position)[0] == prefix + body
        if kind == "H":
            assert vector.header().encode() == body
            continue
        step = next(steps)
        if kind == "S":
            fields = Seal(step["seal"], step["device"], step["corrected"], step["at"]).encode()
            assert body == fields + vector.signing.sign(seal.statement(position.chain, stem, fields))
            continue
        packed = body[5:]
        if key:
            bound = position.chain + stem + body[:5]
            packed = key.decrypt(position.number.to_bytes(12, "big"), body[5:], bound)
            assert cipher.encrypt(key, position.number, packed, bound) == body[5:]
        assert body[:5] == step["begin"].to_bytes(5, "big")
        assert frame.decompress(packed, vector.said["header"]["dictionary"]) == content_of(step)
    assert next(steps, None) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_written_anew_from_the_same_steps_reads_as_the_vector_does_also_by_the_document(name: str) -> None:
    vector = Vector(name)
    writer = Writer(vector.signing.sign)
    written = writer.begin(vector.header(), vector.secret)
    assert vector.data.startswith(written)
    for step in vector.said["records"]:
        if "seal" in step:
            written += writer.seal(Seal(step["seal"], step["device"], step["corrected"], step["at"]))
        else:
            written += writer.data(content_of(step), step["begin"])
    found = second_reader.read(written, vector.signer, vector.key)
    assert (found.records, found.chain) == (vector.records, writer.position.chain)


def test_between_them_the_vectors_have_every_code() -> None:
    codes = set()
    for name in NAMES:
        for step in Vector(name).said["records"]:
            codes |= {code for _, code, _ in step.get("events", [])}
    assert codes == {"o", "e", "i", "r", "m", "b", "j", "l", "x"}


def test_what_was_no_text_is_told_in_the_vector_by_its_size_and_hash() -> None:
    said = second_reader.summaries(second_reader.read(Vector("no-terminal").data, SIGNER, Vector("no-terminal").key))
    assert said == [
        (65536, "o", hashlib.sha256(bytes(range(256)) * 256).hexdigest()),
        (2048, "e", hashlib.sha256(bytes(2048)).hexdigest()),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_both_readers_refuse_a_changed_bit_under_a_seal(name: str) -> None:
    vector = Vector(name)
    for at in range(0, len(vector.whole), 17):
        changed = bytearray(vector.whole)
        changed[at] ^= 1 << at % 8
        assert _reads_other(vector, bytes(changed)) == _second_reads_other(vector, bytes(changed))


def _reads_other(vector: Vector, data: bytes) -> str:
    reader = Reader(vector.signer)
    try:
        records = list(reader.feed(data))
        header = reader.header
        if header is None:
            return "refused or shorter"
        opener = Opener(header, vector.secret)
        for record in records:
            if isinstance(record, DataRecord):
                opener.content(record)
    except RecordingError:
        return "refused or shorter"
    return "reads" if reader.position.offset == len(data) else "refused or shorter"


def _second_reads_other(vector: Vector, data: bytes) -> str:
    try:
        found = second_reader.read(data, vector.signer, vector.key)
    except second_reader.FAULTS:
        return "refused or shorter"
    return "reads" if not found.rest else "refused or shorter"
