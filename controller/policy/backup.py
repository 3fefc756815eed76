"""The form of a backup: its beginning, its sealed chunks, what may lie in it, and what it says of itself. Pure.

A backup is a header and chunks. The chunks are sealed one by one by the STREAM construction (Hoang, Reyhanitabar,
Rogaway and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015, section 7): the
nonce of each holds its number and whether it is the last, so that none can be changed, moved, left out, repeated or cut
off.
docs/operations.md describes the whole.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from protocol.instants import format_instant, parse_instant

SALT_BYTES = 16
PREFIX_BYTES = 7
CHECK_BYTES = 16
TAG_BYTES = 16
_MAGIC = b"skerry-backup\n"
_VERSION = 1
_ARGON2ID = 1
_PARAMETERS = struct.Struct(f">14sBBIIII{SALT_BYTES}s{PREFIX_BYTES}s")
HEADER_BYTES = _PARAMETERS.size + CHECK_BYTES
# What a header may ask of whoever opens it: nobody is made to give more than this before anything is proven.
_MEMORY_MAX_KIB = 256 * 1024
# Of memory times passes, KiB: what it costs is time.
_EFFORT_MAX = 1024 * 1024
_LANES_MAX = 64
_CHUNK_MAX = 1024 * 1024
_NUMBER_MAX = 2**32

PASSPHRASE_MIN_CHARS = 12
MANIFEST = "manifest.json"
CONFIG = "controller.yaml"
MASTER_KEY = "master.key"
# What is small, comes first, and is read whole: all of it together.
HEADING_MAX = 8 * 1024 * 1024
# What a tar archive may say of one member beside its header: far more than its name and its size.
EXTENDED_MAX = 64 * 1024
# What a file that is put back may be: for its owner to change, and for nobody to run.
_MODE_MAX = 0o644
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_ALLOWED = re.compile(
    rf"{re.escape(MANIFEST)}|{re.escape(CONFIG)}|{re.escape(MASTER_KEY)}|files(/\d{{1,3}})?|store(/{_WORD}\.json)?"
    rf"|log(/audit-\d{{4}}-\d\d-\d\d\.log)?|tls(/web\.(crt|key))?"
    rf"|recordings(/\d{{4}}(/\d\d(/\d\d(/{_WORD})?)?)?)?",
    re.ASCII,
)
_NAME_MAX = 255


class BackupFormatError(ValueError):
    """It is no backup, or not what was written; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the chunks, in clear.

    Attributes:
        salt, memory, passes, lanes: of Argon2id (RFC 9106), which makes the keys of the passphrase; memory in KiB.
        prefix: what every nonce begins with.
        chunk: bytes that are sealed together.
        check: by which a wrong passphrase is known before anything is read.
    """

    salt: bytes
    prefix: bytes
    memory: int = 64 * 1024  # with the three passes and four lanes: RFC 9106, section 4, second recommended option
    passes: int = 3
    lanes: int = 4
    chunk: int = 64 * 1024
    check: bytes = field(default=bytes(CHECK_BYTES))

    @property
    def parameters(self) -> bytes:
        """The bytes without the check; every chunk is sealed together with them."""
        return _PARAMETERS.pack(
            _MAGIC, _VERSION, _ARGON2ID, self.memory, self.passes, self.lanes, self.chunk, self.salt, self.prefix
        )

    def encode(self) -> bytes:
        """Return the bytes."""
        return self.parameters + self.check

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read the first `HEADER_BYTES` of a file. Raises `BackupFormatError`."""
        if not data.startswith(_MAGIC):
            raise BackupFormatError("it is no backup of a controller")
        if len(data) != HEADER_BYTES:
            raise BackupFormatError("it is cut off within its first bytes")
        _, version, kind, memory, passes, lanes, chunk, salt, prefix = _PARAMETERS.unpack_from(data)
        if version != _VERSION or kind != _ARGON2ID:
            raise BackupFormatError(f"it has the form {version}.{kind}, which this version of Skerry does not know")
        if not (
            8 <= 8 * lanes <= memory <= _MEMORY_MAX_KIB
            and 1 <= passes <= _EFFORT_MAX // memory
            and lanes <= _LANES_MAX
            and 1 <= chunk <= _CHUNK_MAX
        ):
            raise BackupFormatError("its first bytes ask for what no backup asks for: it was changed")
        return cls(salt, prefix, memory, passes, lanes, chunk, data[_PARAMETERS.size :])


# Seals or opens one chunk with a nonce; opening raises `BackupFormatError` for one that does not open.
Cipher = Callable[[bytes, bytes], bytes]


