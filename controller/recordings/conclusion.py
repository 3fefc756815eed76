"""What is done once a recording is over: the audit log is told, and then it is kept.

Its note says first that it is over. Where a crash comes between, or the audit log cannot be written, the rest is done
when its node asks again, or by housekeeping.
"""

from __future__ import annotations

from controller.audit import AuditLog
from controller.recordings.complaints import ComplaintBook
from controller.recordings.listed import Listed
from controller.recordings.note import Note
from controller.recordings.storage import Storage
from protocol import events
from protocol.events import Json
from protocol.instants import format_instant, from_milliseconds
from protocol.recording.signer import fingerprint


class Concluder:
    """Concludes recordings that are over. The caller holds their turn.

    Every method may raise `OSError` and `AuditError`: the recording is concluded later, then.
    """

    def __init__(self, storage: Storage, audit: AuditLog, complaints: ComplaintBook) -> None:
        self._storage = storage
        self._audit = audit
        self._complaints = complaints

    def conclude(self, note: Note, address: str, *, again: bool = False) -> None:
        """Tell the audit log that a recording is over, and keep it. `again` where part of that may be done.

        `address` is its node's, empty where the node is not at the door.
        """
        told = self._told(note) if again else frozenset[str]()
        if note.refused is not None:
            if self._storage.arrived(note.session) > note.size:  # the beginning of a record that did not fit
                self._storage.append(note.session, note.size, b"")
            if events.RECORDING_REFUSED.code not in told:
                self._complaints.tell(note.node, note.hostname, note.refused, note.session, address)
        else:
            self._announce(note, address, told)
        if note.is_empty:
            self._storage.note(note.session, note.after_telling().to_facts())
        else:
            self._storage.finish(note.session, note.day, note.to_facts(), Listed.of(note).to_facts())

    def _told(self, note: Note) -> frozenset[str]:
        """Return the codes of what the audit log holds of the recording's end."""
        kinds = (events.SESSION_UPLOAD.code, events.RECORDING_INTERRUPTED.code, events.RECORDING_REFUSED.code)
        entries = self._audit.entries(since=from_milliseconds(note.grown), kinds=kinds)
        return frozenset(str(entry["code"]) for entry in entries if entry.get("sid") == note.session)

    def _announce(self, note: Note, address: str, told: frozenset[str]) -> None:
        fields = _fields(note, address)
        if note.state == "interrupted" and events.RECORDING_INTERRUPTED.code not in told:
            reason = "the agent was cut off: the recording goes to the last moment that was on its disk"
            self._audit.write(events.RECORDING_INTERRUPTED, {**fields, "reason": reason})
        if events.SESSION_UPLOAD.code not in told:
            self._audit.write(events.SESSION_UPLOAD, {**fields, **_ending(note)})


def _fields(note: Note, address: str) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "sid": note.session,
        "server_id": note.node,
        "server_hostname": note.hostname,
        "participants": list(note.said.participants),
    }
    if address:
        fields["addr.remote"] = address
    if note.said.participants:
        fields["user"] = note.said.participants[0]
    return fields


def _ending(note: Note) -> dict[str, Json]:
    """Return what lets somebody tell later that the recording is still the one that was uploaded."""
    fields: dict[str, Json] = {
        "session_start": format_instant(from_milliseconds(note.started)),
        "size": note.size,
        "state": note.state,
        "hash": note.position.chain.hex(),
    }
    if note.header is not None:
        fields["signer"] = fingerprint(note.header.signer)
    return fields
