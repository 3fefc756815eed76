"""Whether the controller can do its work: its store, its audit log, its broker and each of its doors."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from controller.addresses import BoundAddresses, answers, near
from controller.authority import AuthorityError
from controller.cluster import Cluster
from controller.config import Address
from controller.store.interface import StoreError
from controller.tls_files import prepare_probe

_PATIENCE = timedelta(seconds=2)
# An answer is good for so long: however many ask, each door is knocked at so rarely. A bad one is looked at sooner.
_FRESH = timedelta(seconds=10)
_RETRY = timedelta(seconds=1)
# Our own certificate for the machine API, which notes whoever comes without one, is made anew after so long.
_PROBE_TTL = timedelta(days=1)
_AUDIT_DISK_FREE_MIN = 4 * 1024 * 1024
_SILENT = "nothing answers"


class Readiness:
    """Looks, and remembers what it saw for a moment. Its methods block, and may be called by any thread."""

    def __init__(self, cluster: Cluster, ticks: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._ticks = ticks
        self._lock = threading.Lock()
        self._seen: Mapping[str, str] | None = None
        self._again = 0.0
        self._probe: ssl.SSLContext | None = None
        self._probe_made: tuple[str, float] = ("", 0.0)

    def look(self) -> Mapping[str, str]:
        """Return what was looked at, with what is wrong with it; an empty text where nothing is."""
        with self._lock:
            if self._seen is None or self._ticks() >= self._again:
                self._seen = {name: check() for name, check in self._checks().items()}
                fresh = _RETRY if any(self._seen.values()) else _FRESH
                self._again = self._ticks() + fresh.total_seconds()
            return self._seen

    def _checks(self) -> Mapping[str, Callable[[], str]]:
        bound = BoundAddresses.last(self._cluster.config.data_dir)
        checks: dict[str, Callable[[], str]] = {"store": self._store, "audit": self._audit}
        if self._cluster.config.broker != "none":
            checks["broker"] = self._broker
        if bound is None:
            return {**checks, "doors": lambda: "the controller has not bound any"}
        return {
            **checks,
            "web": lambda: _tls(bound.web),
            "api": lambda: self._api(bound.api),
            "ssh": lambda: _ssh(bound.ssh),
            "tunnel": lambda: _ssh(bound.tunnel),
        }

    def _store(self) -> str:
        try:
            self._cluster.authority.tls_authorities()
            self._cluster.enrolment.nodes.list()
        except (StoreError, AuthorityError) as err:
            return str(err)
        return ""

    def _audit(self) -> str:
        directory = self._cluster.config.data_dir / "log"
        if not os.access(directory, os.W_OK | os.X_OK):
            return f"{directory} cannot be written"
        disk = os.statvfs(directory)
        return "" if disk.f_bavail * disk.f_frsize >= _AUDIT_DISK_FREE_MIN else f"{directory}: the disk is full"

    def _broker(self) -> str:
        health = self._cluster.mirror.ask_health()
        return "" if health.is_up else health.reason or "down"

    def _api(self, address: Address) -> str:
        try:
            probe = self._take_probe()
        except (AuthorityError, StoreError, OSError) as err:
            return f"it cannot be asked: {err}"
        return "" if answers(address, _PATIENCE, probe) else _SILENT

    def _take_probe(self) -> ssl.SSLContext:
        signer, now = self._cluster.authority.server_key_id("tls"), self._ticks()
        is_fresh = self._probe_made[0] == signer and now - self._probe_made[1] < _PROBE_TTL.total_seconds()
        if self._probe is None or not is_fresh:
            self._probe, self._probe_made = prepare_probe(self._cluster), (signer, now)
        return self._probe


def _tls(address: Address) -> str:
    return "" if answers(address, _PATIENCE) else _SILENT


def _ssh(address: Address) -> str:
    """Wait for the greeting, by which SSH begins (RFC 4253, section 4.2)."""
    try:
        with socket.create_connection(near(address), timeout=_PATIENCE.total_seconds()) as sock:
            return "" if sock.recv(4) == b"SSH-" else "what answers is not SSH"
    except OSError:
        return _SILENT
