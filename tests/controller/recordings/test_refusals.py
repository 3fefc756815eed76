"""What in an upload does not fit: it is refused, told once, and what came before it stays."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.recording import cipher
from protocol.recording.cast import Event
from protocol.recording.writer import Writer
from tests.controller.recordings.lab import Gateway, check_of, files, grow, kept
from tests.harness.tape import Tape

Spoil = Callable[[Gateway], tuple[Tape, list[bytes]]]


def _flipped(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape()
    third = bytearray(tape.records[2])
    third[-1] ^= 1
    return tape, [*tape.records[:2], bytes(third), *tape.records[3:]]


def _swapped(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape()
    return tape, [*tape.records[:2], tape.records[3], tape.records[2], *tape.records[4:]]


def _dropped(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape()
    return tape, [*tape.records[:2], *tape.records[3:]]


def _repeated(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape()
    return tape, [*tape.records[:3], tape.records[2], *tape.records[3:]]


def _from_another(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape, other = gateway.tape(), gateway.tape()
    return tape, [*tape.records[:2], *other.records[2:]]


def _more_after_the_end(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape()
    return tape, [*tape.records, b"more"]


def _sealed_by_another(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.blank().head()
    tape.writer._sign = Ed25519PrivateKey.generate().sign
    return tape, tape.seal("final", 10).records


def _signed_by_another(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape(signing=Ed25519PrivateKey.generate())
    return tape, tape.records


def _of_another_session(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    return gateway.tape(), gateway.tape().records


def _of_another_node(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape(node=str(uuid.uuid4()))
    return tape, tape.records


def _of_another_name(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape(node_name="gw-2")
    return tape, tape.records


def _of_another_cluster(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape(cluster="elsewhere")
    return tape, tape.records


def _locked_for_another(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    key_id, _ = gateway.harbour.authority.recording_key()
    _, public = cipher.generate()
    tape = gateway.tape(recipient=(key_id, public))
    return tape, tape.records


def _not_opening(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.blank().head()
    writer = Writer(gateway.device.key.sign, tape.writer.position)
    tape.records.append(writer._add("D", bytes(6) + b"no frame, and nothing that AES-GCM made"))
    return tape, tape.records


def _bomb(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.blank(recipient=None).head()
    parameters = zstandard.ZstdCompressionParameters(format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(64 * limits.RECORDING_FRAME_MAX))
    tape.records.append(tape.writer._add("D", bytes(6) + packed))
    return tape, tape.records


def _no_recording(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.tape()
    return tape, [b"PK\x03\x04 something else entirely"]


def _no_events(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape = gateway.blank()
    tape.records.append(tape.writer.data(b"this is no asciicast\n", 0))
    return tape, tape.records


def _too_deep(gateway: Gateway) -> tuple[Tape, list[bytes]]:
    tape, depth = gateway.blank(), 966
    said = b'{"a":' * depth + b"1" + b"}" * depth
    tape.records.append(
        tape.writer.data(b'{"version":2,"width":80,"height":24,"timestamp":1795348800,"skerry":' + said + b"}\n", 0)
    )
    return tape, tape.records


SPOILS: dict[str, tuple[Spoil, str, int]] = {
    "a byte flipped": (_flipped, "U14", 2),
    "two records swapped": (_swapped, "U14", 2),
    "a record dropped": (_dropped, "U14", 2),
    "a record repeated": (_repeated, "U14", 3),
    "records of another recording": (_from_another, "U14", 2),
    "bytes after the end": (_more_after_the_end, "U14", 7),
    "a seal by another key": (_sealed_by_another, "U14", 2),
    "a header signed by another": (_signed_by_another, "U13", 0),
    "another session's recording": (_of_another_session, "U12", 0),
    "another node's recording": (_of_another_node, "U12", 0),
    "a recording with another node's name": (_of_another_name, "U12", 0),
    "another cluster's recording": (_of_another_cluster, "U12", 0),
    "a key that does not open": (_locked_for_another, "U15", 0),
    "content that does not open": (_not_opening, "U15", 2),
    "a decompression bomb": (_bomb, "U15", 2),
    "a first line that nests too deep": (_too_deep, "U15", 1),
    "content that is no asciicast": (_no_events, "U15", 1),
    "no recording at all": (_no_recording, "U14", 0),
}


@pytest.mark.parametrize("size", [limits.RECORDING_PIECE_MAX, 97])
@pytest.mark.parametrize("what", SPOILS)
def test_what_does_not_fit_ends_the_upload_and_what_came_before_it_stays(
    gateway: Gateway, what: str, size: int
) -> None:
    spoil, check, good = SPOILS[what]
    tape, records = spoil(gateway)
    data = b"".join(records)
    gateway.begin(tape.session)
    offset, answer = 0, None
    while offset < len(data):
        answer = gateway.send(tape.session, offset, data[offset : offset + size])
        if isinstance(answer, Refused):
            break
        offset = answer.value.offset
    if what == "bytes after the end" and size == 97:
        assert answer is not None
        assert check_of(answer) in {check, "U8"}  # U8: the recording was whole before they came
        return
    assert answer is not None
    assert check_of(answer) == check
    whole = b"".join(records[:good])
    assert kept(gateway.harbour, tape.session) == whole if good else True
    (event,) = gateway.audited()
    assert (event["code"], event["check"], event["sid"]) == ("SK033W", check, tape.session)
    stored = gateway.harbour.recordings.find(tape.session)
    assert (stored is not None) == bool(good)
    assert stored is None or (stored.entry.state, stored.hash) == ("refused", None)
    assert_stays_refused(gateway, tape, len(whole))


def assert_stays_refused(gateway: Gateway, tape: Tape, held: int) -> None:
    before = files(gateway.harbour)
    for offset in (held, 0):
        assert check_of(gateway.send(tape.session, offset, b"more")) == "U8"
    assert check_of(gateway.begin(tape.session)) == "U8"
    at = gateway.ask(tape.session)
    assert isinstance(at, Granted)
    assert (at.value.state, at.value.offset, at.value.hash) == ("refused", held, None)
    assert files(gateway.harbour) == before
    assert len(gateway.audited()) == 1


def test_a_refused_recording_does_not_hold_up_the_others(gateway: Gateway) -> None:
    tape, records = _swapped(gateway)
    gateway.begin(tape.session)
    assert check_of(gateway.send(tape.session, 0, b"".join(records))) == "U14"
    assert gateway.upload(gateway.tape()).state == "complete"


@pytest.mark.parametrize(("more", "check"), [(-1, "U16"), (1, "U16"), (-200, "U16"), (10_000, "U16")])
def test_a_declared_length_that_lies_is_found_when_the_recording_ends_or_does_not(
    gateway: Gateway, more: int, check: str
) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session, len(tape.content) + more)
    gateway.send(tape.session, 0, tape.content[:-300])
    assert check_of(gateway.send(tape.session, len(tape.content) - 300, tape.content[-300:])) == check
    (event,) = gateway.audited()
    assert event["check"] == check


def test_a_declared_length_that_is_reached_without_a_last_seal_is_a_lie(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session, 500)
    assert check_of(gateway.send(tape.session, 0, tape.content[:500])) == "U16"


def test_a_recording_larger_than_any_may_be_ends_there(gateway: Gateway) -> None:
    tape = gateway.blank().head()
    gateway.begin(tape.session)
    gateway.send(tape.session, 0, tape.content)
    limit = limits.RECORDING_MAX
    grow(gateway, tape, limit - 5)
    assert check_of(gateway.send(tape.session, limit - 5, b"123456")) == "U11"


def test_content_that_compresses_ten_thousandfold_is_taken_and_not_unpacked_without_end(gateway: Gateway) -> None:
    tape = gateway.blank(recipient=None).head()
    full = Event(0, "o", "x" * (limits.RECORDING_FRAME_MAX - 100)).line()
    for _ in range(300):  # 600 MiB of it
        tape.records.append(tape.writer.data(full, 0))
    tape.seal("final", 1)
    assert len(tape.content) < limits.RECORDING_PIECE_MAX
    assert gateway.upload(tape).state == "complete"


def test_a_node_cannot_flood_the_audit_log(gateway: Gateway) -> None:
    for _ in range(200):
        gateway.begin("../../x")
    assert len(gateway.audited()) == limits.UPLOAD_REFUSALS_AUDITED
    Gateway(gateway.harbour, "gw-2").begin("../../x")
    assert len(gateway.audited()) == limits.UPLOAD_REFUSALS_AUDITED + 1
    gateway.harbour.clock.move(hours=1)
    gateway.begin("../../x")
    last = gateway.audited()[-1]
    assert last["count"] == 200 - limits.UPLOAD_REFUSALS_AUDITED
