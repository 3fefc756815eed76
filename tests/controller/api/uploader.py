"""Talks tus to the running machine API, one request after the other on one connection, as a node does."""

from __future__ import annotations

import copy
import http.client
import json
import os
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from protocol import endpoints
from protocol.messages import JoinReply
from protocol.names import NodeId, SessionId
from protocol.session_ids import RANDOM_BYTES, mint_session_id
from tests.controller.api.running_api import API_HOST, PATIENCE, Door
from tests.controller.harbour import Device
from tests.harness.tape import Tape, short_tape

PIECE = "application/offset+octet-stream"


@dataclass(frozen=True)
class Answer:
    """What the machine API answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def offset(self) -> int:
        return int(self.headers["Upload-Offset"])

    @property
    def state(self) -> str:
        return self.headers["Skerry-Recording-State"]

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"]["message"])


class _Connection(http.client.HTTPSConnection):
    """Reaches the door where it listens, and expects the name on its certificate."""

    def connect(self) -> None:
        """Connect."""
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=API_HOST)

    _context: ssl.SSLContext


@dataclass
class Uploader:
    """One node and its connection."""

    door: Door
    name: str = "gw-1"
    device: Device = field(init=False)
    node: JoinReply = field(init=False)

    def __post_init__(self) -> None:
        self.device = Device(self.name)
        self.node, self.identity = self.door.enrol_device(self.device)
        self.context = self.door.trust_with(self.identity)
        self.connection = _Connection("127.0.0.1", self.door.port, timeout=PATIENCE, context=self.context)

    def tape(self, **changed: Any) -> Tape:  # noqa: ANN401 - the fields of a tape
        return short_tape(**self.made(**changed))

    def new_session(self) -> SessionId:
        return mint_session_id(NodeId(self.node.node_id), os.urandom(RANDOM_BYTES))

    def made(self, **changed: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of a tape
        cluster = self.door.cluster
        return {
            "session": self.new_session(),
            "node": self.node.node_id,
            "node_name": self.node.name,
            "signing": self.device.key,
            "recipient": cluster.authority.recording_key(),
            "started": int(cluster.clock().timestamp() * 1000),
        } | changed

    def close(self) -> None:
        self.connection.close()

    def twin(self) -> Uploader:
        """Return the same node on a connection of its own."""
        other = copy.copy(self)
        other.connection = _Connection("127.0.0.1", self.door.port, timeout=PATIENCE, context=self.context)
        return other

    def audited(self, *codes: str) -> list[dict[str, Any]]:
        """Return what the audit log has of this node."""
        entries = self.door.cluster.audit.entries(kinds=codes)
        return [entry for entry in entries if entry["server_id"] == self.node.node_id]

    def ask(self, method: str, path: str, body: bytes | None = None, /, **headers: str | None) -> Answer:
        """Make a request; a header's underscores stand for hyphens, and None leaves it out."""
        said = {"Tus-Resumable": "1.0.0"} | {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in said.items() if value is not None}
        self.connection.request(method, path, body, sent)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def create(self, session: str, **headers: str | None) -> Answer:
        named = {"Upload_Metadata": f"session {b64encode(session.encode()).decode()}"}
        length = {} if "Upload_Length" in headers else {"Upload_Defer_Length": "1"}
        return self.ask("POST", endpoints.UPLOADS, None, **{**named, **length, **headers})

    def head(self, session: str, **headers: str | None) -> Answer:
        return self.ask("HEAD", f"{endpoints.UPLOADS}/{session}", None, **headers)

    def patch(self, session: str, offset: int | str, data: bytes, **headers: str | None) -> Answer:
        said = {"Content_Type": PIECE, "Upload_Offset": str(offset)}
        return self.ask("PATCH", f"{endpoints.UPLOADS}/{session}", data, **{**said, **headers})
