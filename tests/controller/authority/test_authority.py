from __future__ import annotations

import multiprocessing
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.authority import Authority, AuthorityError, Vault, VaultError
from controller.store.memory import MemoryStore
from controller.store.tiny import TinyStore
from protocol import certificates, limits, pins
from protocol.certificates import CertificateOrder, HostIdentity, UserIdentity
from protocol.decision import Granted, Refused
from protocol.names import ClusterName, Login, NodeId, NodeName, RoleName, UserName
from protocol.secret import Secret
from protocol.ssh.certificate import key_blob, parse_certificate_line

NOW = datetime.now(UTC).replace(microsecond=0)
CLUSTER = ClusterName("test-cluster")
NODE = NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f")
MASTER = Secret(b"insecure master key of 32 bytes.")


@pytest.fixture
def authority() -> Authority:
    made = Authority(MemoryStore(), Vault(MASTER), CLUSTER)
    assert made.create_missing(NOW)
    return made


def public_line(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def user_order(now: datetime = NOW) -> CertificateOrder:
    return certificates.user_order(
        user=UserName("alice"),
        roles=(RoleName("access"),),
        logins=(Login("root"), Login("pi")),
        ttl=timedelta(hours=12),
        serial=2**64 - 1,
        now=now,
    )


PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def new_key(kind: str) -> PrivateKey:
    match kind:
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "rsa":
            return rsa.generate_private_key(65537, 3072)
        case _:
            return ec.generate_private_key(ec.SECP256R1())


def request_pem(key: PrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody-else")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    request = (
        x509.CertificateSigningRequestBuilder(name)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("controller.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, algorithm)
    )
    return request.public_bytes(Encoding.PEM).decode()


def keygen(tmp_path: Path, *options: str) -> str:
    path = tmp_path / "subject"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", path, *options], check=True, timeout=60)
    return path.with_suffix(".pub").read_text()


def openssl_verify(tmp_path: Path, anchors: str, chain: str, *options: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "anchors.pem").write_text(anchors)
    (tmp_path / "leaf.pem").write_text(chain)
    arguments: list[str | Path] = ["openssl", "verify", "-x509_strict", "-CAfile", tmp_path / "anchors.pem", *options]
    return subprocess.run([*arguments, tmp_path / "leaf.pem"], capture_output=True, text=True, check=False, timeout=60)


def test_openssh_reads_a_user_certificate_as_it_was_ordered(authority: Authority, tmp_path: Path) -> None:
    subject = keygen(tmp_path, "-t", "ed25519")
    (tmp_path / "subject-cert.pub").write_text(authority.sign_ssh(user_order(), subject) + "\n")
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "subject-cert.pub"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    lines = [line.strip() for line in shown.splitlines()]
    assert "Type: ssh-ed25519-cert-v01@openssh.com user certificate" in lines
    assert 'Key ID: "alice"' in lines
    assert f"Serial: {2**64 - 1}" in lines
    assert lines[lines.index("Principals:") + 1 :][:2] == ["root", "pi"]
    assert "Critical Options: (none)" in lines
    extensions = [line.split()[0] for line in lines[lines.index("Extensions:") + 1 :]]
    assert extensions == [
        "permit-agent-forwarding",
        "permit-port-forwarding",
        "permit-pty",
        "roles@skerry",
        "user@skerry",
    ]


@pytest.mark.parametrize(
    "options",
    [["-t", "ed25519"], ["-t", "ecdsa", "-b", "256"], ["-t", "ecdsa", "-b", "521"], ["-t", "rsa", "-b", "3072"]],
)
def test_a_key_of_each_good_kind_is_certified_and_judged_good(
    authority: Authority, tmp_path: Path, options: list[str]
) -> None:
    subject = keygen(tmp_path, *options)
    certificate = parse_certificate_line(authority.sign_ssh(user_order(), subject))
    assert certificate.public_key == key_blob(subject)
    trusted = [key_blob(line) for line in authority.ssh_authorities("user")]
    judged = certificates.judge_user_certificate(certificate, authorities=trusted, now=NOW, login="root")
    assert isinstance(judged, Granted)
    identity: UserIdentity = judged.value
    assert (identity.user, identity.roles, identity.logins) == ("alice", ("access",), ("root", "pi"))
    assert identity.permissions == frozenset(certificates.USER_PERMISSIONS)
    assert identity.valid_before == NOW + timedelta(hours=12)


def test_a_host_certificate_is_by_the_host_authority_and_no_users(authority: Authority) -> None:
    order = certificates.node_order(
        node_id=NODE, name=NodeName("kiosk-1"), cluster=CLUSTER, generation=7, serial=1, now=NOW
    )
    line = public_line(ed25519.Ed25519PrivateKey.generate().public_key())
    certificate = parse_certificate_line(authority.sign_ssh(order, line))
    hosts = [key_blob(line) for line in authority.ssh_authorities("host")]
    users = [key_blob(line) for line in authority.ssh_authorities("user")]
    judged = certificates.judge_host_certificate(certificate, authorities=hosts, now=NOW, role="node")
    assert isinstance(judged, Granted)
    identity: HostIdentity = judged.value
    assert (identity.node_id, identity.generation) == (NODE, 7)
    refused = certificates.judge_host_certificate(certificate, authorities=users, now=NOW, role="node")
    assert isinstance(refused, Refused)
    assert refused.check == "K2"


def test_a_weak_or_foreign_key_is_not_certified(authority: Authority, tmp_path: Path) -> None:
    short = public_line(rsa.generate_private_key(65537, 2048).public_key())
    with pytest.raises(AuthorityError, match="2048 bits is too short"):
        authority.sign_ssh(user_order(), short)
    good = keygen(tmp_path, "-t", "ed25519")
    certificate = authority.sign_ssh(user_order(), good)
    for line in (
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 \ud800",
        "ssh-dss " + good.split()[1],
        "sk-ssh-ed25519@openssh.com " + good.split()[1],
        "ssh-rsa " + good.split()[1],
        good + "x" * 20_000,
        certificate,
    ):
        with pytest.raises(AuthorityError):
            authority.sign_ssh(user_order(), line)


def test_an_order_that_is_good_for_everyone_or_does_not_fit_is_refused(authority: Authority) -> None:
    line = public_line(ed25519.Ed25519PrivateKey.generate().public_key())
    order = user_order()
    everyone = CertificateOrder("user", "x", 1, (), order.valid_after, order.valid_before)
    big_serial = CertificateOrder("user", "x", 2**64, ("root",), order.valid_after, order.valid_before)
    backwards = CertificateOrder("user", "x", 1, ("root",), order.valid_before, order.valid_after)
    for bad, words in ((everyone, "everyone"), (big_serial, "64 bits"), (backwards, "cannot be made")):
        with pytest.raises(AuthorityError, match=words):
            authority.sign_ssh(bad, line)


def test_openssl_accepts_a_web_certificate_for_its_names_and_addresses(authority: Authority, tmp_path: Path) -> None:
    chain, key = authority.issue_web(["Localhost", "127.0.0.1", "::1", "localhost", "*.example.org"], NOW)
    leaf, issuer = x509.load_pem_x509_certificates(chain.encode())
    anchors = "".join(authority.tls_authorities())
    for option in (
        ("-verify_hostname", "localhost"),
        ("-verify_ip", "127.0.0.1"),
        ("-verify_ip", "::1"),
        ("-verify_hostname", "kiosk.example.org"),
    ):
        done = openssl_verify(tmp_path, anchors, chain, "-purpose", "sslserver", *option)
        assert done.returncode == 0, done.stderr
    assert openssl_verify(tmp_path, anchors, chain, "-verify_hostname", "other.example").returncode != 0
    assert openssl_verify(tmp_path, anchors, chain, "-purpose", "sslclient").returncode != 0
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == limits.WEB_CERTIFICATE_TTL + limits.CLOCK_LEEWAY
    assert issuer.public_bytes(Encoding.PEM).decode() == anchors
    private = load_pem_private_key(key.reveal().encode(), None)
    assert private.public_key() == leaf.public_key()


@pytest.mark.parametrize("hosts", [[], ["a b"], ["evil/../x"], [""], [f"h{i}.example" for i in range(101)]])
def test_a_server_needs_a_few_real_hosts(authority: Authority, hosts: list[str]) -> None:
    with pytest.raises(AuthorityError):
        authority.issue_api_server(hosts, NOW)


def test_a_long_host_name_is_certified_too(authority: Authority, tmp_path: Path) -> None:
    host = ".".join(["a" * 60] * 3) + ".example"
    chain, _ = authority.issue_api_server([host], NOW)
    done = openssl_verify(tmp_path, "".join(authority.tls_authorities()), chain, "-verify_hostname", host)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_a_nodes_client_certificate_holds_its_id_and_nothing_it_asked_for(
    authority: Authority, tmp_path: Path, kind: str
) -> None:
    key = new_key(kind)
    pem = authority.sign_node_tls(request_pem(key), NODE, NOW)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == f"CN={NODE}"
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert certificate.not_valid_after_utc == NOW + limits.HOST_CERTIFICATE_TTL
    anchors = "".join(authority.tls_authorities())
    assert openssl_verify(tmp_path, anchors, pem, "-purpose", "sslclient").returncode == 0
    assert openssl_verify(tmp_path, anchors, pem, "-purpose", "sslserver").returncode != 0


def test_a_certificate_request_that_is_forged_weak_or_garbage_is_refused(authority: Authority) -> None:
    good = x509.load_pem_x509_csr(request_pem(ec.generate_private_key(ec.SECP256R1())).encode())
    der = bytearray(good.public_bytes(Encoding.DER))
    der[der.index(b"somebody")] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(AuthorityError, match="not signed by the key"):
        authority.sign_node_tls(forged, NODE, NOW)
    with pytest.raises(AuthorityError, match="neither ECDSA"):
        authority.sign_node_tls(request_pem(rsa.generate_private_key(65537, 2048)), NODE, NOW)
    for garbage in (
        "",
        "garbage",
        "\ud800",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
    ):
        with pytest.raises(AuthorityError, match="not a certificate request"):
            authority.sign_node_tls(garbage, NODE, NOW)
    with pytest.raises(AuthorityError, match="too long"):
        authority.sign_node_tls("x" * 20_000, NODE, NOW)


def test_the_pin_is_what_openssl_computes(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(authority.tls_authorities()[0])
    key = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "ca.pem", "-pubkey", "-noout"],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, capture_output=True, check=True, timeout=60
    ).stdout
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True, check=True, timeout=60
    ).stdout.split()[0]
    assert authority.ca_pins() == (f"sha256:{digest.decode()}",)
    assert pins.choose_anchors("".join(authority.tls_authorities()), authority.ca_pins()) == authority.tls_authorities()


