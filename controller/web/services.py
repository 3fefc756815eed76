"""What the web door is given of the rest of the controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from controller.accounts import Accounts
from controller.audit import AuditLog
from controller.audit_reader import AuditReader
from controller.config import ARCHIVES
from controller.enrolment import Enrolment
from controller.fleet import Fleet
from controller.home import Homes
from controller.live import Live
from controller.locks import Locks
from controller.policy.rate import Rate
from controller.presence.history import NodeHistory
from controller.recordings import Recordings
from controller.recordings.surveys import Surveys
from controller.web.accesses import Accesses
from controller.web.depot import Depot
from controller.web.hall.hall import Hall
from controller.web.listing import Catalogue
from controller.web.refusals import Refusals
from protocol import limits
from protocol.messages import Ping
from protocol.names import ClusterName, NodeId, UserName


@dataclass(frozen=True, slots=True)
class Services:
    """What `create_app` is given.

    Attributes:
        ping: what anyone may know, with the addresses that joining devices are handed.
        anchors: the X.509 trust anchors, a PEM bundle.
        host_authorities: the host CA's public keys, one line each.
        public_address: ``HOST:PORT`` under which people reach this door; pages print it, never the
            Host header of a request.
        login_pins: what `tsh login` must be told to trust this door; nothing where its certificate is a public one.
            Asked each time: while the TLS authority is rotated there are two.
        clock: the present, UTC.
        rate: how often one address may ask what takes a guess.
        accesses: which readings of recordings the audit log knows of.
        attempts: which attempts at others' recordings it knows of.
        locks: who and what is kept out.
        catalogue: what nodes are searched by.
        join_pins: what a device must be told to trust this door.
        live: the sessions that are going on.
        ledger: the audit log as people read it.
        home: what a person sees first.
        hall: where what outlives a request goes on; None where this door has none.
        history: a node's last day; None where nothing is known of it.
        surveys: what is known of the recordings that are being looked at.
        depot: the agent's archives, from which devices are installed.
        web_public_key: the SHA-256 of this door's public key in base64; empty where nobody needs to be told.
    """

    accounts: Accounts
    enrolment: Enrolment
    fleet: Fleet
    recordings: Recordings
    audit: AuditLog
    locks: Locks
    live: Live
    ledger: AuditReader
    home: Homes
    ping: Callable[[], Ping]
    anchors: Callable[[], str]
    host_authorities: Callable[[], tuple[str, ...]]
    cluster_name: ClusterName
    public_address: str
    clock: Callable[[], datetime]
    login_pins: Callable[[], tuple[str, ...]] = tuple
    rate: Rate = field(default_factory=lambda: Rate(limits.REQUESTS_PER_MINUTE, limits.REQUESTS_BURST))
    accesses: Accesses = field(default_factory=Accesses)
    attempts: Accesses = field(default_factory=Accesses)
    refusals: Refusals = field(default_factory=Refusals)
    socket_refusals: Refusals = field(default_factory=Refusals)
    surveys: Surveys = field(default_factory=Surveys)
    catalogue: Catalogue = field(default_factory=Catalogue)
    join_pins: Callable[[], tuple[str, ...]] = tuple
    history: Callable[[NodeId], NodeHistory | None] = lambda _: None
    hall: Hall | None = None
    depot: Depot = field(default_factory=lambda: Depot(ARCHIVES))
    web_public_key: Callable[[], str] = str

    def login_command(self, user: UserName) -> str:
        """Return what a person types to sign in from a terminal, whole: it works as it is copied."""
        pins = "".join(f" --ca-pin={pin}" for pin in self.login_pins())
        return f"tsh login --proxy={self.public_address} --user={user}{pins}"
