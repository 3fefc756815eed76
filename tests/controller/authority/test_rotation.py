from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller.authority import Authority, AuthorityError, PhaseError, RotatableKind, Rotation, Vault
from controller.authority import x509 as authority_x509
from controller.authority.keys import AuthorityKey
from controller.authority.rotation import ROTATABLE_KINDS
from controller.policy.rotation import Phase
from controller.store.interface import Store
from controller.store.memory import MemoryStore
from controller.store.tiny import TinyStore
from protocol import certificates, limits
from protocol.decision import Granted
from protocol.endorsement import judge_endorsed, plain_key, walk
from protocol.names import ClusterName, NodeId, parse_login, parse_user_name
from protocol.secret import Secret
from protocol.ssh.certificate import key_blob, parse_certificate_line

NOW = datetime.now(UTC).replace(microsecond=0)  # TLS judges by the system's clock
HOUR = timedelta(hours=1)
CLUSTER = ClusterName("harbour")
NODE = NodeId("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")
ON: tuple[Phase, ...] = ("init", "update_clients", "update_servers", "standby")


def authority_on(store: Store) -> Authority:
    made = Authority(store, Vault(Secret(b"insecure master key of 32 bytes.")), CLUSTER)
    made.create_missing(NOW)
    return made


@pytest.fixture
def authority() -> Authority:
    return authority_on(MemoryStore())


def turn(authority: Authority, kind: RotatableKind, *phases: Phase) -> Rotation:
    for phase in phases:
        authority.rotate(kind, phase, NOW)
    return authority.rotation(kind)


def trusted(authority: Authority, kind: RotatableKind) -> tuple[str, ...]:
    return authority.tls_authorities() if kind == "tls" else authority.ssh_authorities(kind)


def public_line() -> str:
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def user_signer(authority: Authority) -> bytes:
    order = certificates.user_order(
        user=parse_user_name("alice"), roles=(), logins=(parse_login("pi"),), ttl=HOUR, serial=1, now=NOW
    )
    return parse_certificate_line(authority.sign_ssh(order, public_line())).signing_key


def host_signer(authority: Authority) -> bytes:
    order = certificates.proxy_order(cluster=CLUSTER, hosts=("localhost",), serial=1, now=NOW)
    return parse_certificate_line(authority.sign_ssh(order, public_line())).signing_key


def node_certificate(authority: Authority) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
    pem = authority.sign_node_tls(request.public_bytes(Encoding.PEM).decode(), NODE, NOW)
    return x509.load_pem_x509_certificate(pem.encode())


def is_trusted(folder: Path, authority: Authority, anchors: str) -> bool:
    """Shake hands with a server that presents what the authority issues; tell whether a client took it."""
    chain, key = authority.issue_web(["localhost"], NOW)
    (folder / "chain.pem").write_text(chain)
    (folder / "key.pem").write_text(key.reveal())
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    here = ssl.create_default_context(cadata=anchors)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = there.wrap_bio(to_server, to_client, server_side=True)
    client = here.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return client.version() is not None


def test_an_authority_that_was_never_rotated_stands_by_with_one_key(authority: Authority) -> None:
    for kind in ROTATABLE_KINDS:
        assert authority.rotation(kind) == Rotation()
        assert len(trusted(authority, kind)) == 1
    assert authority.successions() == ()
    assert authority.renewals() == ()


@pytest.mark.parametrize("kind", ROTATABLE_KINDS)
def test_a_rotation_goes_through_its_phases_to_a_new_key(authority: Authority, kind: RotatableKind) -> None:
    (old,) = trusted(authority, kind)
    turn(authority, kind, "init")
    first, new = trusted(authority, kind)
    assert first == old
    turn(authority, kind, "update_clients")
    assert trusted(authority, kind) == (new, old)
    turn(authority, kind, "update_servers")
    assert trusted(authority, kind) == (new, old)
    rotation = turn(authority, kind, "standby")
    assert trusted(authority, kind) == (new,)
    assert (rotation.phase, rotation.started, rotation.finished, rotation.new) == ("standby", None, NOW, "")


