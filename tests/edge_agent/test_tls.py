"""Our client against the TLS of Python's own `ssl`, which is another OpenSSL."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.tls import Context, Credentials, Span, Tls, TlsError
from tests.harness.simulated_controller import TlsAuthority

NAME = "mqtt.harbour"
_PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pair(folder: Path, stem: str, authority: TlsAuthority, names: tuple[str, ...] = ()) -> tuple[Path, Path]:
    key = generate_private_key(SECP256R1())
    certificate, private = folder / f"{stem}.crt", folder / f"{stem}.key"
    certificate.write_text(authority.issue(stem, key.public_key(), [x509.DNSName(name) for name in names]))
    private.write_bytes(key.private_bytes(*_PEM))
    return certificate, private


def _now() -> Span:
    now = datetime.now(UTC)
    return now, now


class Echo:
    """A server for one connection, which says everything again."""

    def __init__(self, folder: Path, authority: TlsAuthority, *, clients: TlsAuthority | None = None) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*_pair(folder, "server", authority, (NAME,)))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(cadata=(clients or authority).pem)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.peer: dict[str, object] | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        plain, _ = self._listener.accept()
        plain.settimeout(20)
        with self._listener, plain:
            try:
                with self._context.wrap_socket(plain, server_side=True) as wrapped:
                    self.peer = dict(wrapped.getpeercert() or {})
                    while data := wrapped.recv(65536):
                        wrapped.sendall(data)
                    wrapped.unwrap()  # says goodbye
            except OSError:
                return  # the client would not have us, or we it

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self._listener.getsockname(), 20)
        connection.settimeout(20)
        return connection

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


def _shake_hands(tls: Tls, connection: socket.socket, piece: int = 65536) -> None:
    try:
        while not tls.shake_hands():
            connection.sendall(tls.outgoing())
            tls.feed(connection.recv(piece))
    finally:
        connection.sendall(tls.outgoing())


def _read(tls: Tls, connection: socket.socket, size: int, piece: int = 65536) -> bytes:
    found = b""
    while len(found) < size:
        data = tls.read(size)
        if data is None:
            tls.feed(connection.recv(piece))
        else:
            found += data
    return found


@pytest.fixture
def authority() -> TlsAuthority:
    return TlsAuthority()


@pytest.fixture
def make_tls(tmp_path: Path, authority: TlsAuthority) -> Callable[..., Tls]:
    def make(
        *,
        name: str = NAME,
        believe: TlsAuthority | None = None,
        span: Callable[[], Span] = _now,
        certified: TlsAuthority | None = None,
    ) -> Tls:
        certificate, key = _pair(tmp_path, "device", certified or authority)
        return Tls(Context(Credentials(((believe or authority).pem,), certificate, key)), name, span)

    return make


@pytest.mark.parametrize("piece", [1, 65536])
def test_what_is_said_arrives_and_comes_back(
    tmp_path: Path, authority: TlsAuthority, make_tls: Callable[..., Tls], piece: int
) -> None:
    server, tls = Echo(tmp_path, authority), make_tls()
    with server.connect() as connection:
        _shake_hands(tls, connection, piece)
        said = bytes(range(256)) * (8 if piece == 1 else 1000)
        rest = said
        while rest:
            rest = rest[tls.write(rest) :]
            connection.sendall(tls.outgoing())
        assert _read(tls, connection, len(said), piece) == said
        assert tls.read(1) is None
        tls.close()
        connection.sendall(tls.outgoing())
    server.join()
    assert server.peer
    assert server.peer["subject"] == ((("commonName", "device"),),)


def test_end_is_told_apart_from_nothing_yet(
    tmp_path: Path, authority: TlsAuthority, make_tls: Callable[..., Tls]
) -> None:
    server, tls = Echo(tmp_path, authority), make_tls()
    with server.connect() as connection:
        _shake_hands(tls, connection)
        assert tls.read(10) is None
        tls.close()
        connection.sendall(tls.outgoing())
        server.join()
        while (found := tls.read(10)) is None:
            data = connection.recv(65536)
            assert data, "the server says goodbye before it closes"
            tls.feed(data)
    assert found == b""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "mqtt.elsewhere"}, "ostname mismatch"),
        ({"name": "harbour"}, "ostname mismatch"),
        ({"believe": TlsAuthority()}, "certificate"),
        ({"span": lambda: (datetime(2040, 1, 1, tzinfo=UTC),) * 2}, "its certificate expired at 20"),
        ({"span": lambda: (datetime(1970, 1, 2, tzinfo=UTC),) * 2}, "its certificate is not valid before 20"),
    ],
)
def test_peer_that_does_not_prove_who_it_is_is_refused(
    tmp_path: Path, authority: TlsAuthority, make_tls: Callable[..., Tls], change: dict[str, object], reason: str
) -> None:
    server, tls = Echo(tmp_path, authority), make_tls(**change)
    with server.connect() as connection:
        with pytest.raises(TlsError, match=reason) as refused:
            _shake_hands(tls, connection)
        assert refused.value.is_refusal
    server.join()
    # What went wrong is not left behind for the next who asks OpenSSL on this thread.
    generate_private_key(SECP256R1()).public_key()


@pytest.mark.parametrize(
    "span",
    [
        lambda: (datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
        lambda: (datetime.now(UTC) - timedelta(minutes=5, seconds=30),) * 2,  # within the leeway
    ],
)
def test_time_that_is_not_known_for_certain_shuts_nobody_out(
    tmp_path: Path, authority: TlsAuthority, make_tls: Callable[..., Tls], span: Callable[[], Span]
) -> None:
    server, tls = Echo(tmp_path, authority), make_tls(span=span)
    with server.connect() as connection:
        _shake_hands(tls, connection)
    server.join()


def test_server_that_will_not_have_us_is_a_refusal(
    tmp_path: Path, authority: TlsAuthority, make_tls: Callable[..., Tls]
) -> None:
    server, tls = Echo(tmp_path, authority, clients=TlsAuthority()), make_tls()
    with server.connect() as connection:
        _shake_hands(tls, connection)
        with pytest.raises(TlsError, match="unknown ca") as refused:
            _read(tls, connection, 1)
        assert refused.value.is_refusal
    server.join()


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x03\xff\xff" + bytes(100), b"\x00" * 50])
def test_what_is_no_tls_is_an_error_and_no_refusal(make_tls: Callable[..., Tls], data: bytes) -> None:
    tls = make_tls()
    assert not tls.shake_hands()
    tls.feed(data)
    with pytest.raises(TlsError) as broken:
        tls.shake_hands()
    assert not broken.value.is_refusal


def test_files_that_cannot_be_used_are_named_as_ours(tmp_path: Path, authority: TlsAuthority) -> None:
    certificate, key = _pair(tmp_path, "device", authority)
    _, other = _pair(tmp_path, "other", authority)
    for chain, private in ((certificate, other), (certificate, tmp_path / "missing"), (key, key)):
        with pytest.raises(TlsError, match="our certificate or its key cannot be used") as refused:
            Context(Credentials((authority.pem,), chain, private))
        assert refused.value.is_refusal
    with pytest.raises(TlsError, match="authority's certificate cannot be read"):
        Context(Credentials(("no PEM",), certificate, key))
