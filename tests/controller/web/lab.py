"""The web door's services with nothing faked but the fleet's devices: accounts, authority, audit log, TinyDB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import CodeType
from typing import Any

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

from controller.accounts import Accounts, Link, Origin, SignedIn, codes
from controller.accounts.records import SessionKind
from controller.audit import AuditLog
from controller.audit_reader import AuditReader
from controller.authority import Authority, Vault, load_or_create_master_key
from controller.config import ARCHIVES, Address
from controller.enrolment import Enrolment
from controller.enrolment.nodes import NodeRecord, Nodes
from controller.fleet import Fleet
from controller.home import Homes
from controller.live import Live
from controller.locks import Locks
from controller.policy.rate import Rate
from controller.presence import Presence, Tunnel
from controller.recordings import Recordings
from controller.recordings.directory import DirectoryStorage
from controller.store.tiny import TinyStore
from controller.terms import Terms
from controller.web.app import create_app
from controller.web.depot import Depot
from controller.web.hall.hall import Hall, Rooms
from controller.web.hall.stamps import Changes
from controller.web.services import Services
from protocol import limits
from protocol.decision import Granted
from protocol.messages import Ping
from protocol.names import NodeId, RoleName, UserName, parse_cluster_name, parse_login, parse_node_name, parse_user_name
from protocol.secret import Secret
from protocol.version import __version__
from tests.controller.web.told import Told

CLUSTER = parse_cluster_name("harbour")
PASSWORD = "insecure long password"
Clock = Callable[[], datetime]


class Compiled(BytecodeCache):
    """What templates were compiled to, for all the apps of this process: to compile them is most of a page's time."""

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._code[bucket.key, bucket.checksum] = bucket.code


COMPILED = Compiled()
_BUILDERS: dict[Any, Callable[..., tuple[str, str]]] = {}


