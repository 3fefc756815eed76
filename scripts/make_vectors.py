"""Make the golden recordings of tests/vectors: once. What lies there is what later versions must still read.

    .venv/bin/python scripts/make_vectors.py DIRECTORY

Keys and times are fixed; the wrapped key is not the same twice, since HPKE draws its own randomness. So a file that is
there already is left alone: a vector that was published is never made anew.
"""

from __future__ import annotations

import argparse
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocol import names
from protocol.recording import cipher, frame
from protocol.recording.cast import CastHeader, Event, parse_lines
from protocol.recording.header import Header
from protocol.recording.seal import Reason, Seal
from protocol.recording.transcript import Transcript
from protocol.recording.writer import Writer
from protocol.secret import Secret

SIGNING_KEY = bytes(range(32))
CLUSTER_SEED = bytes(range(64, 128))
CLUSTER_SCALAR = bytes(range(128, 160))
RECORDING_KEY = bytes(range(32, 64))
KEY_ID = "0198c0de-0000-7000-8000-00000000beef"
SESSION = names.parse_session_id("0198c0de-1111-7222-8333-944455556666")
NODE = names.parse_node_id("0198c0de-aaaa-7bbb-8ccc-dddd11112222")
NOON = 1_718_020_800_000
SKEW = 90_000


@dataclass(frozen=True)
class Plan:
    """What a recording is made of.

    Attributes:
        steps: lines of a data record and when they begin, or a seal.
        torn: bytes at the end that are no whole record.
    """

    steps: tuple[tuple[int, bytes] | Seal, ...]
    encrypted: bool = False
    dictionary: int = frame.NEWEST
    torn: bytes = b""


def main() -> None:
    """Write what is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    for name, plan in plans().items():
        path = directory / f"{name}.skr"
        if path.exists():
            print(f"{path}: is there")
            continue
        content, said = record(plan)
        path.write_bytes(content)
        path.with_suffix(".json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{path}: {len(content)} bytes")


def plans() -> dict[str, Plan]:
    """Return the recordings by name."""
    first = _first().line() + Event(0, "j", "alice").line()
    shell = Transcript().lines(
        [(480, "o", b"\x1b[01;32malice@gw\x1b[0m:~$ "), (1300, "o", b"l"), (1422, "o", b"s\r\n")]
    )
    files = Transcript().lines([(2000, "o", 'Ünïcode  日本.txt  "q\\uoted"\t\x07\r\n'.encode())])
    said = (
        Event(3000, "r", "132x43"), Event(3001, "i", "x"), Event(3002, "e", "to standard error\n"),
        Event(3003, "m", "a marker"), Event(3500, "j", "bob"), Event(4000, "l", "bob"), Event(4500, "x", "SIGHUP"),
    )  # fmt: skip
    rest = b"".join(event.line() for event in said)
    every = (0, first), (480, shell), (2000, files), seal("running", 2500), (3000, rest), seal("final", 4500)
    archive = Transcript(sums_up_binary=True).lines(
        [(480, "o", bytes(range(256)) * 256), (500, "e", b"tar: done\n"), (510, "e", bytes(2048)), (600, "o", b"\xff")]
    )
    command = _first("tar c /srv", interactive=False).line() + Event(0, "j", "alice").line()
    printed = (
        b"".join(b'%06d  \x1b[1m\xe6\x97\xa5\x1b[0m \\ "%d"\r\n' % (line, line) for line in range(200)) + b"\xff\n"
    )
    talk = Transcript()
    large = talk.lines([(480, "o", printed + b"\xe6\x97"), (485, "e", b"a word\n"), (490, "o", b"\xa5\n")])
    large += talk.lines([(500, "e", b'\n[0.000,"j","mallory"]\n' * 200), (600, "o", b"\xc3")], last=True)
    short = (0, first), (480, shell), seal("running", 2000), (2000, files)
    return {
        "plain": Plan(every),
        "encrypted": Plan(every, encrypted=True),
        "interrupted": Plan((*short, seal("interrupted", 2000)), encrypted=True),
        "stopped": Plan((*short, seal("stopped", 2000)), encrypted=True),
        "unsealed": Plan(short, torn=b"D\0\0"),
        "raw": Plan(((0, command), (480, large), (600, Event(600, "x", "0").line()), seal("final", 700))),
        "no-terminal": Plan(((0, command), (480, archive), seal("final", 700)), encrypted=True),
        "without-dictionary": Plan((*short, seal("final", 2000)), dictionary=0),
    }


def seal(reason: Reason, at: int) -> Seal:
    """Return a seal made `at` milliseconds after the session began."""
    return Seal(reason, NOON + at, NOON + at + SKEW, at)


def record(plan: Plan) -> tuple[bytes, dict[str, Any]]:
    """Return a recording's bytes, and what is in them."""
    signing = Ed25519PrivateKey.from_private_bytes(SIGNING_KEY)
    writer = Writer(signing.sign)
    key = Secret(RECORDING_KEY) if plan.encrypted else None
    header = _header(signing, plan)
    records = [writer.begin(header, key)]
    records += [writer.seal(step) if isinstance(step, Seal) else writer.data(step[1], step[0]) for step in plan.steps]
    said = {
        "insecure_signing_key": SIGNING_KEY.hex(),
        "insecure_recording_key": RECORDING_KEY.hex() if key else None,
        "insecure_cluster_key": (CLUSTER_SEED + CLUSTER_SCALAR).hex() if key else None,
        "hash": writer.position.chain.hex(),
        "size": writer.position.offset,
        "torn": plan.torn.hex(),
        "header": _said(header),
        "records": list(_steps(plan)),
    }
    return b"".join([*records, plan.torn]), said