@pytest.mark.parametrize("kind", ROTATABLE_KINDS)
@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_rotation_that_is_rolled_back_leaves_the_old_key_alone(
    authority: Authority, kind: RotatableKind, last: int
) -> None:
    (old,) = trusted(authority, kind)
    turn(authority, kind, *ON[:last], "rollback")
    assert trusted(authority, kind)[0] == old
    assert len(trusted(authority, kind)) == 2
    rotation = turn(authority, kind, "standby")
    assert trusted(authority, kind) == (old,)
    assert rotation.finished is None
    assert authority.successions() == ()


@pytest.mark.parametrize("kind", ROTATABLE_KINDS)
def test_a_phase_out_of_order_is_refused_and_changes_and_announces_nothing(
    authority: Authority, kind: RotatableKind
) -> None:
    told: list[Phase] = []
    before = trusted(authority, kind)
    with pytest.raises(PhaseError, match=f"the {kind} CA cannot be rotated so: .*phase standby.* next is init"):
        authority.rotate(kind, "update_servers", NOW, lambda _, after: told.append(after.phase))
    assert trusted(authority, kind) == before
    turn(authority, kind, "init")
    with pytest.raises(PhaseError, match="in the phase init already; what may come next is update_clients or rollback"):
        turn(authority, kind, "init")
    assert told == []


def test_who_listens_is_told_before_a_phase_counts_and_may_forbid_it(authority: Authority) -> None:
    def forbid(before: Rotation, after: Rotation) -> None:
        assert (before.phase, after.phase) == ("standby", "init")
        assert authority.rotation("user").phase == "standby"
        raise OSError("the audit log is full")

    with pytest.raises(OSError, match="full"):
        authority.rotate("user", "init", NOW, forbid)
    assert authority.rotation("user") == Rotation()
    assert turn(authority, "user", "init").phase == "init"


def test_user_certificates_are_signed_by_the_new_key_from_update_clients_on(authority: Authority) -> None:
    old = key_blob(authority.ssh_authorities("user")[0])
    turn(authority, "user", "init")
    new = key_blob(authority.ssh_authorities("user")[1])
    assert user_signer(authority) == old
    for phase in ON[1:]:
        turn(authority, "user", phase)
        assert user_signer(authority) == new


def test_servers_get_certificates_of_the_new_key_from_update_servers_on(authority: Authority) -> None:
    old = key_blob(authority.ssh_authorities("host")[0])
    first = authority.server_key_id("host")
    turn(authority, "host", "init")
    new = key_blob(authority.ssh_authorities("host")[1])
    assert host_signer(authority) == old
    turn(authority, "host", "update_clients")
    assert (host_signer(authority), authority.server_key_id("host")) == (old, first)
    turn(authority, "host", "update_servers")
    assert host_signer(authority) == new
    assert authority.server_key_id("host") != first
    turn(authority, "host", "rollback")
    assert (host_signer(authority), authority.server_key_id("host")) == (old, first)


def test_nodes_are_to_renew_from_update_servers_on_also_when_it_is_over_and_when_it_is_rolled_back(
    authority: Authority,
) -> None:
    named = []
    for phase in ON:
        turn(authority, "tls", phase)
        named.append(authority.renewals())
    assert named == [(), (), ("tls",), ("tls",)]
    turn(authority, "host", "init", "rollback")
    assert authority.renewals() == ("host", "tls")
    turn(authority, "user", *ON)
    assert authority.renewals() == ("host", "tls")


def test_a_device_that_slept_through_three_rotations_walks_to_today_s_key(authority: Authority) -> None:
    asleep = authority.ssh_authorities("host")
    for _ in range(3):
        turn(authority, "host", *ON)
    document = authority.endorse("policy", "{}")
    keys = walk(asleep, authority.successions(), CLUSTER)
    assert plain_key(authority.ssh_authorities("host")[0]) in keys
    assert judge_endorsed(document, "policy", trusted=keys, cluster=CLUSTER) == Granted("{}")
    assert walk(asleep, authority.successions(), ClusterName("other")) == {plain_key(line) for line in asleep}


def test_in_each_phase_documents_are_signed_by_a_key_that_a_device_of_the_phase_before_is_led_to(
    authority: Authority,
) -> None:
    phases: Sequence[Phase] = (*ON, "init", "update_clients", "rollback", "standby", *ON)
    for phase in phases:
        knows = authority.ssh_authorities("host")
        turn(authority, "host", phase)
        keys = walk(knows, authority.successions(), CLUSTER)
        answer = judge_endorsed(authority.endorse("policy", "{}"), "policy", trusted=keys, cluster=CLUSTER)
        assert answer == Granted("{}"), phase


