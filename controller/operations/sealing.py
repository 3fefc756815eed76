"""A backup's bytes: the keys made of a passphrase, and streams through which it is written and read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, cast

import argon2
import zstandard
from argon2.exceptions import HashingError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from controller.operations.error import OperationError
from controller.policy.backup import (
    CHECK_BYTES,
    HEADER_BYTES,
    PREFIX_BYTES,
    SALT_BYTES,
    BackupFormatError,
    Header,
    Opening,
    Sealing,
)
from protocol.secret import Secret

_KEY_BYTES = 32
_BLOCK = 64 * 1024
_LEVEL = 3
# What is compressed at `_LEVEL` needs a window of 2 MiB.
_WINDOW_MAX = 8 * 1024 * 1024


class WrongPassphraseError(BackupFormatError):
    """The passphrase is not the one that the backup was made with."""


def fresh_header() -> Header:
    """Return a header with a salt and a nonce prefix that no other backup has."""
    return Header(os.urandom(SALT_BYTES), os.urandom(PREFIX_BYTES))


def _keys(header: Header, passphrase: Secret[str]) -> tuple[AESGCM, bytes]:
    """Return what seals, and by what the passphrase is known to be right. Raises `OperationError`."""
    try:
        made = argon2.low_level.hash_secret_raw(
            passphrase.reveal().encode(),
            header.salt,
            time_cost=header.passes,
            memory_cost=header.memory,
            parallelism=header.lanes,
            hash_len=_KEY_BYTES,
            type=argon2.low_level.Type.ID,
        )
    except (HashingError, MemoryError) as err:
        wanted = header.memory // 1024
        raise OperationError(f"the passphrase takes {wanted} MiB of memory, which are not to be had: {err}") from None
    key, check = (
        HKDFExpand(SHA256(), size, purpose).derive(made)
        for size, purpose in ((_KEY_BYTES, b"skerry backup v1 chunks"), (CHECK_BYTES, b"skerry backup v1 check"))
    )
    return AESGCM(key), check


@contextmanager
def sealed(file: IO[bytes], passphrase: Secret[str], header: Header | None = None) -> Iterator[IO[bytes]]:
    """Yield a stream; what is written to it stands in `file` compressed and sealed, whole when the block ends well.

    Raises `OSError`. Memory: some MiB, whatever the size, and once 64 MiB for the passphrase.
    """
    header = header or fresh_header()
    cipher, check = _keys(header, passphrase)
    header = replace(header, check=check)
    file.write(header.encode())
    chunks = Sealing(header, lambda nonce, data: cipher.encrypt(nonce, data, header.parameters))
    sink = _Sink(lambda data: file.write(chunks.add(data)))
    compressor = zstandard.ZstdCompressor(_LEVEL)
    with compressor.stream_writer(cast("IO[bytes]", sink), closefd=False) as writer:
        yield writer
    file.write(chunks.end())


@contextmanager
def opened(file: IO[bytes], passphrase: Secret[str]) -> Iterator[IO[bytes]]:
    """Yield a stream from which can be read what was sealed. Only at its end is it known that it was all.

    Raises `OSError` and, at any read, `BackupFormatError`; `WrongPassphraseError` before the first.
    """
    header = Header.parse(file.read(HEADER_BYTES))
    cipher, check = _keys(header, passphrase)
    if not bytes_eq(check, header.check):
        raise WrongPassphraseError("the passphrase is not the one that it was made with")

    def open_(nonce: bytes, data: bytes) -> bytes:
        try:
            return cipher.decrypt(nonce, data, header.parameters)
        except (InvalidTag, ValueError):
            raise BackupFormatError("it was changed or cut off") from None

    source = io.BufferedReader(_Source(file, Opening(header, open_)), _BLOCK)
    with zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).stream_reader(source, closefd=False) as reader:
        yield cast("IO[bytes]", _Checked(reader, source))


class _Sink(io.RawIOBase):
    def __init__(self, take: Callable[[bytes], object]) -> None:
        super().__init__()
        self._take = take

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]  # some buffer, as io has it
        self._take(piece)
        return len(piece)


class _Source(io.RawIOBase):
    """What was sealed, as it is opened."""

    def __init__(self, file: IO[bytes], chunks: Opening) -> None:
        super().__init__()
        self._file = file
        self._chunks = chunks
        self._ready = b""
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, into: object) -> int:
        view = memoryview(into)  # type: ignore[arg-type]  # some buffer, as io has it
        while not self._ready and not self._is_over:
            data = self._file.read(_BLOCK)
            self._is_over = not data
            self._ready = self._chunks.add(data) if data else self._chunks.end()
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size


class _Checked(io.RawIOBase):
    """Reads what was compressed, and at its end sees that nothing else follows."""

    def __init__(self, reader: IO[bytes], source: IO[bytes]) -> None:
        super().__init__()
        self._reader = reader
        self._source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._reader.read(size)
        except zstandard.ZstdError:
            raise BackupFormatError("what is in it cannot be unpacked") from None
        if not data and size and self._source.read(1):
            raise BackupFormatError("something follows its end")
        return data
