"""Recordings for tests: made with the project's own writer, record by record, as a device would."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.events import Json
from protocol.names import ClusterName, NodeId, NodeName, SessionId
from protocol.recording import cipher
from protocol.recording.cast import CastHeader, Event
from protocol.recording.header import Header
from protocol.recording.seal import Reason, Seal
from protocol.recording.writer import Writer
from protocol.secret import Secret
from protocol.session_ids import RANDOM_BYTES, mint_session_id

# 22 November 2026, 12:00 UTC.
NOON = 1_795_348_800_000
GATEWAY = NodeName("gw-1")
HARBOUR = ClusterName("harbour")
_FRESH = SessionId("")
NODE = NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f")


@dataclass
class Tape:
    """One recording while it is made.

    Attributes:
        session: one that its node mints, where none is given.
        recipient: the cluster's recording key, its id and public half; None leaves the content unencrypted.
        records: what was written so far, the mark at the beginning together with the header.
    """

    session: SessionId = _FRESH
    node: NodeId = NODE
    node_name: NodeName = GATEWAY
    cluster: ClusterName = HARBOUR
    started: int = NOON
    user: str = "alice"
    login: str = "pi"
    command: str = ""
    signing: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    recipient: tuple[str, bytes] | None = None
    records: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = self.session or mint_session_id(self.node, os.urandom(RANDOM_BYTES))
        self.writer = Writer(self.signing.sign)
        self.key = Secret(bytes(range(cipher.KEY_SIZE))) if self.recipient else None
        self.header = Header(
            session=self.session,
            node=self.node,
            node_name=self.node_name,
            cluster=self.cluster,
            started=self.started,
            corrected=self.started,
            signer=self.signer,
            dictionary=1,
            cipher="AES-256-GCM" if self.key else "none",
            key=None,
        )
        if self.key and self.recipient:
            wrapped = cipher.wrap(self.key, *self.recipient, self.session, self.node)
            self.header = replace(self.header, key=wrapped)
        self.records.append(self.writer.begin(self.header, self.key))

    @property
    def signer(self) -> bytes:
        """The node's public key."""
        return self.signing.public_key().public_bytes_raw()

    @property
    def content(self) -> bytes:
        """All bytes so far."""
        return b"".join(self.records)

    @property
    def chain(self) -> bytes:
        """The hash of all so far."""
        return self.writer.position.chain

    def head(self, *, width: int = 80, height: int = 24) -> Tape:
        """Add the first data record: the asciicast header alone, at the session's start."""
        said: dict[str, Json] = {
            "session": self.session,
            "user": self.user,
            "login": self.login,
            "node": self.node_name,
            "cluster": self.cluster,
            "interactive": not self.command,
        }
        env = {"TERM": "xterm-256color", "SHELL": "/bin/sh"}
        header = CastHeader(width, height, self.started // 1000, self.command, env, said)
        self.records.append(self.writer.data(header.line(), 0))
        return self

    def events(self, *events: Event) -> Tape:
        """Add one data record."""
        self.records.append(self.writer.data(b"".join(event.line() for event in events), events[0].time))
        return self

    def output(self, time: int, text: str) -> Tape:
        """Add one data record with one piece of output."""
        return self.events(Event(time, "o", text))

    def seal(self, reason: Reason, at: int) -> Tape:
        """Add a seal."""
        self.records.append(self.writer.seal(Seal(reason, self.started + at, self.started + at, at)))
        return self


def short_tape(reason: Reason = "final", **made: object) -> Tape:
    """Return a recording of two seconds with seven records: header, head, output, seal, output, the end, last seal."""
    tape = Tape(**made).head()  # type: ignore[arg-type]  # the fields of a tape, by name
    tape.output(500, "$ echo grüß\r\n").seal("running", 600).output(1500, "grüß\r\n")
    return tape.events(Event(2000, "x", "0")).seal(reason, 2000)
