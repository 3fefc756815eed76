"""What is said about recordings over HTTPS: the terms under which a node records, and what a person may see.

As in `protocol.messages`: frozen dataclasses, `to_dict` and `from_dict`, which raises `MessageError`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Literal, get_args

from protocol import names
from protocol.events import Json
from protocol.fields import Fields, MessageError, flag, list_of, text, whole
from protocol.names import NodeId, NodeName, SessionId
from protocol.secret import Secret

# strict: what cannot be recorded may not be done; best_effort: it may, and the audit log says so; off: no recording.
Mode = Literal["strict", "best_effort", "off"]
# arriving: it is being uploaded, or was when the link broke; complete: to the session's end; interrupted: to where the
# agent was cut off; stopped: to where the device could not record any further, for want of room, say; refused: what
# came after the last good record did not fit, and was not taken.
State = Literal["arriving", "complete", "interrupted", "stopped", "refused"]


@dataclass(frozen=True, slots=True)
class RecordingTerms:
    """How a node is to record.

    Attributes:
        mode: what to do where a session cannot be recorded.
        record_input: whether what people type is recorded too.
        key_id: names the cluster's recording key that new recordings are wrapped to.
        public_key: that key's public half, see `protocol.recording.cipher`.
        time: the controller's clock when it said this, milliseconds since 1970.
    """

    mode: Mode
    record_input: bool
    key_id: str
    public_key: bytes
    time: int

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "mode": self.mode,
            "record_input": self.record_input,
            "key_id": self.key_id,
            "public_key": b64encode(self.public_key).decode(),
            "time": self.time,
        }

    @classmethod
    def from_dict(cls, data: object) -> RecordingTerms:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            mode=fields.take("mode", parse_mode),
            record_input=fields.take("record_input", flag),
            key_id=fields.take("key_id", names.parse_key_id),
            public_key=fields.take("public_key", _base64),
            time=fields.take("time", whole),
        )


@dataclass(frozen=True, slots=True)
class RecordingEntry:
    """One recording in a listing.

    Attributes:
        kind: what was recorded: ``ssh``, always so far.
        participants: who took part, the one who began the session first.
        started: milliseconds since 1970, by the controller's clock as the node knew it.
        duration: milliseconds on record.
        size: bytes that the controller holds.
    """

    session: SessionId
    kind: str
    participants: tuple[str, ...]
    login: str
    node: NodeId
    hostname: NodeName
    command: str
    interactive: bool
    started: int
    duration: int
    size: int
    state: State

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "session": self.session,
            "kind": self.kind,
            "participants": list(self.participants),
            "login": self.login,
            "node": self.node,
            "hostname": self.hostname,
            "command": self.command,
            "interactive": self.interactive,
            "started": self.started,
            "duration": self.duration,
            "size": self.size,
            "state": self.state,
        }

    @classmethod
    def from_dict(cls, data: object) -> RecordingEntry:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        return cls(
            session=fields.take("session", names.parse_session_id),
            kind=fields.take("kind", text),
            participants=fields.take("participants", list_of(text)),
            login=fields.take("login", text),
            node=fields.take("node", names.parse_node_id),
            hostname=fields.take("hostname", names.parse_node_name),
            command=fields.take("command", text),
            interactive=fields.take("interactive", flag),
            started=fields.take("started", whole),
            duration=fields.take("duration", whole),
            size=fields.take("size", whole),
            state=fields.take("state", parse_state),
        )


@dataclass(frozen=True, slots=True)
class RecordingList:
    """Recordings a person may see, the newest first.

    Attributes:
        is_cut: whether there are, or may be, more of what was asked for.
    """

    recordings: tuple[RecordingEntry, ...]
    is_cut: bool = False

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"recordings": [entry.to_dict() for entry in self.recordings], "is_cut": self.is_cut}

    @classmethod
    def from_dict(cls, data: object) -> RecordingList:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        recordings = fields.take("recordings", list_of(RecordingEntry.from_dict))
        return cls(recordings, fields.get("is_cut", flag, default=False))


@dataclass(frozen=True, slots=True)
class RecordingKey:
    """What opens one recording: its own key, and the public key that its seals are checked with.

    Attributes:
        key: 32 bytes; None where the recording is not encrypted.
        signer: the node's Ed25519 public key, 32 bytes.
    """

    key: Secret[bytes] | None
    signer: bytes

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, the key included: for the wire alone."""
        key = b64encode(self.key.reveal()).decode() if self.key else None
        return {"key": key, "signer": b64encode(self.signer).decode()}

    @classmethod
    def from_dict(cls, data: object) -> RecordingKey:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(data)
        key = fields.get("key", _base64, None)
        return cls(key=Secret(key) if key is not None else None, signer=fields.take("signer", _base64))


def parse_mode(value: object) -> Mode:
    """Read a recording mode. Raises `MessageError`."""
    for mode in get_args(Mode):
        if value == mode:
            return mode  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError(f"not one of {', '.join(get_args(Mode))}")


def parse_state(value: object) -> State:
    """Read a recording's state. Raises `MessageError`."""
    for state in get_args(State):
        if value == state:
            return state  # type: ignore[no-any-return]  # one of the literal's own
    raise MessageError(f"not one of {', '.join(get_args(State))}")


def _base64(value: object) -> bytes:
    try:
        return b64decode(text(value), validate=True)
    except ValueError:
        raise MessageError("not base64") from None
