"""Recordings behind the simulated web door, as far as they have arrived; a test lets more arrive, and lets it fail."""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

from protocol.messages import ErrorReply
from protocol.names import parse_session_id
from protocol.recordings import RecordingEntry, RecordingKey, RecordingList, State
from tests.harness.tape import Tape

_STALL_MAX = 30
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Shown:
    """One recording: what has arrived of it.

    Attributes:
        content: its bytes so far.
        began: when its session began, milliseconds since 1970.
        duration: milliseconds on record.
    """

    tape: Tape
    content: bytes
    state: State = "complete"
    began: int = field(default_factory=lambda: int(time.time() * 1000) - 3_600_000)
    duration: int = 0

    def entry(self) -> RecordingEntry:
        tape = self.tape
        return RecordingEntry(
            session=parse_session_id(tape.session),
            kind="ssh",
            participants=(tape.user,),
            login=tape.login,
            node=tape.node,
            hostname=tape.node_name,
            command=tape.command,
            interactive=not tape.command,
            started=self.began,
            duration=self.duration,
            size=len(self.content),
            state=self.state,
        )


@dataclass
class SimulatedRecordings:
    """The recordings of a simulated cluster.

    Attributes:
        shown: by session; what is not in here is not there.
        outages: so many requests for content are answered by hanging up.
        refusals: statuses with which the next requests for content are refused.
        strange: answers to requests for content that make no sense.
        asked: offset and size of each request for content.
        is_cut: whether a listing says that there may be more, whatever there is.
        stalls_at: requests for content from this offset on are answered once the test lets it go on.
    """

    shown: dict[str, Shown] = field(default_factory=dict)
    outages: int = 0
    refusals: list[int] = field(default_factory=list)
    strange: list[Reply] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    polled: threading.Event = field(default_factory=threading.Event)
    is_cut: bool = False
    stalls_at: float = math.inf
    stalled: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def show(self, tape: Tape, state: State = "complete", size: int | None = None, **more: int) -> Shown:
        """Have a recording, or the first `size` bytes of it."""
        shown = Shown(tape, tape.content[:size], state, **more)
        self.shown[tape.session] = shown
        return shown

    def forget(self) -> None:
        """Have nothing, and behave well."""
        self.__init__()  # type: ignore[misc]  # as new

    def answer(self, method: str, target: str) -> Reply | None:
        """Return the answer to a request; None to hang up."""
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        match [method, *url.path.split("/")[3:]]:
            case ["GET"]:
                self.queries.append(query)
                entries = sorted((shown.entry() for shown in self.shown.values()), key=lambda entry: -entry.started)
                most = int(query.get("limit", len(entries)))
                return _json(RecordingList(tuple(entries[:most]), is_cut=self.is_cut or len(entries) > most).to_dict())
            case ["GET", session] if session in self.shown:
                return _json(self.shown[session].entry().to_dict())
            case ["POST", session, "key"] if session in self.shown:
                tape = self.shown[session].tape
                return _json(RecordingKey(tape.key, tape.signer).to_dict())
            case ["GET", session, "content"] if session in self.shown:
                return self._content(self.shown[session], int(query["offset"]), int(query["size"]))
            case _:
                return _json(ErrorReply("not found").to_dict(), 404)

    def _content(self, shown: Shown, offset: int, size: int) -> Reply | None:
        self.asked.append((offset, size))
        if offset >= self.stalls_at:
            self.stalled.set()
            self.goes_on.wait(_STALL_MAX)
        if self.outages:
            self.outages -= 1
            return None
        if self.refusals:
            return _json(ErrorReply("not now").to_dict(), self.refusals.pop(0))
        if self.strange:
            return self.strange.pop(0)
        state, content = shown.state, shown.content
        headers = {"Skerry-Recording-State": state, "Skerry-Recording-Size": str(len(content))}
        if offset == len(content):
            self.polled.set()
        return 200, headers, content[offset : offset + size]


def _json(value: object, status: int = 200) -> Reply:
    return status, {}, json.dumps(value).encode()
