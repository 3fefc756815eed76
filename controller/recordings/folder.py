"""What lies in the folders of `controller.recordings.directory`: files named after sessions, and facts in them.

Every function may raise `OSError`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import cast

from controller.recordings import day_index
from controller.recordings.storage import DamagedFactsError, Facts
from controller.store.durable import make_private_directory, sync_directory, temporary_name
from protocol.names import SessionId, is_uuid


def make_folder(folder: Path) -> None:
    """Make a folder that nobody else can look into, unless it is there."""
    if not folder.is_dir():
        make_private_directory(folder)
        sync_directory(folder.parent)


def sessions_in(folder: Path, suffix: str) -> list[SessionId]:
    """Return the sessions that files with this `suffix` are named after."""
    try:
        found = os.listdir(folder)  # noqa: PTH208 - of a hundred thousand names, none needs to be a path
    except FileNotFoundError:
        return []
    names = (name.removesuffix(suffix) for name in found if name.endswith(suffix))
    return [SessionId(name) for name in names if is_uuid(name)]


def begun_in(folder: Path) -> set[SessionId]:
    """Return every session that a file in `folder` is named after, whatever of it is there; not what is put aside."""
    suffixes = (".skr", ".json", ".lock", temporary_name(Path(".json")).name)
    return {session for suffix in suffixes for session in sessions_in(folder, suffix)}


def remove_empty_day(folder: Path) -> None:
    """Remove a day's folder, and its month's and its year's, where there is nothing in them but an index."""
    with contextlib.suppress(OSError):  # something lies there, or has come just now
        if [path.name for path in folder.iterdir()] == [day_index.NAME]:
            (folder / day_index.NAME).unlink()
        for path in (folder, folder.parent, folder.parent.parent):
            path.rmdir()


def below(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return what in a folder has a name that `pattern` takes, the last first; nothing where it is no folder."""
    try:
        return sorted((path for path in folder.iterdir() if pattern.fullmatch(path.name)), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []


def load_facts(path: Path) -> Facts | None:
    """Return the facts in a file; None where there is none. Raises `DamagedFactsError`."""
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as err:
        raise DamagedFactsError(f"{path} is damaged: {err}") from err
    if not isinstance(facts, dict):
        raise DamagedFactsError(f"{path} is damaged: no JSON object")
    return cast("Facts", facts)


def dump_facts(facts: Facts) -> bytes:
    """Return what a file of facts holds."""
    return json.dumps(facts, separators=(",", ":")).encode() + b"\n"


def read_bytes(path: Path, offset: int, size: int) -> bytes:
    """Return at most `size` bytes of a file from `offset` on."""
    with path.open("rb") as file:
        return os.pread(file.fileno(), size, offset)