class _Cutter:
    """Cuts what comes into pieces of one size, and keeps one back: it may turn out to be the last."""

    def __init__(self, header: Header, size: int, cipher: Cipher) -> None:
        self._prefix = header.prefix
        self._size = size
        self._cipher = cipher
        self._kept = bytearray()
        self._number = 0

    def add(self, data: bytes) -> bytes:
        """Take some bytes, and return what is done of them and of those before."""
        self._kept += data
        done = []
        while len(self._kept) > self._size:
            done.append(self._turn(bytes(self._kept[: self._size]), is_last=False))
            del self._kept[: self._size]
        return b"".join(done)

    def end(self) -> bytes:
        """Return the rest. To be called once."""
        return self._turn(bytes(self._kept), is_last=True)

    def _turn(self, piece: bytes, *, is_last: bool) -> bytes:
        if self._number >= _NUMBER_MAX:
            raise BackupFormatError("it is larger than a backup can be")
        nonce = self._prefix + self._number.to_bytes(4, "big") + bytes([is_last])
        self._number += 1
        return self._cipher(nonce, piece)


class Sealing(_Cutter):
    """Turns bytes, as they come, into sealed chunks. What it keeps in memory is one chunk and what was just given."""

    def __init__(self, header: Header, seal: Cipher) -> None:
        super().__init__(header, header.chunk, seal)


class Opening(_Cutter):
    """Turns sealed chunks back; what it returns is proven to be what was sealed there.

    Only where `end` has returned is it proven that it was all. Raises `BackupFormatError`.
    """

    def __init__(self, header: Header, open_: Cipher) -> None:
        super().__init__(header, header.chunk + TAG_BYTES, open_)


def check_member(name: str, *, is_file: bool, is_directory: bool) -> str:
    """Return the name of something in a backup, which is safe to make below a directory of ours.

    Raises:
        BackupFormatError: it is neither a file nor a directory, or leads elsewhere, or belongs to no backup.
    """
    plain = name.rstrip("/") if is_directory else name
    if not (is_file or is_directory) or len(plain) > _NAME_MAX or not _ALLOWED.fullmatch(plain):
        raise BackupFormatError(f"it holds {name[:80]!r}, which belongs in no backup")
    return plain


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file from outside the data directory.

    Attributes:
        member: its name in the backup.
        path: where it lay.
        key: which setting names it.
        mode: its permission bits.
        owner, group: whose it was, by name; empty where nobody has that number.
    """

    member: str
    path: str
    key: str
    mode: int
    owner: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        cluster: the cluster's name.
        made: when it was made, UTC.
        version: of the controller that made it.
        data_dir: where the data lay.
        key_from: `credential` where the master key was handed in by systemd, else `file`.
        recordings: whether they are in it.
        size: about how many bytes there are in it.
        files: from outside the data directory.
    """

    cluster: str
    made: datetime
    version: str
    data_dir: str
    key_from: str
    recordings: bool
    size: int
    files: tuple[KeptFile, ...] = ()

    def encode(self) -> bytes:
        """Return the JSON."""
        return json.dumps(
            {
                "format": _VERSION,
                "cluster": self.cluster,
                "made": format_instant(self.made),
                "version": self.version,
                "data_dir": self.data_dir,
                "master_key": {"from": self.key_from},
                "recordings": self.recordings,
                "size": self.size,
                "files": [_file_to_dict(file) for file in self.files],
            },
            indent=1,
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read what `encode` gives. Raises `BackupFormatError`."""
        try:
            fields = json.loads(data)
            return cls(
                str(fields["cluster"]),
                parse_instant(fields["made"]),
                str(fields["version"]),
                _absolute(fields["data_dir"]),
                str(fields["master_key"]["from"]),
                bool(fields["recordings"]),
                int(fields["size"]),
                tuple(map(_file_from_dict, fields["files"])),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise BackupFormatError("what it says of itself cannot be read") from None


def _absolute(value: object) -> str:
    path = str(value)
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError(value)
    return path


def _file_to_dict(file: KeptFile) -> dict[str, Any]:
    whose = {"owner": file.owner, "group": file.group}
    return {"member": file.member, "path": file.path, "key": file.key, "mode": file.mode, **whose}


def _file_from_dict(fields: Mapping[str, Any]) -> KeptFile:
    member = check_member(str(fields["member"]), is_file=True, is_directory=False)
    mode, whose = int(fields["mode"]) & _MODE_MAX, (str(fields["owner"]), str(fields["group"]))
    return KeptFile(member, _absolute(fields["path"]), str(fields["key"]), mode, *whose)


_DATA_DIR = re.compile(
    r"""(?P<key>(?:^|[{,\s])["']?data_dir["']?\s*:\s*)(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s#,}]+)""", re.MULTILINE
)


def with_data_dir(text: str, data_dir: str) -> str:
    """Return a controller.yaml with another data directory; as it is where that is not written there.

    Only the text is looked at: whoever calls it sees whether the settings say now what they should.
    """
    return _DATA_DIR.sub(lambda found: found["key"] + json.dumps(data_dir), text, count=1)
