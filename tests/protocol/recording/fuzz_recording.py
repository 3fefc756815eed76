"""Feed the reader and the opener what nobody wrote, for so many seconds, and watch what they raise and hold.

    .venv/bin/python -m tests.protocol.recording.fuzz_recording [--seconds 20] [--seed N] [--case N]

Each case begins with a golden recording. Some are damaged as bytes are; most are taken apart, changed in one place and
put together again, with numbers, links, encryption and at times even signatures made good, so that the change reaches
what comes after those checks. A case is made from the seed and its own number alone: `--case` runs one again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol import limits
from protocol.fields import MessageError
from protocol.recording import cast, frame, framing, seal
from protocol.recording.cast import CastError
from protocol.recording.fault import RecordingError
from protocol.recording.frame import FrameError
from protocol.recording.header import Header
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader
from tests.protocol.recording.test_frame import packed
from tests.protocol.recording.test_vectors import NAMES, Vector

# What the process may grow by: a few times the largest record, unpacked and told.
GROWTH_MAX = 192 * 1024 * 1024
PIECE_MAX = 4096
ODD = (0, 1, 5, 12, 13, 88, 89, 90, 127, 128, 255, 256, 65535, 65536, 2**21, 2**21 + 1, 2**24, 2**31, 2**32 - 1)
VALUES: tuple[object, ...] = (
    {"raw": 1}, {"raw": -1},
    None, True, False, 0, -1, 1.5, 2, 2**31, 2**63 - 1, 2**63, 10**400, "", "x", "../../x", "\ud800", "A" * 20_000, [],
    {}, [[]], {"id": "x"}, "AAAA", "none", "AES-256-GCM", float("nan"), float("inf"), "é", "80x24", "99999x1",
)  # fmt: skip
TEXTS = (
    b'[0,"o",""]\n' * 300,
    b"[" * 5000,
    b"\xff\xfe",
    b"\0",
    b'[1e309,"o","a"]\n',
    b'{"version":2}\n',
    b'[0.5,"o",{"raw":3}]\nabc\n',
    b'[0.5,"e",{"raw":9999999}]\n',
    b',{"raw":1' * 200,
)
VECTORS = {name: Vector(name) for name in NAMES}


@dataclass
class Case:
    """One damaged recording.

    Attributes:
        vector: what it was made from.
        resigned: whether seals may have been signed anew, with the node's own key.
    """

    vector: Vector
    data: bytes
    resigned: bool


def make(seed: int, number: int) -> Case:
    """Return case `number`."""
    random = Random(f"{seed}:{number}")  # noqa: S311  # to be repeated, not to be secret
    vector = VECTORS[random.choice(NAMES)]
    if random.random() < 0.25:
        data = vector.data
        for _ in range(random.choice((1, 1, 2, 8))):
            data = damage(random, data)
        return Case(vector, data, resigned=False)
    resigned = random.random() < 0.6
    records = take_apart(vector)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        random.choice(CHANGES)(random, vector, records)
    return Case(vector, put_together(random, vector, records, resigned=resigned), resigned)


def damage(random: Random, data: bytes) -> bytes:
    """Return `data` as a bad disk, a bad link or an attacker would."""
    at, size = random.randrange(len(data) + 1), random.choice(ODD) % (len(data) + 1)
    other = VECTORS[random.choice(NAMES)].data
    return random.choice((
        lambda: data[:at] + bytes([random.randrange(256)]) + data[at + 1 :],
        lambda: data[:at],
        lambda: data[:at] + data[at + size :],
        lambda: data[:at] + random.randbytes(size % 512) + data[at:],
        lambda: data[:at] + data[max(at - size, 0) : at] + data[at:],
        lambda: data[:at] + other[random.randrange(len(other)) :],
        lambda: data[:at] + random.choice(ODD).to_bytes(4, "big") + data[at + 4 :],
        lambda: data[:at] + random.choice(TEXTS) + data[at:],
    ))()  # fmt: skip


Records = list[tuple[str, bytes]]
Change = Callable[[Random, Vector, Records], None]


def take_apart(vector: Vector) -> Records:
    """Return kinds and bodies; data in the clear: begin, and the frame."""
    key, found = AESGCM(vector.key) if vector.key else None, []
    for position, prefix, body in vector.bodies():
        content = body
        if prefix[:1] == b"D" and key:
            clear, bound = body[:5], framing.bound(position.chain, prefix[: framing.STEM], body[:5])
            content = clear + key.decrypt(position.number.to_bytes(12, "big"), body[5:], bound)
        found.append((chr(prefix[0]), content))
    return found


def put_together(random: Random, vector: Vector, records: Records, *, resigned: bool) -> bytes:
    """Return the recording, with numbers and links as they must be, and mostly encrypted as it must be."""
    key, data, position = AESGCM(vector.key) if vector.key else None, [framing.MAGIC], framing.START
    for kind, content in records:
        size = len(content) + (16 if kind == "D" and key else 0)
        stem = framing.PREFIX.pack(ord(kind), size, position.number, b"")[: framing.STEM]
        body = content
        if kind == "D" and key and random.random() < 0.95:
            nonce = position.number.to_bytes(12, "big")
            bound = framing.bound(position.chain, stem, content[:5])
            body = content[:5] + key.encrypt(nonce, content[5:], bound)
        if kind == "S" and resigned and len(content) >= 64:
            body = content[:-64] + vector.signing.sign(seal.statement(position.chain, stem, content[:-64]))
        position = framing.advance(position, stem + bytes(framing.LINK) + body)
        prefix = stem + framing.link(position)
        if random.random() < 0.01:
            prefix = damage(random, prefix)
        data.append(prefix + body)
    return b"".join(data)


def change_order(random: Random, _: Vector, records: Records) -> None:
    """Drop, repeat, move or borrow a record."""
    record = records.pop(random.randrange(len(records)))
    for _times in range(random.randrange(3)):
        records.insert(random.randrange(len(records) + 1), record)
    if random.random() < 0.3 or not records:
        other = take_apart(VECTORS[random.choice(NAMES)])
        records.insert(random.randrange(len(records) + 1), random.choice(other))


def change_body(random: Random, _: Vector, records: Records) -> None:
    """Damage the bytes of one record."""
    at = random.randrange(len(records))
    records[at] = (random.choice("HDSX") if random.random() < 0.05 else records[at][0], damage(random, records[at][1]))


def change_header(random: Random, _: Vector, records: Records) -> None:
    """Give a member of the header another value, or another name, or none."""
    if not records or records[0][0] != "H":
        return
    line, feed, sealed = records[0][1].partition(b"\n")
    try:
        said = json.loads(line)
        name = random.choice(sorted(said))
        said[random.choice((name, name, "other"))] = random.choice(VALUES)
    except (ValueError, TypeError, IndexError):
        return
    if random.random() < 0.1:
        said.pop(name, None)
    records[0] = ("H", json.dumps(said).encode() + feed + sealed)


def change_lines(random: Random, vector: Vector, records: Records) -> None:
    """Change what is told in a data record."""
    at = random.randrange(len(records)) if records else 0
    if not records or records[at][0] != "D":
        return
    try:
        content = frame.decompress(records[at][1][5:], vector.said["header"]["dictionary"])
    except FrameError:
        return
    lines = content.split(b"\n")
    line = random.randrange(len(lines))
    if random.random() < 0.5:
        lines[line] = json.dumps([random.choice(VALUES), random.choice("oeirmjlxq"), random.choice(VALUES)]).encode()
    else:
        lines[line] = damage(random, lines[line])
    content = b"\n".join(lines) * random.choice((1, 1, 1, 50))
    records[at] = ("D", records[at][1][:5] + packed(content or b" ", write_content_size=random.random() < 0.9))


def change_frame(random: Random, _: Vector, records: Records) -> None:
    """Put in a bomb, a lie or noise for a frame."""
    at = random.randrange(len(records)) if records else 0
    if not records or records[at][0] != "D":
        return
    content = random.choice((b'[0,"o",""]\n', b"\0", b"[]\n", b"\n")) * random.choice((1, 1000, 100_000, 3_000_000))
    made = packed(content, level=1, write_content_size=random.random() < 0.8)
    records[at] = ("D", records[at][1][:5] + (damage(random, made[:40]) + made[40:]))


CHANGES: tuple[Change, ...] = (
    change_order,
    change_body,
    change_body,
    change_header,
    change_lines,
    change_lines,
    change_frame,
)


def run(case: Case, random: Random) -> None:
    """Read the case; whatever is raised but a `RecordingError` gets out."""
    whole = read(case, len(case.data) or 1)
    if random.random() < 0.3:
        assert read(case, random.randrange(1, PIECE_MAX)) == whole, "pieces make a difference"
    body = case.data[framing.START.offset + framing.PREFIX.size :][: limits.RECORDING_HEADER_MAX]
    for parse, error in ((Header.decode, MessageError), (cast.parse_lines, CastError)):
        with suppress(error):
            parse(body)


def read(case: Case, piece: int) -> tuple[int, int, str]:
    """Return how far the case reads, how many of its events are good, and what was wrong."""
    reader, opener, opened, fault = Reader(case.vector.signer), None, 0, ""
    try:
        for at in range(0, len(case.data), piece):
            for record in reader.feed(case.data[at : at + piece]):
                if isinstance(record, DataRecord) and opener:
                    opened += open_record(opener, record)
                elif opener is None and reader.header:
                    opener = Opener(reader.header, case.vector.secret)
            assert reader.pending <= framing.PREFIX.size + limits.RECORDING_BODY_MAX + piece, "holds more than a record"
        reader.finish()
    except RecordingError as err:
        fault = str(err)
    judge(case, reader)
    return reader.position.offset, opened, fault


def open_record(opener: Opener, record: DataRecord) -> int:
    """Return how many events a record holds; none where it does not open."""
    try:
        events = opener.events(record)
    except RecordingError:
        return 0
    assert cast.parse_lines(opener.lines(record)) == events, "as plain lines it is another"
    return len(events)


def judge(case: Case, reader: Reader) -> None:
    """What a seal vouches for was written so, unless the node's own key signed it anew."""
    if not case.resigned and reader.seal:
        vouched = case.data[: sealed_size(case, reader.sealed)]
        written = any(vector.whole.startswith(vouched) for vector in VECTORS.values())
        assert written, "a seal vouches for what the node never wrote"


def sealed_size(case: Case, sealed: int) -> int:
    """Return the bytes of the first `sealed` records."""
    again = Reader(case.vector.signer)
    with suppress(RecordingError):
        for _ in again.feed(case.data):
            if again.position.number == sealed:
                return again.position.offset
    raise AssertionError("read again, it is not the same")


def main() -> int:
    """Run cases until the time is up; tell the first that failed, and how to run it again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--case", type=int)
    asked = parser.parse_args()
    sys.stdout.write(f"seed {asked.seed}\n")
    begun, number, grown = time.monotonic(), asked.case or 0, 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while asked.case is not None or time.monotonic() - begun < asked.seconds:
        case = make(asked.seed, number)
        try:
            run(case, Random(number))  # noqa: S311  # to be repeated, not to be secret
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            assert grown < GROWTH_MAX, f"memory grew by {grown} bytes"
        except BaseException:
            sys.stdout.write(f"case {number} failed; again: --seed {asked.seed} --case {number}\n")
            raise
        number += 1
        if asked.case is not None:
            break
    sys.stdout.write(f"{number} cases in {time.monotonic() - begun:.0f} s, {grown // 1024} KiB more memory at most\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
