"""A program: recordings on a disk that fills up and is cleared again, told as JSON. Run by `test_intake`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from controller.policy.upload import Quota
from controller.recordings import NoRoomError, Recordings
from controller.recordings.directory import DirectoryStorage
from controller.store.memory import MemoryStore
from protocol.decision import Granted
from protocol.names import SessionId
from tests.controller.harbour import CLUSTER, HandClock, Harbour
from tests.controller.recordings.lab import Gateway, kept

PIECE = 20_000


def main(folder: Path) -> None:
    """Upload a recording on the file system at `folder`, which is too small for what else lies on it."""
    harbour = Harbour(MemoryStore(), folder, HandClock())
    gateway = Gateway(harbour)
    harbour.recordings = Recordings(
        storage=DirectoryStorage(folder / "recordings"),
        audit=harbour.audit,
        cluster=CLUSTER,
        clock=harbour.clock,
        open_key=harbour.authority.open_recording,
        nodes=harbour.enrolment.nodes,
        quota=Quota(min_free=-(2**40)),  # so that it is the disk that says no
    )
    tape = gateway.blank().head()
    while len(tape.content) < 5 * PIECE:
        tape.output(1, os.urandom(1500).hex())
    tape.seal("final", 2)
    gateway.begin(tape.session)
    gateway.send(tape.session, 0, tape.content[:PIECE])
    said: dict[str, object] = {"offset before them": PIECE}
    # No room for the piece; for the piece, and not for the note beside it.
    said["refusals"] = [attempt(gateway, tape.session, tape.content, free) for free in (1, 3, 5)]
    at = gateway.ask(tape.session)
    assert isinstance(at, Granted)
    said["offset after them"] = at.value.offset
    (folder / "ballast").unlink()
    for offset in range(PIECE, len(tape.content), PIECE):
        answer = gateway.send(tape.session, offset, tape.content[offset : offset + PIECE])
        assert isinstance(answer, Granted), answer
        said["state"] = answer.value.state
    said["is whole"] = kept(harbour, tape.session) == tape.content
    said["left"] = sorted(path.suffix for path in (folder / "recordings").rglob("*") if path.is_file())
    sys.stdout.write(json.dumps(said))


def attempt(gateway: Gateway, session: SessionId, content: bytes, pages: int) -> str:
    """Send a piece while so many pages are left on the disk."""
    folder = gateway.harbour.folder
    (folder / "ballast").unlink(missing_ok=True)
    size = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes((size.f_bavail - pages) * size.f_frsize))
    try:
        answer = gateway.send(session, PIECE, content[PIECE : 2 * PIECE])
    except NoRoomError as err:
        return type(err).__name__
    return str(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