def test_from_when_keys_change_a_client_with_any_one_of_the_tls_authorities_trusts_what_servers_present(
    authority: Authority, tmp_path: Path
) -> None:
    (old,) = authority.tls_authorities()
    turn(authority, "tls", "init")
    new = authority.tls_authorities()[1]
    assert is_trusted(tmp_path, authority, old)
    phases: Sequence[Phase] = ("update_clients", "update_servers", "rollback")
    for phase in phases:
        turn(authority, "tls", phase)
        for anchors in (old, new, old + new, new + old):
            assert is_trusted(tmp_path, authority, anchors), phase
    stranger = authority_on(MemoryStore()).tls_authorities()[0]
    assert not is_trusted(tmp_path, authority, stranger)


def test_when_a_tls_rotation_is_over_who_knows_the_old_authority_alone_is_led_on_for_a_while(
    authority: Authority, tmp_path: Path
) -> None:
    (old,) = authority.tls_authorities()
    turn(authority, "tls", *ON)
    (new,) = authority.tls_authorities()
    assert is_trusted(tmp_path, authority, old)
    assert is_trusted(tmp_path, authority, new)
    chain, _ = authority.issue_web(["localhost"], NOW)
    leaf, cross = split(chain)
    before, after = (NOW + limits.CROSS_CERTIFICATE_TTL + timedelta(minutes=off) for off in (-1, 1))
    assert verifies(tmp_path, old, leaf, [cross], before)
    assert not verifies(tmp_path, old, leaf, [cross], after)
    assert verifies(tmp_path, new, leaf, [cross], after)  # what has ended is in nobody's way
    assert split(authority.issue_web(["localhost"], after)[0])[1:] == [new]
    turn(authority, "tls", *ON)
    assert not is_trusted(tmp_path, authority, old)
    assert is_trusted(tmp_path, authority, new)


def split(chain: str) -> list[str]:
    certificates = x509.load_pem_x509_certificates(chain.encode())
    return [each.public_bytes(Encoding.PEM).decode() for each in certificates]


def crosses(authority: Authority) -> list[str]:
    """Return the certificates of authorities that servers lead by just now."""
    chain, _ = authority.issue_web(["localhost"], NOW)
    return [pem for pem in split(chain)[1:] if pem not in authority.tls_authorities()]


