"""Train the dictionary that recordings are compressed with, on sessions made up here (`samples`).

    .venv/bin/python scripts/train_dictionary.py [--seed N] [--size BYTES] [--sessions N] FILE

The same seed, size, number of sessions and version of zstd give the same file. Nothing in the samples is copied from
anybody's session: names, addresses and texts are drawn from the lists in `samples`.

A dictionary is for ever. Its number stands in the header of every recording made with it, and without the very same
bytes those recordings cannot be read. So `protocol/recording/dictionary-1.zdict` is never trained anew once a version
with it has been published: a better one becomes `dictionary-2.zdict`, `NEWEST` in `protocol/recording/frame.py` becomes
2, and both are shipped from then on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from random import Random

import zstandard
from samples import screen, shell
from samples.desk import Desk

from protocol import limits
from protocol.recording.cast import CastHeader, Event
from protocol.recording.transcript import Transcript

_GATHER_MS = limits.RECORDING_GATHER.total_seconds() * 1000


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=64 * 1024)
    parser.add_argument("--sessions", type=int, default=300)
    asked = parser.parse_args()
    dictionary = train(asked.seed, asked.sessions, asked.size)
    asked.file.write_bytes(dictionary)
    print(f"{asked.file}: {len(dictionary)} bytes")


def train(seed: int, sessions: int, size: int) -> bytes:
    """Return a dictionary of at most `size` bytes."""
    random = Random(seed)  # noqa: S311  # samples, not secrets
    samples: list[bytes | bytearray | memoryview] = []
    for _ in range(sessions):
        samples += records(session(random))
    return zstandard.train_dictionary(size, samples, k=1024, d=8, level=19).as_bytes()


def session(random: Random) -> Desk:
    """Return a session of a few things that people do."""
    desk = Desk(random)
    desk.prompt()
    for act in random.choices((*shell.ACTS, *screen.ACTS), k=random.randrange(1, 5)):
        act(desk)
    desk.leave()
    return desk


def records(desk: Desk) -> Iterator[bytes]:
    """Yield what would stand in each data record: output is gathered for as long as the recorder does."""
    transcript = Transcript()
    about = {
        "session": "0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b",
        "user": desk.user,
        "login": desk.user,
        "node": desk.host,
    }
    env = {"TERM": "xterm-256color", "SHELL": "/bin/bash"}
    yield CastHeader(80, 24, 1_700_000_000, env=env, said={**about, "cluster": "example", "interactive": True}).line()
    gathered: list[tuple[int, str, bytes]] = []
    for time, data in desk.pieces:
        if gathered and time - gathered[0][0] >= _GATHER_MS:
            yield transcript.lines(gathered)  # type: ignore[arg-type]  # the code is "o"
            gathered = []
        gathered.append((time, "o", data))
    yield transcript.lines(gathered, last=True) + Event(desk.pieces[-1][0], "x", "0").line()  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
