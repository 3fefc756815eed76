from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controller.addresses import BoundAddresses, answers
from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.tls_files import (
    TlsFileError,
    TlsPair,
    anchors,
    login_pins,
    prepare_api,
    prepare_probe,
    prepare_web,
    web_names,
    web_pins,
)
from protocol.pins import certificate_pin, choose_anchors
from tests.harness.running_door import make_identity

ANY = ("127.0.0.1", 0)
BOUND = BoundAddresses(ANY, ANY, ANY, ANY)


def cluster(tmp_path: Path, keypair: str = "") -> Cluster:
    text = f"teleport: {{data_dir: '{tmp_path / 'data'}'}}\nproxy_service: {{https_keypairs: [{keypair}]}}\n"
    return open_cluster(parse_config(text, "controller.yaml"))


def pair_of(tmp_path: Path, name: str = "own") -> str:
    made = make_identity(tmp_path, name)
    return f"{{key_file: '{made.key}', cert_file: '{made.cert}'}}"


def handshake(pair: TlsPair, client: ssl.SSLContext, host: str) -> str | None:
    """Shake hands with a server that presents `pair`; return the version of TLS."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert_file, pair.key_file)
    here, there = socket.socketpair()

    def serve() -> None:
        with there, server.wrap_socket(there, server_side=True) as sock:
            sock.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with here, client.wrap_socket(here, server_hostname=host) as sock:
            sock.sendall(b".")
            return str(sock.version())
    finally:
        thread.join(10)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_without_a_pair_of_the_admin_s_the_web_door_gets_one_of_ours_that_our_anchors_prove(
    tmp_path: Path, host: str
) -> None:
    opened = cluster(tmp_path)
    pair = prepare_web(opened, BOUND)
    assert handshake(pair, ssl.create_default_context(cadata=anchors(opened)), host)
    assert choose_anchors(anchors(opened), web_pins(opened)) == opened.authority.tls_authorities()
    assert pair.client_authorities is None


def test_what_we_knock_with_at_our_own_doors_shows_a_certificate_and_lies_in_no_file(tmp_path: Path) -> None:
    opened = cluster(tmp_path)
    pair = prepare_api(opened, BOUND)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    probe = prepare_probe(opened)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert_file, pair.key_file)
    server.load_verify_locations(pair.client_authorities)
    server.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:
        shown: list[bytes | None] = []

        def serve() -> None:
            sock, _ = listening.accept()
            with sock, server.wrap_socket(sock, server_side=True) as door:
                shown.append(door.getpeercert(binary_form=True))

        thread = threading.Thread(target=serve)
        thread.start()
        assert answers(listening.getsockname(), timedelta(seconds=30), probe)
        thread.join(30)
    assert shown[0]


def test_what_else_stands_in_the_admin_s_chain_is_overlooked_in_any_script(tmp_path: Path) -> None:
    opened = cluster(tmp_path, pair_of(tmp_path))
    chain = opened.config.https_keypair.cert_file  # type: ignore[union-attr]  # it was just given
    before = web_pins(opened), web_names(opened)
    chain.write_text(f"subject=Hafenbehörde Köln\n{chain.read_text()}", encoding="utf-8")
    assert (web_pins(opened), web_names(opened)) == before
    assert before[1]


def test_keys_and_certificates_are_the_owner_s_alone(tmp_path: Path) -> None:
    opened = cluster(tmp_path)
    for pair in (prepare_web(opened, BOUND), prepare_api(opened, BOUND)):
        assert stat.S_IMODE(pair.key_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(pair.key_file.parent.stat().st_mode) == 0o700


def test_a_second_start_replaces_the_pair_and_leaves_nothing_else(tmp_path: Path) -> None:
    opened = cluster(tmp_path)
    first = prepare_web(opened, BOUND).cert_file.read_text()
    assert prepare_web(opened, BOUND).cert_file.read_text() != first
    prepare_api(opened, BOUND)
    names = sorted(path.name for path in (opened.config.data_dir / "tls").iterdir())
    assert names == ["api.crt", "api.key", "node-authorities.crt", "web.crt", "web.key"]


def test_the_machine_api_is_reached_under_its_own_name_and_demands_our_certificates(tmp_path: Path) -> None:
    opened = cluster(tmp_path)
    pair = prepare_api(opened, BOUND)
    client = ssl.create_default_context(cadata=anchors(opened))
    assert handshake(pair, client, f"api.{opened.config.cluster_name}")
    assert pair.client_authorities is not None
    assert pair.client_authorities.read_text() == "".join(opened.authority.tls_authorities())


def test_a_pair_of_the_admin_s_is_used_as_it_is_and_its_last_certificate_is_pinned(tmp_path: Path) -> None:
    opened = cluster(tmp_path, pair_of(tmp_path))
    pair = prepare_web(opened, BOUND)
    assert (pair.cert_file, pair.key_file) == (tmp_path / "own.crt", tmp_path / "own.key")
    own = (tmp_path / "own.crt").read_text()
    assert web_pins(opened) == (certificate_pin(own),)
    assert anchors(opened) == own + "".join(opened.authority.tls_authorities())
    assert handshake(pair, ssl.create_default_context(cadata=anchors(opened)), "localhost")


def test_of_a_chain_the_last_certificate_is_the_anchor_whatever_stands_between(tmp_path: Path) -> None:
    opened = cluster(tmp_path, pair_of(tmp_path))
    root = (make_identity(tmp_path, "root").cert).read_text()
    chain = tmp_path / "own.crt"
    chain.write_text(f"subject=leaf\n{chain.read_text()}\nsubject=root\n{root}".replace("\n", "\r\n"))
    assert web_pins(opened) == (certificate_pin(root),)
    assert x509.load_pem_x509_certificates(anchors(opened).encode())[0].subject.rfc4514_string() == "CN=root"


def test_a_person_needs_the_pin_of_a_self_issued_certificate_and_none_of_another_authority_s(tmp_path: Path) -> None:
    own = cluster(tmp_path)
    assert login_pins(own) == web_pins(own) == own.authority.ca_pins()
    chain, key = own.authority.issue_web(["localhost"], own.clock())
    leaf, root = x509.load_pem_x509_certificates(chain.encode())[0], own.authority.tls_authorities()[0]
    configured = cluster(tmp_path, pair_of(tmp_path))
    assert login_pins(configured) == (certificate_pin((tmp_path / "own.crt").read_text()),)
    pem = leaf.public_bytes(Encoding.PEM).decode()
    (tmp_path / "own.key").write_text(key.reveal())
    (tmp_path / "own.crt").write_text(pem)
    assert login_pins(configured) == ()  # as from a public authority, whose root every system knows
    (tmp_path / "own.crt").write_text(pem + root)
    assert login_pins(configured) == (certificate_pin(root),)


@pytest.mark.parametrize("fault", ["no key", "no certificate", "rubbish", "another key", "a directory"])
def test_a_pair_that_cannot_be_used_is_named_with_its_key_in_the_configuration(tmp_path: Path, fault: str) -> None:
    opened = cluster(tmp_path, pair_of(tmp_path))
    if fault == "no key":
        (tmp_path / "own.key").unlink()
    elif fault == "no certificate":
        (tmp_path / "own.crt").unlink()
    elif fault == "rubbish":
        (tmp_path / "own.crt").write_text("rubbish")
    elif fault == "another key":
        make_identity(tmp_path, "other").key.replace(tmp_path / "own.key")
    else:
        (tmp_path / "own.key").unlink()
        (tmp_path / "own.key").mkdir()
    with pytest.raises(TlsFileError, match=r"^proxy_service\.https_keypairs: .*own\.key and .*own\.crt: ") as caught:
        prepare_web(opened, BOUND)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"rubbish", b"-----END CERTIFICATE-----\n", b"\xff"])
def test_a_chain_without_a_certificate_gives_no_anchor(tmp_path: Path, content: bytes | None) -> None:
    opened = cluster(tmp_path, pair_of(tmp_path))
    if content is None:
        (tmp_path / "own.crt").unlink()
    else:
        (tmp_path / "own.crt").write_bytes(content)
    for ask in (anchors, web_pins):
        with pytest.raises(TlsFileError, match="holds no certificate in PEM"):
            ask(opened)
