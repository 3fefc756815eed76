"""What is known of one recording, beside its bytes: enough to go on with it, list it and open it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from datetime import date

from controller.policy.upload import Standing
from controller.recordings.storage import Facts
from protocol import names
from protocol.decision import Refused
from protocol.fields import Fields, MessageError, flag, list_of, text, whole
from protocol.instants import from_milliseconds
from protocol.names import NodeId, NodeName, SessionId
from protocol.recording.framing import START, Position
from protocol.recording.header import Header
from protocol.recording.seal import Reason, Seal
from protocol.recordings import RecordingEntry, State

_KIND = "ssh"
_STATES: dict[Reason, State] = {
    "running": "arriving",
    "final": "complete",
    "interrupted": "interrupted",
    "stopped": "stopped",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What the content says of the session. `is_read` once the first data record was opened for it."""

    participants: tuple[str, ...] = ()
    login: str = ""
    command: str = ""
    interactive: bool = False
    is_read: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """One recording.

    Attributes:
        hostname: the node's name as it is enrolled.
        grown: when something of it was last taken, milliseconds since 1970 by the controller's clock.
        length: bytes of the whole, as the node declared it.
        offset: bytes that were taken, the last of them perhaps in the middle of a record.
        position: where the last whole record ends.
        header: None until it has come.
        started: when the session began, as far as the node is believed.
        begin: time of the last data record, milliseconds since the start.
        sealed: how many records are under the last seal.
        refused: why nothing more of it is taken.
        is_told: whether the audit log has been told of a refusal that left nothing to keep.
    """

    session: SessionId
    node: NodeId
    hostname: NodeName
    grown: int
    length: int | None = None
    offset: int = 0
    position: Position = START
    header: Header | None = None
    started: int = 0
    begin: int = 0
    sealed: int = 0
    seal: Seal | None = None
    said: Said = Said()
    refused: Refused | None = None
    is_told: bool = False

    @property
    def state(self) -> State:
        """What is to be said of it."""
        if self.refused is not None:
            return "refused"
        return _STATES[self.seal.reason] if self.seal else "arriving"

    @property
    def is_over(self) -> bool:
        """Whether nothing more of it is taken."""
        return self.state != "arriving"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing of it that could be shown."""
        return self.header is None

    @property
    def size(self) -> int:
        """Bytes of whole records: what a reader is given."""
        return 0 if self.is_empty else self.position.offset

    @property
    def day(self) -> date:
        """The day it is kept under."""
        return from_milliseconds(self.started).date()

    def standing(self) -> Standing:
        """Return where its upload stands."""
        if not self.is_over:
            return Standing(self.offset, self.length)
        # What has ended has its length, whatever was declared: another one, told later, is no fault of the recording.
        return Standing(self.size, self.size, "refused" if self.refused else "ended")

    def emptied(self) -> Note:
        """Return it as it was before anything came."""
        return Note(self.session, self.node, self.hostname, self.grown)

    def stopped(self, refused: Refused) -> Note:
        """Return it as refused: what follows its last whole record is not kept."""
        return replace(self, refused=refused, offset=self.size)

    def after_telling(self) -> Note:
        """Return it as one whose end the audit log knows, though there is nothing to keep."""
        return replace(self, is_told=True)

    @property
    def waits_for_its_end(self) -> bool:
        """Whether it is over, and the rest that belongs to that has not been done; of what is arriving."""
        return self.is_over and not (self.is_empty and self.is_told)

    def entry(self) -> RecordingEntry:
        """Return it as it is listed. Not to be asked for where it is empty."""
        return RecordingEntry(
            session=self.session,
            kind=_KIND,
            participants=self.said.participants,
            login=self.said.login,
            node=self.node,
            hostname=self.hostname,
            command=self.said.command,
            interactive=self.said.interactive,
            started=self.started,
            duration=max(self.begin, self.seal.at if self.seal else 0),
            size=self.size,
            state=self.state,
        )

    def to_facts(self) -> Facts:
        """Return the JSON object."""
        return {
            "session": self.session,
            "node": self.node,
            "hostname": self.hostname,
            "grown": self.grown,
            "length": self.length,
            "offset": self.offset,
            "position": [self.position.number, self.position.offset, self.position.chain.hex()],
            "header": b64encode(self.header.encode()).decode() if self.header else None,
            "started": self.started,
            "begin": self.begin,
            "sealed": self.sealed,
            "seal": [self.seal.reason, self.seal.device, self.seal.corrected, self.seal.at] if self.seal else None,
            "participants": list(self.said.participants),
            "login": self.said.login,
            "command": self.said.command,
            "interactive": self.said.interactive,
            "is_read": self.said.is_read,
            "refused": [self.refused.check, self.refused.reason] if self.refused else None,
            "is_told": self.is_told,
        }

    @classmethod
    def from_facts(cls, facts: Facts) -> Note:
        """Read the JSON object. Raises `MessageError`."""
        fields = Fields(facts)
        return cls(
            session=fields.take("session", names.parse_session_id),
            node=fields.take("node", names.parse_node_id),
            hostname=fields.take("hostname", names.parse_node_name),
            grown=fields.take("grown", _instant),
            length=fields.get("length", whole, None),
            offset=fields.take("offset", whole),
            position=fields.take("position", _position),
            header=fields.get("header", _header, None),
            started=fields.take("started", _instant),
            begin=fields.take("begin", whole),
            sealed=fields.take("sealed", whole),
            seal=fields.get("seal", _seal, None),
            said=Said(
                participants=fields.take("participants", list_of(text)),
                login=fields.take("login", text),
                command=fields.take("command", text),
                interactive=fields.take("interactive", flag),
                is_read=fields.take("is_read", flag),
            ),
            refused=fields.get("refused", read_refusal, None),
            is_told=fields.take("is_told", flag),
        )


def _instant(value: object) -> int:
    try:
        from_milliseconds(milliseconds := whole(value))
    except OverflowError:
        raise MessageError("beyond the calendar") from None
    return milliseconds


def _position(value: object) -> Position:
    match value:
        case [number, offset, str(chain)]:
            return Position(whole(number), whole(offset), bytes.fromhex(chain))
        case _:
            raise MessageError("not a position")


def _header(value: object) -> Header:
    return Header.decode(b64decode(str(value), validate=True))


def _seal(value: object) -> Seal:
    match value:
        case [("running" | "final" | "interrupted" | "stopped") as reason, device, corrected, at]:
            return Seal(reason, whole(device), whole(corrected), whole(at))
        case _:
            raise MessageError("not a seal")


def read_refusal(value: object) -> Refused:
    """Read a check and its reason, as they are kept. Raises `MessageError`."""
    match value:
        case [str(check), str(reason)]:
            return Refused(reason, check)
        case _:
            raise MessageError("not a refusal")