def test_authorities_are_made_once_and_found_again(tmp_path: Path) -> None:
    first = Authority(TinyStore(tmp_path / "store"), Vault(MASTER), CLUSTER)
    assert first.create_missing(NOW)
    assert not first.create_missing(NOW)
    second = Authority(TinyStore(tmp_path / "store"), Vault(MASTER), CLUSTER)
    assert not second.create_missing(NOW)
    assert second.ssh_authorities("user") == first.ssh_authorities("user")
    assert second.ssh_authorities("host") == first.ssh_authorities("host")
    assert second.ca_pins() == first.ca_pins()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "store").iterdir())
    assert b"PRIVATE KEY" not in stored


def _race(directory: Path, results: multiprocessing.Queue[tuple[bool, tuple[str, ...]]]) -> None:
    authority = Authority(TinyStore(directory), Vault(MASTER), CLUSTER)
    made = authority.create_missing(NOW)
    shown = (*authority.ssh_authorities("user"), *authority.ssh_authorities("host"), *authority.ca_pins())
    results.put((made, shown))


def test_of_racing_processes_one_completes_the_authorities_and_all_see_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for turn in range(5):
        results: multiprocessing.Queue[tuple[bool, tuple[str, ...]]] = context.Queue()
        children = [context.Process(target=_race, args=(tmp_path / str(turn), results)) for _ in range(4)]
        for child in children:
            child.start()
        answers = [results.get(timeout=30) for _ in children]
        for child in children:
            child.join(30)
        assert [made for made, _ in answers].count(True) == 1
        assert len({shown for _, shown in answers}) == 1


