"""What the controller does for itself now and then. One thing that fails puts off no other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from controller.audit import AuditError
from controller.authority import AuthorityError
from controller.cluster import Cluster
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

    def __init__(self, cluster: Cluster, renew: Callable[[], object]) -> None:
        """Begin: certificates are fresh now, and retention is due. `renew` issues the certificates anew."""
        self._cluster = cluster
        self._renew = renew
        self._issued = cluster.clock()
        self._looked = self._issued - _RETENTION

    def round(self) -> None:
        """Do everything that is due."""
        for chore in (self._purge, self._conclude, self._expire, self._renew_certificates):
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

    def _renew_certificates(self) -> None:
        now = self._cluster.clock()
        if now >= self._issued + _RENEWAL:
            self._renew()
            self._issued = now