def _steps(plan: Plan) -> Iterator[dict[str, Any]]:
    for step in plan.steps:
        if isinstance(step, Seal):
            yield {"seal": step.reason, "device": step.device, "corrected": step.corrected, "at": step.at}
        else:
            yield {"begin": step[0], **_content(step[1])}


def _content(content: bytes) -> dict[str, Any]:
    """Return a data record's content, as text where it is text, and the events in it."""
    events = [[one.time, one.code, one.data] for one in parse_lines(content) if isinstance(one, Event)]
    try:
        return {"lines": content.decode(), "events": events}
    except UnicodeDecodeError:
        return {"base64": b64encode(content).decode(), "events": events}


def _header(signing: Ed25519PrivateKey, plan: Plan) -> Header:
    mlkem, x25519 = (
        MLKEM768PrivateKey.from_seed_bytes(CLUSTER_SEED).public_key().public_bytes_raw(),
        X25519PrivateKey.from_private_bytes(CLUSTER_SCALAR).public_key().public_bytes_raw(),
    )
    wrapped = cipher.wrap(Secret(RECORDING_KEY), KEY_ID, mlkem + x25519, SESSION, NODE) if plan.encrypted else None
    return Header(
        session=SESSION,
        node=NODE,
        node_name=names.parse_node_name("gw-1"),
        cluster=names.parse_cluster_name("harbour.example"),
        started=NOON,
        corrected=NOON + SKEW,
        signer=signing.public_key().public_bytes_raw(),
        dictionary=plan.dictionary,
        cipher="AES-256-GCM" if plan.encrypted else "none",
        key=wrapped,
    )


def _said(header: Header) -> dict[str, Any]:
    key = header.key
    return {
        "session": header.session,
        "node": header.node,
        "node_name": header.node_name,
        "cluster": header.cluster,
        "started": header.started,
        "corrected": header.corrected,
        "signer": header.signer.hex(),
        "dictionary": header.dictionary,
        "cipher": header.cipher,
        "key": {"id": key.key_id, "suite": key.suite, "sealed": key.sealed.hex()} if key else None,
    }


def _first(command: str = "", *, interactive: bool = True) -> CastHeader:
    said = {"session": SESSION, "user": "alice", "login": "pi", "node": "gw-1", "cluster": "harbour.example"}
    env = {"TERM": "xterm-256color", "SHELL": "/bin/bash"}
    return CastHeader(80, 24, (NOON + SKEW) // 1000, command, env, {**said, "interactive": interactive})


if __name__ == "__main__":
    main()