def test_a_cluster_without_authorities_says_what_to_do() -> None:
    empty = Authority(MemoryStore(), Vault(MASTER), CLUSTER)
    with pytest.raises(AuthorityError, match="controller start"):
        empty.ssh_authorities("user")


def test_another_master_key_opens_no_authority(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    assert Authority(store, Vault(MASTER), CLUSTER).create_missing(NOW)
    stranger = Authority(store, Vault(Secret(b"another insecure key of 32 bytes")), CLUSTER)
    with pytest.raises(VaultError, match="master key file is not the one"):
        stranger.issue_web(["localhost"], NOW)


def test_a_damaged_record_of_an_authority_is_named() -> None:
    store = MemoryStore()
    authority = Authority(store, Vault(MASTER), CLUSTER)
    records = store.collection("authorities")
    records.create("user", {"keys": [{"key_id": "x"}]}, now=NOW)
    records.create("host", {"keys": []}, now=NOW)
    with pytest.raises(AuthorityError, match="user authority is damaged"):
        authority.ssh_authorities("user")
    with pytest.raises(AuthorityError, match="host authority is damaged: not one active key"):
        authority.ssh_authorities("host")


def test_a_trusted_key_is_shown_after_the_active_one_and_does_not_sign(authority: Authority) -> None:
    other = Authority(MemoryStore(), Vault(MASTER), CLUSTER)
    other.create_missing(NOW)
    records = authority._records
    record = records.get("user", now=NOW)
    incoming = other._records.get("user", now=NOW)
    assert record is not None
    assert incoming is not None
    retired = [dict(key, state="trusted") for key in record.value["keys"]]  # type: ignore[union-attr, arg-type]  # a list
    records.replace(record, {"keys": [*retired, *incoming.value["keys"]]}, now=NOW)  # type: ignore[misc]  # the same
    line = public_line(ed25519.Ed25519PrivateKey.generate().public_key())
    signed = parse_certificate_line(authority.sign_ssh(user_order(), line))
    assert len(authority.ssh_authorities("user")) == 2
    assert key_blob(authority.ssh_authorities("user")[0]) == signed.signing_key
    assert authority.ssh_authorities("user")[0] == other.ssh_authorities("user")[0]
