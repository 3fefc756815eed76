"""The one way through an SSH door: a certificate, judged by us, signed for by the peer.

asyncssh judges certificates itself and hands a server neither key id, serial nor extensions, admits no
host certificates as a client's, and ties user name and principals together. `Gate` takes its place on
one connection. It reaches into the library at two points, `validate_public_key` and `_session_id`, which
tests/protocol/ssh/test_gate.py holds against the installed release.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import asyncssh
from asyncssh.packet import String
from asyncssh.public_key import decode_ssh_certificate

from protocol.certificates import SshCertificate
from protocol.decision import Granted, Refused
from protocol.ssh.algorithms import SIGNATURES
from protocol.ssh.certificate import BadCertificateError, parse_certificate

I = TypeVar("I")  # noqa: E741 - the identity a judge establishes

_OFFERS_MAX = 20
NO_CERTIFICATE = "K0"


class Gate(Generic[I]):
    """Judges what one connection authenticates with.

    Attributes:
        identity: what the judge established; None until the peer has signed with its key.
        refused: why the last certificate was refused, also where a good one came after it; or, of a peer that
            brought no certificate and was not let in, what came instead. None where nothing was refused.
    """

    def __init__(
        self,
        judge: Callable[[SshCertificate, str], Granted[I] | Refused],
        bar: Callable[[I, str], Refused | None] = lambda _identity, _username: None,
    ) -> None:
        """Make a gate.

        Args:
            judge: takes the certificate and the SSH user name, and establishes who it is. Anybody can offer any
                certificate: it must tell nothing.
            bar: is asked once the peer has signed with its key: whether it is kept out all the same.
        """
        self._judge = judge
        self._bar = bar
        self._offers = 0
        self.identity: I | None = None
        self.refused: Refused | None = None

    def guard(self, connection: asyncssh.SSHServerConnection) -> None:
        """Stand in for the library's own judgement on `connection`."""

        async def validate_public_key(username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
            answer = self._decide(username, key_data)
            if isinstance(answer, Refused):
                if answer.check != NO_CERTIFICATE or self.refused is None:
                    self.refused = answer  # clients offer the plain key after the certificate: it tells nothing
                return False
            if not msg:
                return True  # an offer: the peer is asked to sign
            signed = String(connection._session_id) + msg  # noqa: SLF001 - see above
            problem = _judge_signature(key_data, signed, signature) or self._bar(answer.value, username)
            if problem is not None:
                self.refused = problem
                return False
            self.identity = answer.value
            if self.refused is not None and self.refused.check == NO_CERTIFICATE:
                self.refused = None  # one key of several that a client has
            return True

        connection.validate_public_key = validate_public_key  # type: ignore[method-assign]

    def _decide(self, username: str, key_data: bytes) -> Granted[I] | Refused:
        self._offers += 1
        if self._offers > _OFFERS_MAX:
            return Refused("too many keys offered", "K9")
        try:
            return self._judge(parse_certificate(key_data), username)
        except BadCertificateError as err:
            return Refused(str(err), NO_CERTIFICATE)


def _judge_signature(key_data: bytes, signed: bytes, signature: bytes) -> Refused | None:
    # RFC 8308 leaves a peer free to sign with what was not announced: SHA-1, say.
    if signature_algorithm(signature) not in SIGNATURES:
        return Refused("signed with an algorithm that is not accepted", "K8")
    if not decode_ssh_certificate(key_data).key.verify(signed, signature):
        return Refused("the signature is not by the certified key", "K8")
    return None


def signature_algorithm(signature: bytes) -> str:
    """Return the algorithm that a signature names (RFC 4253 section 6.6); "" where it names none."""
    length = int.from_bytes(signature[:4], "big")
    return signature[4 : 4 + length].decode("ascii", "replace")
