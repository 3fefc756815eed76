"""The index of one day: a line of JSON for each recording that is kept under it, in a file beside them.

What is kept is what the folder holds, not what is written here: a line without its recording means nothing, and a
recording without its line is looked at itself. So lines are only ever added, by anyone and without a lock: each is one
write to the file's end, with a line feed before it, lest a line that a crash cut off take the next one with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from controller.recordings.storage import Facts
from controller.store.durable import open_private, write_all
from protocol.names import SessionId

NAME = "index.jsonl"


def add_lines(folder: Path, lines: Iterable[Facts]) -> None:
    """Add lines to the index in `folder`; they are on the disk when this returns. Raises `OSError`."""
    data = b"".join(b"\n" + _dump(line) + b"\n" for line in lines)
    fd = open_private(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        write_all(fd, data)
        os.fdatasync(fd)
    finally:
        os.close(fd)


def read_lines(folder: Path) -> dict[SessionId, Facts]:
    """Return the lines of the index in `folder` by session, the last one of each. Raises `OSError`."""
    found: dict[SessionId, Facts] = {}
    try:
        with (folder / NAME).open("rb") as file:
            for data in file:
                line = _load(data)
                if line is not None:
                    found[SessionId(str(line["session"]))] = line
    except FileNotFoundError:
        pass
    return found


def _dump(line: Facts) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode()


def _load(data: bytes) -> Facts | None:
    if len(data) <= 1:
        return None
    try:
        line = json.loads(data)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "session" in line else None
