"""One cluster, opened: the store, the keys and everything that stands on them.

Each of the controller's processes opens it for itself; they share the files, not the objects.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.accounts import Accounts
from controller.accounts.voided import Voided
from controller.addresses import BoundAddresses, reserved_names
from controller.audit import AuditLog
from controller.authority import Authority
from controller.authority.authority import COLLECTION as AUTHORITIES
from controller.authority.master_key import KeyPlace, find_master_key, make_master_key, missing
from controller.authority.vault import Vault
from controller.config import ControllerConfig
from controller.control import Control
from controller.enrolment import EXPIRING, Enrolment
from controller.enrolment.nodes import Nodes
from controller.ephemeral import remove_gone
from controller.fleet import Fleet
from controller.live import Live
from controller.locks import Locks
from controller.orders import Orders, StandingOrders
from controller.presence import Presence
from controller.presence.mirror import Mirror
from controller.recordings import Recordings
from controller.recordings.directory import DirectoryStorage
from controller.recordings.expiry import expire
from controller.store.interface import AlreadyExistsError, Collection, Store
from controller.store.tiny import TinyStore
from controller.terms import Terms
from protocol import events
from protocol.secret import Secret

_FOUNDED = "founded"
_EXPIRING = ("attempts", "invites", "locks", "muted", "sessions", "spent_codes", "spent_tickets", "tickets", "voided")
_HOUSEKEEPING = (*_EXPIRING, *EXPIRING)


class ClusterError(Exception):
    """The data directory holds another cluster than the configuration says; the message is one line."""


def utc_now() -> datetime:
    """Return the time, UTC: the controller's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The parts of one cluster."""

    config: ControllerConfig
    store: Store
    authority: Authority
    audit: AuditLog
    locks: Locks
    accounts: Accounts
    orders: StandingOrders
    terms: Terms
    control: Control
    enrolment: Enrolment
    presence: Presence
    mirror: Mirror
    fleet: Fleet
    live: Live
    recordings: Recordings
    clock: Callable[[], datetime]

    def purge(self) -> int:
        """Drop expired records for good; return how many."""
        return sum(self.store.collection(name).purge(now=self.clock()) for name in _HOUSEKEEPING)

    def remove_ephemeral(self, clock_set: datetime | None = None) -> int:
        """Remove ephemeral nodes that have been offline for too long; return how many.

        `clock_set`: when the controller's clock was last set, as it shows that now.
        """
        return remove_gone(self.enrolment.nodes, self.presence, self.mirror.view(), self.clock(), clock_set)

    def expire_recordings(self) -> int:
        """Remove recordings that are not to be kept longer; return how many, at most `limits.RETENTION_ROUND`."""
        return expire(self.recordings, self.audit, self.config.recording_retention, self.clock())


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all parts stand on."""

    config: ControllerConfig
    clock: Callable[[], datetime]
    store: Store
    vault: Vault
    authority: Authority
    audit: AuditLog
    locks: Locks


def open_cluster(
    config: ControllerConfig, clock: Callable[[], datetime] = utc_now, master_key: Secret[bytes] | None = None
) -> Cluster:
    """Open the cluster in the data directory; the first time, make its keys and fix its name.

    Args:
        config: the settings.
        clock: returns the time, UTC.
        master_key: where the caller has read it already, such as root before becoming somebody who may not.

    Raises:
        ClusterError: it is another cluster's.
        OSError, StoreError, AuthorityError, AuditError: the data directory cannot be used.
    """
    ground = _lay(config, clock, master_key)
    orders = StandingOrders(ground.store, _own_orders(config), clock)
    terms = Terms(ground.authority, clock, orders.current)
    nodes = Nodes(ground.store, ground.audit, clock)
    control = _control(ground, orders, terms, nodes)
    enrolment = _enrolment(ground, terms, nodes, control)
    presence = Presence(ground.store, clock)
    mirror = Mirror(config.data_dir, clock, has_broker=config.broker != "none")
    return Cluster(
        config=config,
        store=ground.store,
        authority=ground.authority,
        audit=ground.audit,
        locks=ground.locks,
        accounts=_accounts(ground),
        orders=orders,
        terms=terms,
        control=control,
        enrolment=enrolment,
        presence=presence,
        mirror=mirror,
        fleet=Fleet(nodes, presence, mirror.view, clock),
        live=Live(nodes, mirror.view),
        recordings=_recordings(ground, nodes),
        clock=clock,
    )


def _lay(config: ControllerConfig, clock: Callable[[], datetime], master_key: Secret[bytes] | None) -> _Ground:
    data_dir = config.data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = TinyStore(data_dir / "store")
    founding = store.collection("cluster")
    founded = _is_founded(founding, config, clock())
    vault = Vault(master_key or _master_key(config, store))
    authority = Authority(store, vault, config.cluster_name)
    audit = AuditLog(data_dir / "log", config.cluster_name, clock)
    authority.create_missing(clock())
    authority.require_openable()
    if not founded:
        _found(founding, config, authority, audit, clock())
    return _Ground(config, clock, store, vault, authority, audit, Locks(store, audit, clock))


def _master_key(config: ControllerConfig, store: Store) -> Secret[bytes]:
    """Return the master key; the first time, make it. Raises `VaultError`, also where a cluster has lost its own."""
    place = KeyPlace.of(config.master_key_file, os.environ)
    if not store.collection(AUTHORITIES).list(now=utc_now()):
        return make_master_key(place)
    key = find_master_key(place)
    if key is None:
        raise missing(place, config.data_dir)
    return key


def _accounts(ground: _Ground) -> Accounts:
    return Accounts(
        store=ground.store,
        vault=ground.vault,
        authority=ground.authority,
        locks=ground.locks,
        audit=ground.audit,
        cluster=ground.config.cluster_name,
        clock=ground.clock,
    )


def _own_orders(config: ControllerConfig) -> Orders:
    return Orders(config.locking_mode, config.record_session, config.record_input)


def _control(ground: _Ground, orders: StandingOrders, terms: Terms, nodes: Nodes) -> Control:
    return Control(
        store=ground.store,
        authority=ground.authority,
        terms=terms,
        locks=ground.locks,
        audit=ground.audit,
        clock=ground.clock,
        cluster=ground.config.cluster_name,
        nodes=nodes.list,
        orders=orders.current,
        void_before=Voided(ground.store, ground.clock).current,
    )


def _enrolment(ground: _Ground, terms: Terms, nodes: Nodes, control: Control) -> Enrolment:
    return Enrolment(
        store=ground.store,
        vault=ground.vault,
        authority=ground.authority,
        terms=terms,
        locks=ground.locks,
        nodes=nodes,
        policy=control.policy,
        document=control.node_document,
        audit=ground.audit,
        cluster=ground.config.cluster_name,
        clock=ground.clock,
        static_tokens=ground.config.static_tokens,
        reserved_names=reserved_names(ground.config, BoundAddresses.load(ground.config)),
    )


def _recordings(ground: _Ground, nodes: Nodes) -> Recordings:
    return Recordings(
        storage=DirectoryStorage(ground.config.data_dir / "recordings"),
        audit=ground.audit,
        cluster=ground.config.cluster_name,
        clock=ground.clock,
        open_key=ground.authority.open_recording,
        nodes=nodes,
    )


def _is_founded(founding: Collection, config: ControllerConfig, now: datetime) -> bool:
    """Tell whether the cluster was opened before. Raises `ClusterError` where that was under another name."""
    record = founding.get(_FOUNDED, now=now)
    if record is None:
        return False
    name = record.value["cluster_name"]
    if name != config.cluster_name:
        raise ClusterError(
            f'the cluster in {config.data_dir} is named "{name}", and a cluster\'s name cannot be changed: put it back '
            f'in auth_service.cluster_name, which says "{config.cluster_name}", or give another teleport.data_dir'
        )
    return True


def _found(
    founding: Collection, config: ControllerConfig, authority: Authority, audit: AuditLog, now: datetime
) -> None:
    """Begin the audit log, and then fix the name: where a crash comes between, the next start finds the log begun.

    A data directory from before names were fixed has its log already, and its name from the configuration.
    """
    if next(audit.entries(), None) is None:
        fields = {"cluster_name": config.cluster_name, "ca_pin": authority.ca_pins()[0]}
        audit.write(events.CLUSTER_CREATE, fields)
    try:
        founding.create(_FOUNDED, {"cluster_name": config.cluster_name}, now=now)
    except AlreadyExistsError:
        _is_founded(founding, config, now)  # another process was quicker: its name counts
