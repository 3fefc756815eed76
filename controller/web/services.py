"""What the web door is given of the rest of the controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from controller.accounts import Accounts
from controller.audit import AuditLog
from controller.enrolment import Enrolment
from controller.fleet import Fleet
from controller.policy.rate import Rate
from controller.recordings import Recordings
from controller.web.accesses import Accesses
from protocol import limits
from protocol.messages import Ping
from protocol.names import ClusterName, UserName


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
    """

    accounts: Accounts
    enrolment: Enrolment
    fleet: Fleet
    recordings: Recordings
    audit: AuditLog
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

    def login_command(self, user: UserName) -> str:
        """Return what a person types to sign in from a terminal, whole: it works as it is copied."""
        pins = "".join(f" --ca-pin={pin}" for pin in self.login_pins())
        return f"tsh login --proxy={self.public_address} --user={user}{pins}"
