"""One cluster with real parts and a clock that tests set: store, vault, authority, audit log, accounts, enrolment."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from controller.accounts import Accounts, SignedIn, codes
from controller.accounts.records import SessionKind
from controller.accounts.voided import Voided
from controller.audit import AuditLog, Intact
from controller.authority import Authority, Vault
from controller.control import Control
from controller.enrolment import Enrolment
from controller.enrolment.nodes import NodeRecord, Nodes
from controller.fleet import Fleet
from controller.locks import Locks
from controller.origin import Origin
from controller.presence import Presence
from controller.recordings import Recordings
from controller.recordings.directory import DirectoryStorage
from controller.store.interface import Store
from controller.terms import Terms
from protocol import limits, messages, names
from protocol.decision import Granted, Refused
from protocol.messages import JoinReply, JoinRequest, Ping
from protocol.names import NodeId, TokenText
from protocol.renewals import RenewRequest, renewal_statement
from protocol.secret import Secret

CLUSTER = names.parse_cluster_name("harbour")
PASSWORD = Secret("insecure long password")
WEB = Origin("192.0.2.7:1234", "Mozilla", "web")
ADMIN = Origin(via="tctl", actor="root")
STATIC = TokenText("insecure-static-token-0001")
PING = Ping(CLUSTER, "0.1", ":3023", ":3024", ":3025")


@dataclass
class HandClock:
    """A clock that stands still until a test moves it."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __call__(self) -> datetime:
        return self.now

    def move(self, **span: float) -> None:
        self.now += timedelta(**span)


def public_line(key: Any) -> str:  # noqa: ANN401 - any kind of public key
    line: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line.decode()


@dataclass
class Device:
    """A device before it joins: its own two keys, and what it says of itself."""

    name: str = "gw-1"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    tls: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @cached_property
    def csr(self) -> str:
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self.tls, SHA256())
        return request.public_bytes(Encoding.PEM).decode()

    @property
    def tls_pem(self) -> str:
        return self.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def request(self, token: str, *, labels: Mapping[str, str] | None = None, **changed: str) -> JoinRequest:
        """Return the request to join with `token`; `changed` fields are put in after it was signed."""
        line = public_line(self.key)
        proof = self.key.sign(messages.join_statement(token, line, self.csr))
        fields: dict[str, Any] = {
            "token": token,
            "name": self.name,
            "labels": dict(labels or {}),
            "ssh_public_key": line,
            "tls_request": self.csr,
            "proof": base64.b64encode(proof).decode(),
            "version": "0.1",
        }
        return JoinRequest.from_dict(fields | changed)

    def renewal(
        self, node_id: str, generation: int, challenge: str, attempt: str, certificate: str = ""
    ) -> RenewRequest:
        """Return the request to renew."""
        statement = renewal_statement(NodeId(node_id), generation, attempt, challenge, self.csr)
        fields: dict[str, Any] = {
            "node_id": node_id,
            "generation": generation,
            "attempt": attempt,
            "challenge": challenge,
            "tls_request": self.csr,
            "proof": base64.b64encode(self.key.sign(statement)).decode(),
            "version": "0.2",
            "certificate": certificate,
        }
        return RenewRequest.from_dict(fields)


