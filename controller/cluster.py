"""One cluster, opened: the store, the keys and everything that stands on them.

Each of the controller's processes opens it for itself; they share the files, not the objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.accounts import Accounts
from controller.addresses import BoundAddresses, reserved_names
from controller.audit import AuditLog
from controller.authority import Authority
from controller.authority.vault import Vault, load_or_create_master_key
from controller.config import ControllerConfig
from controller.enrolment import Enrolment
from controller.fleet import Fleet
from controller.presence import Presence
from controller.recordings import Recordings
from controller.recordings.directory import DirectoryStorage
from controller.recordings.expiry import expire
from controller.store.interface import AlreadyExistsError, Collection, Store
from controller.store.tiny import TinyStore
from controller.terms import Terms
from protocol import events

_FOUNDED = "founded"
_HOUSEKEEPING = ("attempts", "invites", "join_tokens", "sessions", "spent_codes")


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
    accounts: Accounts
    terms: Terms
    enrolment: Enrolment
    presence: Presence
    fleet: Fleet
    recordings: Recordings
    clock: Callable[[], datetime]

    def purge(self) -> int:
        """Drop expired records for good; return how many."""
        return sum(self.store.collection(name).purge(now=self.clock()) for name in _HOUSEKEEPING)

    def expire_recordings(self) -> int:
        """Remove recordings that are not to be kept longer; return how many, at most `limits.RETENTION_ROUND`."""
        return expire(self.recordings, self.audit, self.config.recording_retention, self.clock())


def open_cluster(config: ControllerConfig, clock: Callable[[], datetime] = utc_now) -> Cluster:
    """Open the cluster in the data directory; the first time, make its keys and fix its name.

    Raises:
        ClusterError: it is another cluster's.
        OSError, StoreError, AuthorityError, AuditError: the data directory cannot be used.
    """
    data_dir = config.data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = TinyStore(data_dir / "store")
    founding = store.collection("cluster")
    founded = _is_founded(founding, config, clock())
    vault = Vault(load_or_create_master_key(data_dir / "master.key"))
    authority = Authority(store, vault, config.cluster_name)
    audit = AuditLog(data_dir / "log", config.cluster_name, clock)
    authority.create_missing(clock())
    if not founded:
        _found(founding, config, authority, audit, clock())
    accounts = Accounts(
        store=store, vault=vault, authority=authority, audit=audit, cluster=config.cluster_name, clock=clock
    )
    terms = Terms(authority, clock, config.record_session, config.record_input)
    enrolment = Enrolment(
        store=store,
        authority=authority,
        terms=terms,
        audit=audit,
        cluster=config.cluster_name,
        clock=clock,
        static_tokens=config.static_tokens,
        reserved_names=reserved_names(config, BoundAddresses.load(config)),
    )
    presence = Presence(store, clock)
    fleet = Fleet(enrolment.nodes, presence)
    recordings = Recordings(
        storage=DirectoryStorage(data_dir / "recordings"),
        audit=audit,
        cluster=config.cluster_name,
        clock=clock,
        open_key=authority.open_recording,
        nodes=enrolment.nodes,
    )
    return Cluster(config, store, authority, audit, accounts, terms, enrolment, presence, fleet, recordings, clock)


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
