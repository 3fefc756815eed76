"""TLS 1.2 and 1.3 for a client, in memory, on the OpenSSL that `cryptography` brings.

Python's own `ssl` links the system's OpenSSL beside that one: 4.6 MiB more for an agent that is to stay below 40 and is
at 39.6 (x86-64, Python 3.11). This connection is held for as long as the agent lives, so it cannot be left to a child
as the others are. pyOpenSSL 26.4 is a public way to the same OpenSSL, at 2.2 MiB more: half of that for X.509, which
it imports whole.

The library calls `cryptography.hazmat.bindings` its own affair. So its release is pinned narrowly in pyproject.toml;
tests/edge_agent/test_tls.py holds what is used here against it. Nothing else in the agent reaches into it.

When the peer's certificate is good is judged by the time that the caller says, not by the system's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding

from protocol import limits

_lib: Any = Binding.lib
_ffi: Any = Binding.ffi
_PIECE = 16 * 1024
# X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h), which the library does not name.
_NO_CHECK_TIME = 0x200000

# The earliest and the latest that it can be now.
Span = tuple[datetime, datetime]


class TlsError(Exception):
    """The peer did not prove who it is, would not have us, or does not speak TLS.

    Attributes:
        is_refusal: whether the certificates are at fault, ours or theirs: trying again at once is of no use.
    """

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows and whom it believes.

    Attributes:
        authorities: the certificates of the authorities that are believed, PEM.
        certificate, key: files with our chain and our key, PEM.
    """

    authorities: Sequence[str]
    certificate: Path
    key: Path


class Context:
    """What holds for connections made with the same credentials."""

    def __init__(self, credentials: Credentials) -> None:
        """Read the files. Raises `TlsError` where they cannot be used."""
        self.handle = _ffi.gc(_lib.SSL_CTX_new(_lib.TLS_client_method()), _lib.SSL_CTX_free)
        _lib.SSL_CTX_set_min_proto_version(self.handle, _lib.TLS1_2_VERSION)
        _lib.SSL_CTX_set_options(self.handle, _lib.SSL_OP_NO_COMPRESSION | _lib.SSL_OP_NO_RENEGOTIATION)
        _lib.SSL_CTX_set_mode(self.handle, _lib.SSL_MODE_RELEASE_BUFFERS)
        _lib.SSL_CTX_set_session_cache_mode(self.handle, _lib.SSL_SESS_CACHE_OFF)
        _lib.SSL_CTX_set_verify(self.handle, _lib.SSL_VERIFY_PEER, _ffi.NULL)
        for pem in credentials.authorities:
            self._believe(pem.encode())
        certificate, key = str(credentials.certificate).encode(), str(credentials.key).encode()
        _lib.ERR_clear_error()
        if (
            _lib.SSL_CTX_use_certificate_chain_file(self.handle, certificate) != 1
            or _lib.SSL_CTX_use_PrivateKey_file(self.handle, key, _lib.SSL_FILETYPE_PEM) != 1
            or _lib.SSL_CTX_check_private_key(self.handle) != 1
        ):
            raise TlsError(f"our certificate or its key cannot be used: {_last_error()}", is_refusal=True)

    def _believe(self, pem: bytes) -> None:
        source = _ffi.gc(_lib.BIO_new_mem_buf(pem, len(pem)), _lib.BIO_free)
        found = _lib.PEM_read_bio_X509(source, _ffi.NULL, _ffi.NULL, _ffi.NULL)
        if found == _ffi.NULL:
            raise TlsError(f"an authority's certificate cannot be read: {_last_error()}", is_refusal=True)
        try:
            _lib.X509_STORE_add_cert(_lib.SSL_CTX_get_cert_store(self.handle), found)
        finally:
            _lib.X509_free(found)
            _lib.ERR_clear_error()