@dataclass
class Harbour:
    """The parts, on one store in one folder."""

    store: Store
    folder: Path
    clock: HandClock

    def __post_init__(self) -> None:
        vault = Vault(Secret(b"insecure master key of 32 bytes!"))
        self.authority = Authority(self.store, vault, CLUSTER)
        self.authority.create_missing(self.clock())
        self.audit = AuditLog(self.folder / "log", CLUSTER, self.clock)
        self.locks = Locks(self.store, self.audit, self.clock)
        self.accounts = Accounts(
            store=self.store,
            vault=vault,
            authority=self.authority,
            locks=self.locks,
            audit=self.audit,
            cluster=CLUSTER,
            clock=self.clock,
        )
        self.terms = Terms(self.authority, self.clock)
        self.nodes = Nodes(self.store, self.audit, self.clock)
        self.control = Control(
            store=self.store,
            authority=self.authority,
            terms=self.terms,
            locks=self.locks,
            audit=self.audit,
            clock=self.clock,
            cluster=CLUSTER,
            nodes=self.nodes.list,
            void_before=Voided(self.store, self.clock).current,
        )
        self.enrolment = Enrolment(
            store=self.store,
            vault=vault,
            authority=self.authority,
            terms=self.terms,
            locks=self.locks,
            nodes=self.nodes,
            policy=self.control.policy,
            document=self.control.node_document,
            audit=self.audit,
            cluster=CLUSTER,
            clock=self.clock,
            static_tokens=[Secret(STATIC)],
            reserved_names=("skerry.example", "web.harbour"),
        )
        self.presence = Presence(self.store, self.clock)
        self.fleet = Fleet(self.enrolment.nodes, self.presence)
        self.recordings = Recordings(
            storage=DirectoryStorage(self.folder / "recordings"),
            audit=self.audit,
            cluster=CLUSTER,
            clock=self.clock,
            open_key=self.authority.open_recording,
            nodes=self.enrolment.nodes,
        )

    # --- people ---------------------------------------------------------------------------------------------------

    def invite(self, name: str = "alice", logins: Sequence[str] = ("pi",)) -> str:
        parsed = tuple(names.parse_login(login) for login in logins)
        link = self.accounts.users.add(names.parse_user_name(name), parsed, limits.INVITE_TTL, ADMIN)
        return link.token.reveal()

    def secret_of(self, token: str) -> Secret[str]:
        opened = self.accounts.open_invite(token, WEB)
        assert isinstance(opened, Granted), opened
        return opened.value.secret

    def settle(self, token: str) -> Secret[str]:
        """Complete a link as a person would, and return the one-time-code secret."""
        secret = self.secret_of(token)
        done = self.accounts.complete_invite(token, PASSWORD, self.code(secret), WEB)
        assert isinstance(done, Granted), done
        self.clock.now += limits.TOTP_PERIOD  # so that the next code is a fresh one
        return secret

    def person(self, name: str = "alice", logins: Sequence[str] = ("pi",)) -> Secret[str]:
        return self.settle(self.invite(name, logins))

    def signed_in(self, name: str = "alice") -> SignedIn:
        """Return what a sign-in of `name` grants."""
        user = self.accounts.users.get(name)
        assert user is not None
        return SignedIn(user.name, user.valid_from)

    def session(self, kind: SessionKind, span: timedelta) -> str:
        opened = self.accounts.open_session(self.signed_in(), kind, self.clock() + span, WEB)
        assert isinstance(opened, Granted)
        return opened.value.reveal()

    def code(self, secret: Secret[str], steps: int = 0) -> Secret[str]:
        return Secret(codes.code_at(secret, self.clock() + steps * limits.TOTP_PERIOD))

    # --- devices --------------------------------------------------------------------------------------------------

    def token(
        self,
        uses: int = 1,
        labels: Mapping[str, str] | None = None,
        ttl: timedelta | None = None,
        *,
        approve: bool = False,
        ephemeral: timedelta | None = None,
    ) -> str:
        made, _ = self.enrolment.tokens.add(
            ttl=ttl or limits.JOIN_TOKEN_TTL,
            uses=uses,
            labels=labels or {},
            claimable=None,
            origin=ADMIN,
            approve=approve,
            ephemeral=ephemeral,
        )
        return made.reveal()

    def join(self, request: JoinRequest) -> Granted[JoinReply] | Refused:
        return self.enrolment.join(request, PING, WEB)

    def node(self, name: str = "gw-1", **labels: str) -> NodeRecord:
        joined = self.join(Device(name).request(STATIC, labels=labels))
        assert isinstance(joined, Granted), joined
        node = self.enrolment.nodes.get(NodeId(joined.value.node_id))
        assert node is not None
        return node

    def renew(
        self, device: Device, node_id: str, generation: int, attempt: str = "a" * 32, certificate: str = ""
    ) -> Granted[JoinReply] | Refused:
        """Renew as an agent does: ask for a challenge, sign it."""
        challenge = self.enrolment.challenge(NodeId(node_id)).challenge
        return self.enrolment.renew(device.renewal(node_id, generation, challenge, attempt, certificate), PING, WEB)

    # --- the audit log --------------------------------------------------------------------------------------------

    @contextmanager
    def unwritable_log(self) -> Iterator[None]:
        """Let a file stand where the log's directory is."""
        log, aside = self.folder / "log", self.folder / "aside"
        log.rename(aside)
        log.write_text("in the way")
        try:
            yield
        finally:
            log.unlink()
            aside.rename(log)

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        assert isinstance(self.audit.verify(), Intact)
        return list(self.audit.entries(kinds=kinds))
