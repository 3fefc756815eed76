"""What the broker's process lives on: its directory, kept as the store says it should be.

What mosquitto 2.0.11 takes up on SIGHUP was tried (tests/controller/broker/test_reload.py says so again on every run):
the access list for those who are connected as well, the server's certificate for new connections, and a new revocation
list, which OpenSSL prefers where it is the later one by a second at least. The authorities' file and the number of
connections are read at the start alone: where they change, the process is restarted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum

from controller.addresses import BoundAddresses, certificate_hosts
from controller.authority import Authority
from controller.broker import settings
from controller.broker.error import BrokerError
from controller.broker.mosquitto import Owner
from controller.config import ControllerConfig
from controller.store.durable import replace_file
from controller.store.interface import Collection, Record, Store
from protocol import limits, names
from protocol.locks import Lock
from protocol.names import BadNameError, NodeId

DIRECTORY = "broker"
REVOKED = "revoked"
MUTED = "muted"
# A node that is being locked hears of it first, over the same wire.
_LOCK_GRACE = timedelta(seconds=2)
_RENEWAL = limits.WEB_CERTIFICATE_TTL * 2 / 3
# OpenSSL takes the later of two lists, by whole seconds.
_LIST_INTERVAL = timedelta(seconds=2)


class Change(IntEnum):
    """What the broker's process needs after its files were looked at."""

    NONE = 0
    RELOAD = 1
    RESTART = 2


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the files are made of.

    Attributes:
        denied: who may nothing.
        silenced: who may say nothing.
        serials: of the certificates that are taken back.
        authorities: PEM of all that are trusted.
        signer: which of their keys signs our own certificate.
        changes: after how many changes the broker writes down what it keeps.
        connections: how many it takes.
    """

    denied: frozenset[NodeId]
    silenced: frozenset[NodeId]
    serials: frozenset[int]
    authorities: tuple[str, ...]
    signer: str
    changes: int
    connections: int


@dataclass(frozen=True, slots=True)
class _Written:
    """What stands in the files, since when."""

    rules: _Rules
    issued: datetime
    listed: datetime


class Broker:
    """Keeps the broker's files: its configuration, who is denied, and its own certificate.

    Every method may raise `BrokerError`, and `StoreError` or `AuthorityError` where what it goes by cannot be read.

    Args:
        config: of the controller.
        bound: where its doors listen; `mqtt` is None for a broker that is not ours.
        store: its collections ``revoked`` and ``muted`` say who is kept out, beside the locks.
        authority: issues the certificate, and the list of those taken back.
        locks: returns the locks in force.
        serials: returns the serial numbers, hexadecimal, of the TLS certificates that a node holds.
        fleet: returns how many nodes there are.
        clock: the time, UTC.
        owner: whom the files are for; None for ourselves.
    """

    def __init__(  # noqa: PLR0913 - the parts it stands on, by name
        self,
        *,
        config: ControllerConfig,
        bound: BoundAddresses,
        store: Store,
        authority: Authority,
        locks: Callable[[], Iterable[Lock]],
        serials: Callable[[NodeId], Iterable[str]],
        fleet: Callable[[], int],
        clock: Callable[[], datetime],
        owner: Owner | None = None,
    ) -> None:
        self.directory = config.data_dir / DIRECTORY
        self._config = config
        self._bound = bound
        self._authority = authority
        self._locks = locks
        self._serials = serials
        self._fleet = fleet
        self._clock = clock
        self._owner = owner
        self._revoked = _Register(store.collection(REVOKED), lambda record: record.value.get("node_id"))
        self._muted = _Register(store.collection(MUTED), lambda record: record.key)
        self._denied: set[NodeId] = set()
        self._written: _Written | None = None

    @property
    def connections(self) -> int:
        """How many connections the broker takes, as the files say."""
        return settings.connections_max(0) if self._written is None else self._written.rules.connections

    def prepare(self) -> None:
        """Write every file anew, for a process that is to be started."""
        self._written = None
        self._denied.clear()
        self.refresh()

    def refresh(self) -> Change:
        """Write what has changed, and return what the process needs to take it up."""
        now, before = self._clock(), self._written
        rules = self._rules(now)
        try:
            return self._write_all(rules, now) if before is None else self._write_changed(rules, before, now)
        except OSError as err:
            raise BrokerError(f"{self.directory}: the broker's files cannot be written: {err.strerror or err}") from err

    def _write_all(self, rules: _Rules, now: datetime) -> Change:
        self._make_directory()
        self._write_configuration(rules)
        self._write(settings.AUTHORITIES, "".join(rules.authorities))
        self._write_access(rules)
        self._write_list(rules, now)
        self._write_certificate(now)
        self._written = _Written(rules, now, now)
        return Change.RESTART

    def _write_changed(self, rules: _Rules, before: _Written, now: datetime) -> Change:
        if rules.authorities != before.rules.authorities or now < before.listed:
            return self._write_all(rules, now)  # a list from the future would shut everybody out
        if rules.connections > before.rules.connections:
            return self._write_all(rules, now)
        rules = replace(rules, connections=before.rules.connections)  # a fleet that shrinks restarts nothing
        change, issued, listed = Change.NONE, before.issued, before.listed
        if (rules.denied, rules.silenced) != (before.rules.denied, before.rules.silenced):
            self._write_access(rules)
            change = Change.RELOAD
        if rules.changes != before.rules.changes:
            self._write_configuration(rules)
            change = Change.RELOAD
        if rules.signer != before.rules.signer or now >= issued + _RENEWAL:
            self._write_certificate(now)
            change, issued = Change.RELOAD, now
        if rules.serials != before.rules.serials:
            if now < listed + _LIST_INTERVAL:
                rules = replace(rules, serials=before.rules.serials)  # the next time
            else:
                self._write_list(rules, now)
                change, listed = Change.RELOAD, now
        self._written = _Written(rules, issued, listed)
        return change

    def _write_configuration(self, rules: _Rules) -> None:
        if self._bound.mqtt is not None:
            text = settings.configuration_text(self._bound.mqtt, changes=rules.changes, connections=rules.connections)
            self._write(settings.CONFIGURATION, text)

    def _write_certificate(self, now: datetime) -> None:
        chain, key = self._authority.issue_broker_server(self._names(), now)
        self._write(settings.KEY, key.reveal())
        self._write(settings.CERTIFICATE, chain)

    def _names(self) -> tuple[str, ...]:
        """Return what the broker is taken for: a name that all ask for who dial it, and nobody who dials a door.

        The same authority vouches for the doors, where passwords are typed: whoever has the broker's key could else
        pose as one. A broker of the admin's may bear its own host's name too, where no door of ours is reached by it.
        """
        external = self._config.external_broker
        ours = {host.lower() for host in certificate_hosts(self._config, self._bound)}
        elsewhere = () if external is None or external.address[0].lower() in ours else (external.address[0],)
        return (f"mqtt.{self._config.cluster_name}", *elsewhere)

    def _write_access(self, rules: _Rules) -> None:
        self._write(settings.ACCESS, settings.access_text(rules.denied, rules.silenced))

    def _write_list(self, rules: _Rules, now: datetime) -> None:
        self._write(settings.REVOKED, self._authority.revocation_lists(rules.serials, now))

    def _write(self, name: str, text: str) -> None:
        os.close(replace_file(self.directory / name, text.encode("ascii")))

    def _make_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        if self._owner is not None:
            # What is written into it from now on belongs to its owner as well; what an earlier run left, too.
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, self._owner.uid, self._owner.gid, follow_symlinks=False)

    def _rules(self, now: datetime) -> _Rules:
        locked = {
            NodeId(lock.value) for lock in self._locks() if lock.kind == "node" and now >= lock.created + _LOCK_GRACE
        }
        kept_out, muted = self._revoked.read(now), self._muted.read(now)
        # A connection that stands is not looked at again: who was removed is denied for as long as the process runs,
        # and not only until their certificates expire.
        self._denied |= kept_out.nodes
        serials = [serial for node_id in locked for serial in self._serials(node_id)]
        fleet = self._fleet()
        return _Rules(
            denied=frozenset(self._denied),
            silenced=muted.nodes | locked,
            serials=kept_out.serials.union(_numbers(serials)),
            # In one order, whichever signs: a rotation restarts the broker where one comes or goes, and then alone.
            authorities=tuple(sorted(self._authority.tls_authorities())),
            signer=self._authority.server_key_id("tls"),
            changes=settings.changes_to_a_save(fleet),
            connections=settings.connections_max(fleet),
        )


@dataclass(frozen=True, slots=True)
class _KeptOut:
    """Whom and what a collection keeps out.

    Attributes:
        stamp: of the store, from before it was read.
        until: when one of its records expires, the next; None for never.
        nodes: whom.
        serials: of which certificates.
    """

    stamp: object
    until: datetime | None
    nodes: frozenset[NodeId]
    serials: frozenset[int]


class _Register:
    """A collection of those who are kept out. It is read again where it was written, or a record has expired.

    Args:
        collection: it.
        node_of: returns the node that a record is about.
    """

    def __init__(self, collection: Collection, node_of: Callable[[Record], object]) -> None:
        self._collection = collection
        self._node_of = node_of
        self._found: _KeptOut | None = None
        self._read_at: datetime | None = None

    def read(self, now: datetime) -> _KeptOut:
        """Return what it holds now. Raises `StoreError`."""
        stamp, found = self._collection.stamp(), self._found
        if (
            found is None
            or self._read_at is None
            or found.stamp != stamp
            or now < self._read_at
            or _is_over(found, now)
        ):
            records = self._collection.list(now=now)
            ends = (record.expires for record in records if record.expires is not None)
            nodes = frozenset(_node_ids(self._node_of(record) for record in records))
            serials = frozenset(_numbers(record.key for record in records))
            self._found = found = _KeptOut(stamp, min(ends, default=None), nodes, serials)
            self._read_at = now
        return found


def _is_over(found: _KeptOut, now: datetime) -> bool:
    return found.until is not None and now >= found.until


def _node_ids(values: Iterable[object]) -> Iterable[NodeId]:
    for value in values:
        try:
            yield names.parse_node_id(value)
        except BadNameError:
            continue


def _numbers(texts: Iterable[str]) -> Iterable[int]:
    for text in texts:
        try:
            yield int(text, 16)
        except ValueError:
            continue