class Tls:
    """One connection. Bytes go in by `feed` and come out of `outgoing`; who owns the socket carries them."""

    def __init__(self, context: Context, name: str, span: Callable[[], Span]) -> None:
        """Begin.

        Args:
            context: what we show and believe.
            name: the DNS name that the peer's certificate must bear.
            span: tells the earliest and the latest that it can be now, by which that certificate is judged.
        """
        self._span = span
        self._context = context  # outlives the connection
        self._ssl = _ffi.gc(_lib.SSL_new(context.handle), _lib.SSL_free)
        self._incoming, self._outgoing = _lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_new(_lib.BIO_s_mem())
        for memory in (self._incoming, self._outgoing):
            _lib.BIO_set_mem_eof_return(memory, -1)  # empty is not the end
        _lib.SSL_set_bio(self._ssl, self._incoming, self._outgoing)  # which owns both from now on
        judge, wanted = _lib.SSL_get0_param(self._ssl), name.encode("ascii")
        _lib.X509_VERIFY_PARAM_set_hostflags(judge, _lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
        if _lib.X509_VERIFY_PARAM_set1_host(judge, wanted, len(wanted)) != 1:
            raise TlsError(f"{name!r} is no name to expect of a peer", is_refusal=True)
        _lib.X509_VERIFY_PARAM_set_flags(judge, _NO_CHECK_TIME)
        _lib.SSL_set_tlsext_host_name(self._ssl, wanted)
        _lib.SSL_set_connect_state(self._ssl)
        self._buffer = _ffi.new("char[]", _PIECE)

    def feed(self, data: bytes) -> None:
        """Take in what the peer sent."""
        _lib.BIO_write(self._incoming, data, len(data))

    def outgoing(self) -> bytes:
        """Return what is to be sent to the peer; empty for nothing."""
        found = []
        while (size := _lib.BIO_read(self._outgoing, self._buffer, _PIECE)) > 0:
            found.append(bytes(_ffi.buffer(self._buffer, size)))
        return b"".join(found)

    def shake_hands(self) -> bool:
        """Go on with the handshake. True when it is done. Raises `TlsError`."""
        _lib.ERR_clear_error()
        done = _lib.SSL_do_handshake(self._ssl)
        if done == 1:
            self._judge_dates()
            return True
        self._judge(done)
        return False

    def read(self, size: int) -> bytes | None:
        """Return at most `size` bytes that the peer said; None where there are none yet, empty at the end.

        Raises `TlsError`.
        """
        _lib.ERR_clear_error()
        size = min(size, _PIECE)
        count = _lib.SSL_read(self._ssl, self._buffer, size)
        if count > 0:
            return bytes(_ffi.buffer(self._buffer, count))
        return b"" if self._judge(count) else None

    def write(self, data: bytes | bytearray) -> int:
        """Say at most a record's worth of `data`; returns how much. Raises `TlsError`."""
        _lib.ERR_clear_error()
        piece = bytes(data[:_PIECE])
        count = int(_lib.SSL_write(self._ssl, piece, len(piece)))
        if count <= 0:
            self._judge(count)
            return 0
        return count

    @property
    def voucher(self) -> bytes:
        """The certificate of the authority that vouched for the peer, DER; empty where nothing tells."""
        chain = _lib.SSL_get0_verified_chain(self._ssl)
        if chain == _ffi.NULL or _lib.sk_X509_num(chain) < 1:
            return b""
        target = _ffi.gc(_lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_free)
        _lib.i2d_X509_bio(target, _lib.sk_X509_value(chain, _lib.sk_X509_num(chain) - 1))
        found = []
        while (size := _lib.BIO_read(target, self._buffer, _PIECE)) > 0:
            found.append(bytes(_ffi.buffer(self._buffer, size)))
        return b"".join(found)

    def close(self) -> None:
        """Put our goodbye into `outgoing`."""
        _lib.SSL_shutdown(self._ssl)
        _lib.ERR_clear_error()

    def _judge_dates(self) -> None:
        """Raise `TlsError` where the peer's certificate is not good yet, or no more."""
        shown = _ffi.gc(_lib.SSL_get_peer_certificate(self._ssl), _lib.X509_free)
        begins, ends = _date(_lib.X509_getm_notBefore(shown)), _date(_lib.X509_getm_notAfter(shown))
        earliest, latest = self._span()
        if latest < begins - limits.CLOCK_LEEWAY:
            raise TlsError(f"its certificate is not valid before {begins:%Y-%m-%dT%H:%M:%SZ}", is_refusal=True)
        if earliest >= ends:
            raise TlsError(f"its certificate expired at {ends:%Y-%m-%dT%H:%M:%SZ}", is_refusal=True)

    def _judge(self, result: int) -> bool:
        """Tell whether the peer has ended it. Raises `TlsError` for what went wrong."""
        problem = _lib.SSL_get_error(self._ssl, result)
        if problem in (_lib.SSL_ERROR_WANT_READ, _lib.SSL_ERROR_WANT_WRITE):
            return False
        if problem == _lib.SSL_ERROR_ZERO_RETURN:
            return True
        said = _last_error()
        verdict = _lib.SSL_get_verify_result(self._ssl)
        if verdict != _lib.X509_V_OK:
            raise TlsError(_text(_lib.X509_verify_cert_error_string(verdict)), is_refusal=True)
        raise TlsError(said, is_refusal="alert" in said and ("certificate" in said or "unknown ca" in said))


def _date(instant: Any) -> datetime:  # noqa: ANN401 - an ASN1_TIME
    plain = _ffi.gc(_lib.ASN1_TIME_to_generalizedtime(instant, _ffi.NULL), _lib.ASN1_GENERALIZEDTIME_free)
    said = _ffi.string(_lib.ASN1_STRING_get0_data(_ffi.cast("ASN1_STRING *", plain)))
    # YYYYMMDDhhmmssZ; `strptime` would bring in the calendar and the locale, 0.2 MiB.
    month, day, hour, minute, second = (int(said[place : place + 2]) for place in range(4, 14, 2))
    return datetime(int(said[:4]), month, day, hour, minute, second, tzinfo=UTC)


def _last_error() -> str:
    """Return what went wrong last, and leave nothing of it: `cryptography` would take it for its own."""
    said = ""
    while code := _lib.ERR_get_error():
        said = _text(_lib.ERR_reason_error_string(code)) or said
    return said or "the connection broke"


def _text(said: Any) -> str:  # noqa: ANN401 - a C string or none
    return "" if said == _ffi.NULL else _ffi.string(said).decode("ascii", "replace")
