"""The cluster's three authorities over the store, user (SSH), host (SSH) and TLS (X.509), and its recording key."""

from __future__ import annotations

import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from controller.authority import ssh, x509
from controller.authority.error import AuthorityError, PhaseError, UnknownKeyError, UnopenableError
from controller.authority.keys import (
    AUTHORITY_KINDS,
    AuthorityKey,
    AuthorityKind,
    first_record,
    instant_text,
    read_record,
    rotated_record,
    seal_purpose,
)
from controller.authority.rotation import (
    RotatableKind,
    Rotation,
    Standing,
    begin,
    enter,
    read_rotation,
    read_successions,
)
from controller.authority.vault import Vault
from controller.policy.rotation import Phase, decide_phase, is_renewal_due
from controller.store.interface import AlreadyExistsError, ConflictError, Record, Store
from protocol import limits, pins, topics
from protocol.certificates import CertificateOrder
from protocol.control import RenewableKind
from protocol.decision import Refused
from protocol.endorsement import Endorsed, EndorsedKind, Succession, plain_key, statement, succession_statement
from protocol.names import ClusterName, NodeId
from protocol.recording import cipher
from protocol.recording.cipher import CipherError
from protocol.recording.header import Header
from protocol.secret import Secret

COLLECTION = "authorities"
_ROTATION = "rotation"
_ROTATION_MAX = timedelta(minutes=1)
# An authority's record never expires, so any instant will do to ask for it.
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class Authority:
    """Signs what policy ordered. It judges nothing but the strength of a key.

    Every method may raise `AuthorityError`, and `StoreError` where the store cannot be read. Private keys are
    opened for each signature and kept by nobody: a key that was rotated in another process is used at once.
    """

    def __init__(self, store: Store, vault: Vault, cluster: ClusterName) -> None:
        self._records = store.collection(COLLECTION)
        self._vault = vault
        self._cluster = cluster

    def create_missing(self, now: datetime) -> bool:
        """Make the authorities that do not exist yet; tell whether this call completed them.

        However many processes call it at once, one answer is true in the life of a cluster.
        """
        made = [self._create(kind, now) for kind in AUTHORITY_KINDS]
        return made[-1]

    def require_openable(self) -> None:
        """Open each authority's key once. Raises `AuthorityError` where the master key is not the cluster's."""
        for kind in AUTHORITY_KINDS:
            self._private(kind, self._keys(kind)[0])

    def sign_ssh(self, order: CertificateOrder, public_key_line: str) -> str:
        """Return the OpenSSH certificate that `order` describes for a public key, both in one line."""
        subject = ssh.parse_subject(public_key_line)
        standing = self._standing(order.kind)
        key = standing.server_key if order.kind == "host" else standing.keys[0]
        return ssh.sign(order, subject, self._private(order.kind, key))

    def endorse(self, kind: EndorsedKind, body: str) -> Endorsed:
        """Return `body`, signed with the host CA's active key for the nodes of this cluster."""
        key = self._keys("host")[0]
        signature = ssh.sign_bytes(statement(kind, self._cluster, body), self._private("host", key))
        return Endorsed(kind, body, plain_key(key.public), signature)

    def ssh_authorities(self, kind: Literal["user", "host"]) -> tuple[str, ...]:
        """Return the public keys to trust for `kind` certificates, one line each, the signing one first."""
        return tuple(key.public for key in self._keys(kind))

    def tls_authorities(self) -> tuple[str, ...]:
        """Return the certificates to trust for TLS, PEM, the signing one first."""
        return tuple(key.public for key in self._keys("tls"))

    def ca_pins(self) -> tuple[str, ...]:
        """Return the pins of the TLS authorities, ``sha256:…``, as `protocol.pins` has them."""
        return tuple(pins.certificate_pin(certificate) for certificate in self.tls_authorities())

    def host_lineage(self) -> frozenset[str]:
        """Return every key that the host CA has or ever had, one line each, without comments."""
        past = {plain_key(line) for step in self.successions() for line in (step.old, step.new)}
        return frozenset(past | {plain_key(line) for line in self.ssh_authorities("host")})

    def successions(self) -> tuple[Succession, ...]:
        """Return every word of an old key of the host CA for the next, oldest first."""
        return self._standing("host").successions

    def renewals(self) -> tuple[RenewableKind, ...]:
        """Return the kinds of nodes' certificates that are to be renewed now where another key than today's signed."""
        kinds: tuple[RenewableKind, ...] = get_args(RenewableKind)
        turning = {kind: self._standing(kind).rotation for kind in kinds}
        return tuple(
            kind
            for kind, rotation in turning.items()
            if is_renewal_due(rotation.phase, rotated=rotation.changed is not None)
        )

    def fingerprints(self, kind: RotatableKind) -> tuple[str, ...]:
        """Return the SHA-256 fingerprints of an authority's keys, the signing one first.

        Of an SSH key as ``ssh-keygen -l`` shows it; of a TLS authority's certificate as ``openssl x509`` does.
        """
        if kind == "tls":
            return tuple(x509.fingerprint(certificate) for certificate in self.tls_authorities())
        return tuple(ssh.fingerprint(line) for line in self.ssh_authorities(kind))

    def stamp(self) -> object:
        """Return something that stays equal for as long as no authority changes; it costs less than a look at one."""
        return self._records.stamp()

    def server_key_id(self, kind: Literal["host", "tls"]) -> str:
        """Return which key signs the certificates that servers present: where it changes, they need new ones."""
        standing = self._standing(kind)
        return (standing.server_key if kind == "host" else standing.keys[0]).key_id

    def server_signer(self, kind: Literal["host", "tls"]) -> str:
        """Return by which mark the certificates are known that servers and nodes are to hold now.

        Of the host CA the signing key's fingerprint, of the TLS CA its key identifier: what stands in the certificate.
        """
        standing = self._standing(kind)
        return ssh.fingerprint(standing.server_key.public) if kind == "host" else x509.key_mark(standing.keys[0].public)

    def rotation(self, kind: RotatableKind) -> Rotation:
        """Return how far the rotation of an authority has come."""
        return self._standing(kind).rotation

    def rotate(
        self,
        kind: RotatableKind,
        phase: Phase,
        now: datetime,
        announce: Callable[[Rotation, Rotation], object] | None = None,
    ) -> Rotation:
        """Enter the next phase of a rotation, and return where the authority stands then.

        Args:
            kind: which authority.
            phase: see `controller.policy.rotation`.
            now: the time, UTC.
            announce: is told where it stood and where it will, before that counts; where it raises, nothing is changed.

        Raises:
            PhaseError: the phase cannot follow the one it is in.
            AuthorityError: somebody else is rotating it; this call changed nothing, and announced nothing.
        """
        with self._rotating(now, f"{kind} CA"):
            record = self._record(kind)
            before = self._read_standing(kind, record)
            answer = decide_phase(before.rotation.phase, phase)
            if isinstance(answer, Refused):
                raise PhaseError(f"the {kind} CA cannot be rotated so: {answer.reason}")
            after = self._begin(kind, before, now) if phase == "init" else enter(before, phase, now)
            if kind == "tls" and after.keys[0].key_id != before.keys[0].key_id:
                after = self._crossed(after, phase, now)
            if announce is not None:
                announce(before.rotation, after.rotation)
            self._records.replace(record, after.to_value(), now=now)
        return after.rotation

    def _begin(self, kind: RotatableKind, standing: Standing, now: datetime) -> Standing:
        """Return `standing` with a new key that the old one has vouched for."""
        old, new = standing.keys[0], self._new_key(kind, now)
        if kind == "host":
            signed = succession_statement(self._cluster, old.public, new.public)
            step = Succession(
                plain_key(old.public), plain_key(new.public), ssh.sign_bytes(signed, self._private(kind, old))
            )
            standing = replace(standing, successions=(*standing.successions, step))
        return begin(replace(standing, keys=(old,)), new, now)

    def _crossed(self, standing: Standing, phase: Phase, now: datetime) -> Standing:
        """Return a TLS authority's standing where the key that signs from now on is signed by the one that did.

        What it leads to stays trusted by who knows the other alone until that certificate ends, even where the key has
        been dropped since. So there is none before it is needed, none for a key that is leaving, and none that lasts.
        """
        first, by = standing.keys
        issuer = x509.Issuer(self._private("tls", by), by.public)
        life = limits.CROSS_BACK_TTL if phase == "rollback" else limits.CROSS_CERTIFICATE_TTL
        led = replace(first, cross=x509.cross_sign(first.public, now, issuer, life))
        return replace(standing, keys=(led, replace(by, cross="")))

    def _standing(self, kind: AuthorityKind) -> Standing:
        return self._read_standing(kind, self._record(kind))

    def _read_standing(self, kind: AuthorityKind, record: Record) -> Standing:
        return Standing(
            read_record(kind, record.value), read_rotation(kind, record.value), read_successions(record.value)
        )

    def issue_web(
        self, hosts: Sequence[str], now: datetime, before: tuple[str, Secret[str]] | None = None
    ) -> tuple[str, Secret[str]]:
        """Return chain and key, PEM, for the web door, reached as any of `hosts` (names and addresses).

        `before` is what it had until now, whose key it keeps until the TLS authority changes.
        """
        return x509.issue_server(hosts, now, self._issuer(), before)

    def issue_api_server(self, hosts: Sequence[str], now: datetime) -> tuple[str, Secret[str]]:
        """Return chain and key, PEM, for the machine API, reached as any of `hosts`."""
        return x509.issue_server(hosts, now, self._issuer())

    def issue_broker_server(self, hosts: Sequence[str], now: datetime) -> tuple[str, Secret[str]]:
        """Return chain and key, PEM, for the MQTT broker, reached as any of `hosts`."""
        return x509.issue_server(hosts, now, self._issuer())

    def issue_broker_client(self, now: datetime) -> tuple[str, Secret[str]]:
        """Return chain and key, PEM, by which we are `topics.CONTROLLER` to the MQTT broker."""
        return x509.issue_client(topics.CONTROLLER, now, self._issuer())

    def revocation_lists(self, serials: Collection[int], now: datetime) -> str:
        """Return the lists of `serials` taken back, PEM, one by each TLS authority that is trusted."""
        issuers = [x509.Issuer(self._private("tls", key), key.public) for key in self._keys("tls")]
        return "".join(x509.revocation_list(serials, now, issuer) for issuer in issuers)

    def sign_node_tls(self, request_pem: str, node_id: NodeId, now: datetime) -> str:
        """Return a node's client certificate for the machine API, PEM; its common name is `node_id`."""
        return x509.sign_node(request_pem, node_id, now, self._issuer())

    def recording_key(self) -> tuple[str, bytes]:
        """Return the recording key that new recordings are wrapped to: its id and its public half."""
        key = self._keys("recording")[0]
        try:
            return key.key_id, b64decode(key.public, validate=True)
        except ValueError as err:
            raise AuthorityError("the store's record of the recording authority is damaged: no public key") from err

    def open_recording(self, header: Header) -> Secret[bytes] | None:
        """Return the own key of the recording with this header; None where it is not encrypted.

        Raises:
            UnknownKeyError: it was wrapped to a key that this cluster does not have.
            UnopenableError: it does not open with the key that it was wrapped to.
            AuthorityError: that key cannot be had now.
        """
        if header.key is None:
            return None
        wrapped = header.key
        key = next((key for key in self._keys("recording") if key.key_id == wrapped.key_id), None)
        if key is None:
            raise UnknownKeyError(
                f"recording {header.session} is locked with recording key {wrapped.key_id}, which this cluster does not"
                " have: it was made for another cluster, or the store was put back from a backup older than that key"
            )
        private = self._private("recording", key)
        try:
            return cipher.unwrap(wrapped, private, header.session, header.node)
        except CipherError as err:
            raise UnopenableError(f"recording {header.session} cannot be opened: {err}") from err

    def rotate_recording_key(self, now: datetime, announce: Callable[[str], object] | None = None) -> str:
        """Make a new recording key and return its id; what was recorded before still opens with the older ones.

        Args:
            now: the time, UTC.
            announce: is told the new key's id before the key counts; where it raises, nothing is changed.

        Raises:
            AuthorityError: somebody else is rotating it; this call changed nothing, and announced nothing.
        """
        with self._rotating(now, "recording key"):
            record = self._record("recording")
            new = self._new_key("recording", now)
            rotated = rotated_record(read_record("recording", record.value), new)
            if announce is not None:
                announce(new.key_id)
            self._records.replace(record, rotated, now=now)
        return new.key_id

    @contextmanager
    def _rotating(self, now: datetime, what: str) -> Iterator[None]:
        """Hold the right to rotate, among all processes; where a crash leaves it held, for a minute.

        Without it, who loses a race would have announced a key that never was.
        """
        try:
            self._records.create(_ROTATION, {}, now=now, expires=now + _ROTATION_MAX)
        except AlreadyExistsError as err:
            raise AuthorityError(
                f"the {what} is being rotated by somebody else: this call changed nothing; see with "
                "`tctl audit ls`, and try again in a minute if that is not what you wanted"
            ) from err
        try:
            yield
        except ConflictError as err:
            raise AuthorityError(f"the {what} was changed by somebody else meanwhile: try again") from err
        finally:
            self._records.delete(_ROTATION, now=now)

    def _issuer(self) -> x509.Issuer:
        key = self._keys("tls")[0]
        return x509.Issuer(self._private("tls", key), key.public, key.cross)

    def _keys(self, kind: AuthorityKind) -> tuple[AuthorityKey, ...]:
        return read_record(kind, self._record(kind).value)

    def _record(self, kind: AuthorityKind) -> Record:
        record = self._records.get(kind, now=_ANY_TIME)
        if record is None:
            raise AuthorityError(f"this cluster has no {kind} authority yet; `controller start` makes it")
        return record

    def _private(self, kind: AuthorityKind, key: AuthorityKey) -> Secret[bytes]:
        return self._vault.open(key.sealed_private, seal_purpose(kind, key.key_id))

    def _create(self, kind: AuthorityKind, now: datetime) -> bool:
        if self._records.get(kind, now=now) is not None:
            return False
        try:
            self._records.create(kind, first_record(self._new_key(kind, now)), now=now)
        except AlreadyExistsError:
            return False  # another process was quicker; its key counts, this one was shown to nobody
        return True

    def _new_key(self, kind: AuthorityKind, now: datetime) -> AuthorityKey:
        private, public = self._new_pair(kind, now)
        key_id = str(uuid.uuid4())
        sealed = self._vault.seal(private.reveal(), seal_purpose(kind, key_id))
        return AuthorityKey(key_id, "active", public, sealed, instant_text(now))

    def _new_pair(self, kind: AuthorityKind, now: datetime) -> tuple[Secret[bytes], str]:
        """Return a fresh private key, and what is public of it as the record has it."""
        if kind == "tls":
            issuer = x509.new_authority(self._cluster, now)
            return issuer.private, issuer.certificate
        if kind == "recording":
            private, public = cipher.generate()
            return private, b64encode(public).decode("ascii")
        return ssh.new_authority()
