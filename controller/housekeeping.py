"""What the controller does for itself now and then. One thing that fails puts off no other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from controller.audit import AuditError
from controller.authority import AuthorityError
from controller.cluster import Cluster
from controller.policy.moment import Moment, was_set
from controller.recordings import IntakeError, NoRoomError, RecordingsError
from controller.store.interface import StoreError
from controller.tls_files import TlsFileError
from protocol import limits

LOG = logging.getLogger("CONTROLLER")
# Every recording is looked at for that, so it is done less often, unless there is more to remove than in one round.
_RETENTION = timedelta(hours=1)
_RENEWAL = limits.WEB_CERTIFICATE_TTL * 2 / 3
_FAULTS = (
    *(StoreError, AuthorityError, AuditError, TlsFileError, OSError),
    *(RecordingsError, IntakeError, NoRoomError),
)


class Housekeeper:
    """Drops what has expired, sees to recordings that were left, and renews our own TLS certificates in good time."""

    def __init__(
        self, cluster: Cluster, renew: Callable[[], object], ticks: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin: certificates are fresh now, and retention is due.

        `renew` issues the certificates anew; `ticks` are seconds by a clock that nobody sets.
        """
        self._cluster = cluster
        self._renew = renew
        self._ticks = ticks
        self._last = Moment.of(cluster.clock(), ticks())
        self._begun, self._issued = self._last.steady, self._last.now
        self._clock_set: datetime | None = None
        self._looked = self._issued - _RETENTION
        self._is_indexed = False

    def round(self) -> None:
        """Do everything that is due."""
        chores = (self._purge, self._conclude, self._expire, self._tend_nodes, self._renew_certificates)
        for chore in chores:
            try:
                chore()
            except _FAULTS as err:
                LOG.warning("housekeeping is put off: %s", err)

    def _purge(self) -> None:
        self._cluster.purge()

    def _conclude(self) -> None:
        concluded = self._cluster.recordings.conclude()
        if concluded:
            LOG.info("recordings that were over are kept now, and told to the audit log: %d", concluded)

    def _expire(self) -> None:
        """Remove recordings that are not to be kept longer, and what crashes left of others."""
        if self._cluster.clock() < self._looked + _RETENTION:
            return
        removed = self._cluster.expire_recordings()
        if removed:
            LOG.info("recordings removed, as auth_service.recording_retention says: %d", removed)
        if removed == limits.RETENTION_ROUND:
            return  # there is more: the next round goes on
        self._looked = self._cluster.clock()
        swept = self._cluster.recordings.sweep()
        if swept:
            LOG.info("what was left of recordings that are not there has been removed: %d", swept)

    def _tend_nodes(self) -> None:
        """Remove ephemeral nodes that are gone: once they all have had the time to come back after our own start.

        Where the clock was set meanwhile, they have their whole time again: how long they have been away is not known.
        """
        if not self._is_indexed:
            self._cluster.enrolment.index_keys()
            self._is_indexed = True
        at = Moment.of(self._cluster.clock(), self._ticks())
        if was_set(self._last, at):
            self._clock_set = at.now
        self._last = at
        if at.steady >= self._begun + limits.EPHEMERAL_MIN:
            self._cluster.remove_ephemeral(self._clock_set)

    def _renew_certificates(self) -> None:
        now = self._cluster.clock()
        if now >= self._issued + _RENEWAL:
            self._renew()
            self._issued = now


class AuthorityWatch:
    """Has the doors' TLS certificates issued anew as soon as the TLS authority turns, in whatever process that was."""

    def __init__(self, cluster: Cluster, renew: Callable[[], object]) -> None:
        """Begin before the certificates are first issued. Raises `AuthorityError` and `StoreError`."""
        self._cluster = cluster
        self._renew = renew
        self._seen = cluster.authority.tls_authorities()
        self._complaint = ""

    def look(self) -> None:
        """Compare with the last look. What fails is tried again at the next."""
        try:
            found = self._cluster.authority.tls_authorities()
            if found != self._seen:
                self._renew()
                self._seen = found
        except _FAULTS as err:
            if str(err) != self._complaint:  # once, not at every look
                LOG.warning("the TLS certificates are not issued anew yet: %s", err)
            self._complaint = str(err)
        else:
            self._complaint = ""