class KnownRule(Rule):
    """A route whose builder of addresses is compiled once for all the apps of this process, which have the same."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        key = (self.rule, *self._trace, repr(self.defaults), append_unknown)
        if key not in _BUILDERS:
            _BUILDERS[key] = super()._compile_builder(append_unknown)
        return _BUILDERS[key]


Flask.url_rule_class = KnownRule


def utc_now() -> datetime:
    return datetime.now(UTC)


class HandClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, span: timedelta) -> None:
        self.now += span


@dataclass(frozen=True)
class Person:
    """Somebody who has set up an account, and an authenticator app."""

    name: UserName
    secret: Secret[str]

    def code(self, now: datetime) -> str:
        return codes.code_at(self.secret, now)


@dataclass(frozen=True)
class Lab:
    store: TinyStore
    authority: Authority
    audit: AuditLog
    accounts: Accounts
    locks: Locks
    enrolment: Enrolment
    presence: Presence
    recordings: Recordings
    clock: Clock
    told: Told
    ssh_door: Address = ("127.0.0.1", 1)  # nobody is there

    @classmethod
    def open(cls, data_dir: Path, clock: Clock = utc_now) -> Lab:
        store = TinyStore(data_dir / "store")
        vault = Vault(load_or_create_master_key(data_dir / "master.key"))
        authority = Authority(store, vault, CLUSTER)
        authority.create_missing(clock())
        audit = AuditLog(data_dir / "log", CLUSTER, clock)
        locks = Locks(store, audit, clock)
        accounts = Accounts(
            store=store, vault=vault, authority=authority, locks=locks, audit=audit, cluster=CLUSTER, clock=clock
        )
        enrolment = Enrolment(
            store=store,
            vault=vault,
            authority=authority,
            terms=Terms(authority, clock),
            locks=locks,
            nodes=Nodes(store, audit, clock),
            policy=lambda: None,
            document=lambda _: None,
            audit=audit,
            cluster=CLUSTER,
            clock=clock,
        )
        recordings = Recordings(
            storage=DirectoryStorage(data_dir / "recordings"),
            audit=audit,
            cluster=CLUSTER,
            clock=clock,
            open_key=authority.open_recording,
            nodes=enrolment.nodes,
        )
        return cls(
            store,
            authority,
            audit,
            accounts,
            locks,
            enrolment,
            Presence(store, clock),
            recordings,
            clock,
            Told(data_dir),
        )

    def services(self, public_address: str, per_minute: int) -> Services:
        fleet, live = Fleet(self.enrolment.nodes, self.presence, self.told), Live(self.enrolment.nodes, self.told)
        ledger = AuditReader(self.audit, self.clock)
        return Services(
            accounts=self.accounts,
            enrolment=self.enrolment,
            fleet=fleet,
            recordings=self.recordings,
            audit=self.audit,
            locks=self.locks,
            ledger=ledger,
            home=Homes(
                fleet=fleet,
                live=live,
                locks=self.locks,
                enrolment=self.enrolment,
                authority=self.authority,
                ledger=ledger,
                clock=self.clock,
                told=self.told,
            ),
            live=live,
            history=self.told.history,
            ping=lambda: Ping(CLUSTER, __version__, ":3023", ":3024", ":3025"),
            anchors=lambda: "".join(self.authority.tls_authorities()),
            hall=self.hall(),
            host_authorities=lambda: self.authority.ssh_authorities("host"),
            cluster_name=CLUSTER,
            public_address=public_address,
            clock=self.clock,
            rate=Rate(per_minute, per_minute),
        )

    def hall(self) -> Hall:
        changes = Changes(
            self.audit._directory.parent,
            nodes=self.enrolment.nodes.list,
            tunnels=self.presence.read,
            told=self.told,
        )
        rooms = Rooms(
            accounts=self.accounts,
            audit=self.audit,
            store=self.store,
            cluster=CLUSTER,
            door=lambda: self.ssh_door,
            authorities=lambda: self.authority.ssh_authorities("host"),
            clock=self.clock,
            stamps=changes.stamps,
        )
        return Hall(rooms)

    def app(self, public_address: str = "skerry.example:3080", per_minute: int = 100_000) -> Flask:
        app = create_app(self.services(public_address, per_minute))
        app.jinja_env.bytecode_cache = COMPILED
        return app

    def invite(self, name: str, *logins: str) -> Link:
        wanted = tuple(parse_login(login) for login in logins) or (parse_login("pi"),)
        return self.accounts.users.add(parse_user_name(name), wanted, limits.INVITE_TTL, Origin(via="tctl"))

    def person(self, name: str, *logins: str) -> Person:
        """Somebody enrolled; the code of this half minute is spent with that."""
        token = self.invite(name, *logins).token.reveal()
        origin = Origin(via="web")
        opened = self.accounts.open_invite(token, origin)
        assert isinstance(opened, Granted)
        person = Person(opened.value.user, opened.value.secret)
        done = self.accounts.complete_invite(token, Secret(PASSWORD), Secret(person.code(self.clock())), origin)
        assert isinstance(done, Granted)
        return person

    def officer(self, name: str, *roles: RoleName) -> Person:
        """Somebody enrolled who has these roles, and no other."""
        person = self.person(name)
        self.accounts.users.update(person.name, roles=roles, origin=Origin(via="tctl"))
        return person

    def session(self, name: str, kind: SessionKind, expires: datetime) -> str:
        user = self.accounts.users.get(name)
        assert user is not None
        opened = self.accounts.open_session(SignedIn(user.name, user.valid_from), kind, expires, Origin(via="web"))
        assert isinstance(opened, Granted)
        return opened.value.reveal()

    def enrol(self, number: int, name: str, tunnel: Tunnel | None = None, **labels: str) -> NodeId:
        node_id = NodeId(f"00000000-0000-4000-8000-{number:012d}")
        now = self.clock()
        node = NodeRecord(node_id, parse_node_name(name), labels, "ssh-ed25519 AAAA", 1, now, "…1234", __version__)
        self.enrolment.nodes.add(node)
        if tunnel is not None:
            self.presence.write({node_id: tunnel})
        return node_id


def web_app(data_dir: Path, public_address: str, per_minute: int, archives: Path = ARCHIVES) -> Flask:
    return create_app(replace(Lab.open(data_dir).services(public_address, per_minute), depot=Depot(archives)))
