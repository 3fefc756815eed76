"""People with sign-ins, a node, its live sessions and its recordings: what the session pages show."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask

from controller.accounts import Origin
from controller.enrolment.nodes import NodeRecord
from controller.policy.liveness import Standing
from protocol import access, events, limits
from protocol.events import Json
from protocol.instants import from_milliseconds, to_milliseconds
from protocol.joining import JoinMode
from protocol.live_sessions import LiveParty, LiveSession, LiveSessions
from protocol.names import SessionId, UserName, parse_login, parse_user_name
from tests.controller.kept_tape import enrol_node, upload
from tests.controller.web.lab import Lab
from tests.controller.web.page_client import BASE, Browser
from tests.harness.tape import Tape, short_tape

PEOPLE = {"alice": "access", "bob": "access", "carol": "access", "ada": "auditor", "root": "admin"}
# carol may use another login than the others.
LOGINS = {"carol": "gast"}
LIVE = SessionId("11111111-1111-4111-8111-111111111111")


@dataclass
class Screening:
    """A cluster whose node makes recordings that begin now."""

    lab: Lab
    signing: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    tokens: dict[str, str] = field(default_factory=dict)
    node: NodeRecord = field(init=False)
    app: Flask = field(init=False)

    def __post_init__(self) -> None:
        now = self.lab.clock()
        self.start = to_milliseconds(now)
        for name, roles in PEOPLE.items():
            logins = (parse_login(LOGINS.get(name, "pi")),)
            origin = Origin(via="tctl")
            self.lab.accounts.users.add(UserName(name), logins, limits.INVITE_TTL, origin, access.parse_roles(roles))
            self.tokens[name] = self.lab.session(name, "web", now + timedelta(days=2))
        self.node = enrol_node(self.lab.enrolment.nodes, self.tape())
        self.app = self.lab.app()

    def tape(self, **made: object) -> Tape:
        """A recording of the node's, begun and with nothing in it."""
        given = {"signing": self.signing, "recipient": self.lab.authority.recording_key(), "started": self.start}
        return Tape(**(given | made))  # type: ignore[arg-type]  # the fields of a tape, by name

    def short(self, reason: str = "final", **made: object) -> Tape:
        given = {"signing": self.signing, "recipient": self.lab.authority.recording_key(), "started": self.start}
        return short_tape(reason, **(given | made))  # type: ignore[arg-type]  # a reason, and the fields of a tape

    def keep(self, tape: Tape, *, upto: int | None = None) -> Tape:
        upload(self.lab.recordings, self.node, tape, upto=upto)
        return tape

    def browser(self, who: str) -> Browser:
        """A browser in which somebody is signed in; nobody where `who` is empty."""
        browser = Browser(self.app)
        if who:
            browser.client.set_cookie("__Host-skerry", self.tokens[who], domain="skerry.example", secure=True)
        return browser

    def go_live(
        self, *parties: tuple[str, JoinMode], session: SessionId = LIVE, login: str = "pi", **given: object
    ) -> None:
        """Have the node say that a session is going on."""
        since = to_milliseconds(self.lab.clock() - timedelta(minutes=7))
        there = tuple(LiveParty(parse_user_name(user), mode, since, "192.0.2.7:4711") for user, mode in parties)
        facts = {"command": "", "size": (80, 24), "recorded": True} | given
        live = LiveSession(session, parse_login(login), started=since, parties=there, **facts)  # type: ignore[arg-type]  # the fields of one, by name
        standing = Standing("online", self.lab.clock(), self.lab.clock(), live=LiveSessions((live,)))
        self.lab.told.say({self.node.node_id: standing})

    def tell_session(self, tape: Tape, *, user: str = "alice") -> None:
        """Have the audit log know of a session what its node tells."""
        who: dict[str, Json] = {
            "user": user,
            "login": tape.login,
            "sid": tape.session,
            "server_id": self.node.node_id,
            "server_hostname": self.node.name,
            "addr.remote": "192.0.2.7:4711",
        }
        began = from_milliseconds(self.start)
        roles: list[Json] = ["access"]
        logins: list[Json] = ["pi"]
        certificate: dict[str, Json] = {"user": user, "cert_type": "user", "serial": "7", "expires": "later"}
        self.lab.audit.write(events.CERT_CREATE, certificate | {"roles": roles, "logins": logins}, time=began)
        self.lab.audit.write(events.SESSION_START, who | {"size": "80:24", "interactive": True}, time=began)
        here: list[Json] = [user]
        stop = from_milliseconds(self.start + 2000)
        ended: dict[str, Json] = {
            "interactive": True,
            "participants": here,
            "session_start": "then",
            "session_stop": "now",
            "exitCode": 0,
        }
        self.lab.audit.write(events.SESSION_END, who | ended, time=stop)

    def events(self, name: str) -> list[dict[str, object]]:
        return list(self.lab.audit.entries(kinds=[name]))


__all__ = ["BASE", "LIVE", "PEOPLE", "Screening"]
