"""Whom a server must prove to be: its host certificate, judged by us and not by known hosts.

asyncssh judges host keys by known-hosts entries and the address that was dialled. Skerry's ends know more:
the cluster's host CA, the part the other end plays, and the very name it must be certified for. Like the
gate on the server's side, `HostKeyCheck` takes the library's place on one connection; it reaches into it at
`validate_server_host_key` and `_server_host_key`, which tests/protocol/ssh/test_host_key.py guards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import asyncssh
from asyncssh.public_key import decode_ssh_certificate

from protocol.certificates import HostRole, judge_host_certificate
from protocol.decision import Refused
from protocol.ssh.certificate import BadCertificateError, parse_certificate


@dataclass(frozen=True, slots=True)
class ExpectedHost:
    """Whom the other end of a connection must prove to be.

    Attributes:
        principal: the name it must be certified for, whatever its case.
        role: the part it plays.
        authorities: the host CA's public keys that are trusted, SSH wire form.
    """

    principal: str
    role: HostRole
    authorities: Collection[bytes]

    def judge(self, key_data: bytes, now: datetime, latest: datetime | None = None) -> Refused | None:
        """Return why the host key in `key_data` does not prove it; None where it does.

        Who does not know the time gives the earliest that it can be as `now`, and the `latest`.
        """
        try:
            certificate = parse_certificate(key_data)
        except BadCertificateError:
            return Refused("it has no certificate of this cluster", "K0")
        if latest:
            now = min(max(now, certificate.valid_after), latest)
        answer = judge_host_certificate(certificate, authorities=self.authorities, now=now, role=self.role)
        if isinstance(answer, Refused):
            return answer
        if self.principal.lower() not in (name.lower() for name in certificate.principals):
            return Refused(f"it proved to be {certificate.principals[0]} instead", "K7")
        return None


class HostKeyCheck:
    """Judges the host key of one connection.

    Attributes:
        refused: why the key was refused; None before, and where it was not.
    """

    def __init__(
        self,
        expected: ExpectedHost,
        clock: Callable[[], datetime],
        latest: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._expected = expected
        self._clock = clock
        self._latest = latest
        self.refused: Refused | None = None

    def guard(self, connection: asyncssh.SSHClientConnection) -> None:
        """Stand in for the library's own judgement on `connection`; to be called from `connection_made`."""

        def validate_server_host_key(key_data: bytes) -> asyncssh.SSHKey:
            self.refused = self._expected.judge(key_data, self._clock(), self._latest())
            if self.refused:
                raise asyncssh.HostKeyNotVerifiable(self.refused.reason)
            key = decode_ssh_certificate(key_data).key
            connection._server_host_key = key  # noqa: SLF001 - what the method that this replaces sets
            return key

        connection.validate_server_host_key = validate_server_host_key  # type: ignore[method-assign]  # see above