def verifies(folder: Path, anchor: str, leaf: str, untrusted: Sequence[str], at: datetime) -> bool:
    for name, text in {"anchor": anchor, "leaf": leaf, "untrusted": "".join(untrusted)}.items():
        (folder / name).write_text(text)
    command = ["openssl", "verify", "-attime", str(int(at.timestamp())), "-CAfile", "anchor", "-untrusted", "untrusted"]
    done = subprocess.run([*command, "leaf"], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0


@pytest.mark.parametrize(
    ("phases", "spell"),
    [
        (("init", "update_clients", "update_servers", "standby"), timedelta(0)),
        (("init", "rollback", "standby"), timedelta(0)),
        # What the old key has signed for the one that was rolled back cannot be taken back: it ends.
        (("init", "update_clients", "rollback", "standby"), limits.CROSS_CERTIFICATE_TTL),
        (("init", "update_clients", "update_servers", "rollback", "standby"), limits.CROSS_CERTIFICATE_TTL),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, tuple) else None,
)
def test_a_tls_key_that_was_dropped_is_trusted_no_more_whatever_stood_in_chains_before(
    authority: Authority, tmp_path: Path, phases: tuple[Phase, ...], spell: timedelta
) -> None:
    served, stolen = [], []
    for phase in phases[:-1]:
        turn(authority, "tls", phase)
        served += crosses(authority)
        stolen += [(each.public, each_issuer(authority, each)) for each in authority._keys("tls")]
    turn(authority, "tls", phases[-1])
    served += crosses(authority)
    (kept,) = authority.tls_authorities()
    dropped = [issuer for public, issuer in stolen if public != kept]
    assert dropped
    later = NOW + spell + timedelta(minutes=2)
    for issuer in dropped:
        leaf, _ = authority_x509.issue_server(["localhost"], NOW, issuer)
        first = split(leaf)[0]
        assert verifies(tmp_path, issuer.certificate, first, [*served, issuer.certificate], later)  # it is a good one
        assert not verifies(tmp_path, kept, first, [*served, issuer.certificate], later)


def each_issuer(authority: Authority, key: AuthorityKey) -> authority_x509.Issuer:
    return authority_x509.Issuer(authority._private("tls", key), key.public)


def test_openssl_finds_the_cross_signed_chain_strictly_right(authority: Authority, tmp_path: Path) -> None:
    (old,) = authority.tls_authorities()
    turn(authority, "tls", "init", "update_clients")
    chain, _ = authority.issue_web(["localhost"], NOW)
    leaf, cross = (
        certificate.public_bytes(Encoding.PEM).decode()
        for certificate in x509.load_pem_x509_certificates(chain.encode())
    )
    for name, text in {"old": old, "leaf": leaf, "cross": cross}.items():
        (tmp_path / name).write_text(text)
    arguments = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "old", "-untrusted", "cross"]
    done = subprocess.run([*arguments, "leaf"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_node_certificates_are_signed_by_the_new_tls_authority_from_update_clients_on(authority: Authority) -> None:
    (old,) = x509.load_pem_x509_certificates(authority.tls_authorities()[0].encode())
    turn(authority, "tls", "init")
    node_certificate(authority).verify_directly_issued_by(old)
    turn(authority, "tls", "update_clients")
    (new,) = x509.load_pem_x509_certificates(authority.tls_authorities()[0].encode())
    assert new != old
    node_certificate(authority).verify_directly_issued_by(new)


def test_a_rotation_is_seen_by_every_process_at_once(tmp_path: Path) -> None:
    here, there = authority_on(TinyStore(tmp_path)), authority_on(TinyStore(tmp_path))
    before = there.stamp()
    assert there.stamp() == before
    turn(here, "user", "init", "update_clients")
    assert there.stamp() != before
    assert there.ssh_authorities("user") == here.ssh_authorities("user")
    assert there.rotation("user") == here.rotation("user")
    assert user_signer(there) == key_blob(here.ssh_authorities("user")[0])


def test_of_many_that_enter_a_phase_at_once_one_does(tmp_path: Path) -> None:
    authority_on(TinyStore(tmp_path))
    gate, done = threading.Barrier(4), []

    def race() -> None:
        mine = authority_on(TinyStore(tmp_path))
        gate.wait(30)
        try:
            done.append(mine.rotate("host", "init", NOW).new)
        except AuthorityError as err:
            assert "somebody else" in str(err) or isinstance(err, PhaseError)  # noqa: PT017 - either is right

    racers = [threading.Thread(target=race) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    authority = authority_on(TinyStore(tmp_path))
    assert [authority.rotation("host").new] == done
    assert len(authority.ssh_authorities("host")) == 2
    assert len(authority.successions()) == 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"rotation": {"phase": "sideways"}}, "user authority is damaged: no rotation"),
        ({"rotation": 7}, "user authority is damaged: no rotation"),
        ({"successions": ["x"]}, "damaged: no successions"),
        ({"successions": 7}, "damaged: no successions"),
    ],
)
def test_a_damaged_record_is_named(damage: dict[str, object], words: str) -> None:
    store = MemoryStore()
    authority = authority_on(store)
    record = store.collection("authorities").get("user", now=NOW)
    assert record is not None
    store.collection("authorities").replace(record, {**record.value, **damage}, now=NOW)  # type: ignore[dict-item]  # damaged
    with pytest.raises(AuthorityError, match=words):
        authority.rotation("user")


def test_a_rotation_whose_key_is_missing_is_named() -> None:
    store = MemoryStore()
    authority = authority_on(store)
    turn(authority, "host", "init", "update_clients")
    record = store.collection("authorities").get("host", now=NOW)
    assert record is not None
    keys = record.value["keys"]
    assert isinstance(keys, list)
    store.collection("authorities").replace(record, {**record.value, "keys": keys[:1]}, now=NOW)
    with pytest.raises(AuthorityError, match="a key of its rotation is missing"):
        authority.server_key_id("host")
