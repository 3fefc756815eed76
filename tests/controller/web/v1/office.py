"""A cluster with all that the API shows: people, nodes, a session that goes on, recordings, tokens, locks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from controller.accounts import Origin
from controller.enrolment.nodes import NodeRecord
from controller.policy.join import UNLIMITED
from controller.policy.liveness import Standing
from controller.presence import Tunnel
from protocol import access, limits
from protocol.endpoints import Endpoint
from protocol.live_sessions import LiveParty, LiveSession, LiveSessions
from protocol.messages import ErrorReply
from protocol.names import Login, NodeId, SessionId, UserName, parse_login, parse_node_name
from protocol.presences import Beat, NodeState
from tests.controller.kept_tape import enrol_node, upload
from tests.controller.web.lab import Lab, Person
from tests.harness.tape import Tape, short_tape

BASE = "https://skerry.example:3080"
LIVE = SessionId("00000000-0000-4000-8000-0000000000aa")
NEVER = "00000000-0000-4000-8000-00000000dead"
DESK = Origin(via="tctl", actor="root@host")
ADMIN, AUDITOR, PLAIN = "ada", "otto", "pat"
_ROLES = {ADMIN: "access,admin", AUDITOR: "auditor", PLAIN: "access"}


@dataclass
class Office:
    """What a test has. `tokens` are bearer tokens by name, `nodes` ids by name."""

    lab: Lab
    people: dict[str, Person] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, NodeId] = field(default_factory=dict)
    api: FlaskClient = field(init=False)
    tape: Tape = field(init=False)
    lock: str = field(init=False)
    token: str = field(init=False)

    def __post_init__(self) -> None:
        for name, roles in _ROLES.items():
            self.enter(name, roles)
        self._put_up()
        self.api = self.lab.app().test_client()

    @property
    def desk(self) -> Origin:
        """Where the admin of the host asks from."""
        return DESK

    def enter(self, name: str, roles: str) -> Person:
        """Let somebody in who has set up an account, and sign them in."""
        person = self.people[name] = self.lab.person(name)
        self.lab.accounts.users.update(name, roles=access.parse_roles(roles), origin=DESK)
        self.tokens[name] = self.lab.session(name, "tsh", self.lab.clock() + timedelta(hours=12))
        return person

    def _put_up(self) -> None:
        lab, now = self.lab, self.lab.clock()
        self.nodes["gate"] = lab.enrol(1, "gate", Tunnel("up", now), env="prod")
        self.nodes["mast"] = lab.enrol(2, "mast", None, env="test")
        self.nodes["stranger"] = self.pending(3, "stranger")
        self.nodes["hermit"] = self.pending(4, "hermit")
        lab.told.say({self.nodes["gate"]: standing(lab)})
        self.tape = short_tape("final", user=PLAIN, recipient=lab.authority.recording_key())
        upload(lab.recordings, enrol_node(lab.enrolment.nodes, self.tape), self.tape)
        self.token = lab.enrolment.tokens.add(
            ttl=limits.JOIN_TOKEN_TTL, uses=UNLIMITED, labels={"env": "x"}, claimable=None, origin=DESK
        )[0].reveal()
        self.lock = lab.locks.add("login", "nobody", "under repair", None, DESK).lock_id

    def pending(self, number: int, name: str) -> NodeId:
        node_id, now = NodeId(f"00000000-0000-4000-8000-{number:012d}"), self.lab.clock()
        self.lab.enrolment.nodes.add(
            NodeRecord(
                node_id, parse_node_name(name), {}, "ssh-ed25519 AAAA", 0, now, "****1234", "0.1.0", pending=True
            )
        )
        return node_id

    def ask(
        self,
        who: str,
        endpoint: Endpoint,
        body: object = None,
        query: Mapping[str, object] | None = None,
        *,
        content_type: str | None = "application/json",
        **names: str,
    ) -> TestResponse:
        """Ask as somebody; `who` may be empty. `names` fill in the path."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return self.api.open(
            endpoint.path.format(**names),
            method=endpoint.method,
            base_url=BASE,
            headers=headers,
            data=data,
            content_type=content_type if data is not None else None,
            query_string=dict(query or {}),
            buffered=True,  # read to the end and closed, as a server does it
        )

    def told(self, *names: str) -> list[dict[str, Any]]:
        """Return the audit events of such names, in their order."""
        return list(self.lab.audit.entries(kinds=[*names]))


def error_of(response: TestResponse) -> str:
    return ErrorReply.from_dict(response.get_json()).message


def standing(lab: Lab) -> Standing:
    now = lab.clock()
    began = int(now.timestamp()) * 1000
    party = LiveParty(UserName(PLAIN), "peer", began, "192.0.2.7:4000")
    live = LiveSession(LIVE, Login(parse_login("pi")), "", began, (80, 24), recorded=True, parties=(party,))
    return Standing(
        "online",
        since=now,
        last_seen=now,
        state=NodeState("0123456789abcdef", version="0.1.0", memory=1000, disk=1000, platform="Linux aarch64"),
        beat=Beat(1, 2, 3, 400, 5, 6, 7, 8, 9, 10, True, 1, 12, 13),
        live=LiveSessions((live,)),
    )
