from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.backup import (
    HEADER_BYTES,
    TAG_BYTES,
    BackupFormatError,
    Header,
    KeptFile,
    Manifest,
    Opening,
    Sealing,
    check_member,
    with_data_dir,
)

KEY = AESGCM(bytes(range(32)))
HEADER = Header(b"s" * 16, b"prefix7", chunk=8, check=b"c" * 16)
STEP = 8 + TAG_BYTES
MANIFEST = Manifest(
    cluster="harbour",
    made=datetime(2026, 5, 1, 12, tzinfo=UTC),
    version="0.4.0",
    data_dir="/var/lib/skerry",
    key_from="file",
    recordings=True,
    size=12345,
    files=(KeptFile("files/0", "/etc/skerry/web.key", "proxy_service.https_keypairs", 0o640, "root", "skerry"),),
)


def sealed(data: bytes, pieces: int = 1) -> bytes:
    chunks = Sealing(HEADER, lambda nonce, piece: KEY.encrypt(nonce, piece, HEADER.parameters))
    size = max(1, len(data) // pieces)
    done = [chunks.add(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join(done) + chunks.end()


def unsealed(data: bytes, pieces: int = 1) -> bytes:
    def open_(nonce: bytes, piece: bytes) -> bytes:
        try:
            return KEY.decrypt(nonce, piece, HEADER.parameters)
        except (InvalidTag, ValueError):
            raise BackupFormatError("it was changed or cut off") from None

    chunks = Opening(HEADER, open_)
    size = max(1, len(data) // pieces)
    done = [chunks.add(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join(done) + chunks.end()


@given(st.binary(max_size=100), st.integers(1, 9), st.integers(1, 9))
def test_what_was_sealed_is_what_is_opened_however_it_comes(data: bytes, written: int, read: int) -> None:
    assert unsealed(sealed(data, written), read) == data


@given(st.binary(max_size=60), st.data())
def test_a_changed_bit_anywhere_is_refused(data: bytes, draw: st.DataObject) -> None:
    made = bytearray(sealed(data))
    made[draw.draw(st.integers(0, len(made) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(BackupFormatError):
        unsealed(bytes(made))


@given(st.binary(min_size=1, max_size=60))
def test_what_is_cut_off_anywhere_is_refused_at_the_border_of_a_chunk_too(data: bytes) -> None:
    made = sealed(data)
    for end in range(len(made)):
        with pytest.raises(BackupFormatError):
            unsealed(made[:end])


@given(st.binary(min_size=9, max_size=60), st.data())
def test_chunks_that_change_places_or_come_twice_or_are_left_out_are_refused(data: bytes, draw: st.DataObject) -> None:
    made = sealed(data)
    chunks = [made[start : start + STEP] for start in range(0, len(made), STEP)]
    place = draw.draw(st.integers(0, len(chunks) - 2))
    swapped = [*chunks[:place], chunks[place + 1], chunks[place], *chunks[place + 2 :]]
    for wrong in (swapped, [*chunks[: place + 1], *chunks[place:]], [*chunks[:place], *chunks[place + 1 :]]):
        with pytest.raises(BackupFormatError):
            unsealed(b"".join(wrong))


def test_what_follows_the_last_chunk_is_refused() -> None:
    with pytest.raises(BackupFormatError):
        unsealed(sealed(b"harbour") + sealed(b"harbour"))


def test_more_chunks_than_a_nonce_can_count_are_refused() -> None:
    chunks = Sealing(HEADER, lambda nonce, piece: KEY.encrypt(nonce, piece, HEADER.parameters))
    chunks._number = 2**32 - 1  # a backup of 256 TiB, nearly
    chunks.add(bytes(9))
    with pytest.raises(BackupFormatError, match="larger than a backup can be"):
        chunks.end()


def test_a_header_is_read_as_it_was_written() -> None:
    assert len(HEADER.encode()) == HEADER_BYTES
    assert Header.parse(HEADER.encode()) == HEADER


def test_a_header_of_something_else_or_a_later_form_or_cut_off_is_refused() -> None:
    with pytest.raises(BackupFormatError, match="no backup"):
        Header.parse(b"PK\x03\x04".ljust(HEADER_BYTES))
    with pytest.raises(BackupFormatError, match="cut off"):
        Header.parse(HEADER.encode()[:-1])
    later = bytearray(HEADER.encode())
    later[14] = 2
    with pytest.raises(BackupFormatError, match=r"form 2\.1"):
        Header.parse(bytes(later))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(HEADER, memory=2**31),
        replace(HEADER, memory=256 * 1024 + 1, passes=1),
        replace(HEADER, memory=64 * 1024, passes=17),
        replace(HEADER, memory=1),
        replace(HEADER, memory=0, lanes=0),
        replace(HEADER, passes=0),
        replace(HEADER, passes=1000),
        replace(HEADER, lanes=0),
        replace(HEADER, lanes=65),
        replace(HEADER, chunk=0),
        replace(HEADER, chunk=2**24),
    ],
)
def test_a_header_that_asks_for_too_much_is_refused_before_it_gets_any(wrong: Header) -> None:
    with pytest.raises(BackupFormatError, match="it was changed"):
        Header.parse(wrong.encode())


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "controller.yaml",
        "master.key",
        "files/0",
        "store/nodes_ab.json",
        "log/audit-2026-05-01.log",
        "tls/web.key",
        "recordings/2026/05/01/7c9e6679-7425-40de-944b-e07fc1f90ae7.skr",
        "recordings/2026/05/01/index.jsonl",
    ],
)
def test_what_belongs_in_a_backup_is_taken(name: str) -> None:
    assert check_member(name, is_file=True, is_directory=False) == name


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../evil",
        "store/../../evil",
        "store/..",
        "store/.hidden.json",
        "store//x.json",
        "./manifest.json",
        "evil",
        "recordings/2026/05/01/../../../../x",
        "log/audit-2026-05-01.log\n",
        "store/\x00.json",
        "store/" + "a" * 260 + ".json",
        "",
    ],
)
def test_what_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(BackupFormatError, match="belongs in no backup"):
        check_member(name, is_file=True, is_directory=False)


def test_links_and_devices_are_refused_and_directories_taken() -> None:
    with pytest.raises(BackupFormatError):
        check_member("store/nodes.json", is_file=False, is_directory=False)
    assert check_member("store/", is_file=False, is_directory=True) == "store"


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert Manifest.parse(MANIFEST.encode()) == MANIFEST


@pytest.mark.parametrize(
    "change",
    [
        {"cluster": None, "files": 7},
        {"made": "yesterday"},
        {"data_dir": "relative"},
        {"data_dir": "/etc/../etc/x"},
        {"master_key": {}},
        {"files": [{"member": "../x", "path": "/x", "key": "", "mode": 0, "owner": "", "group": ""}]},
    ],
)
def test_a_manifest_that_says_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BackupFormatError, match="cannot be read"):
        Manifest.parse(json.dumps(json.loads(MANIFEST.encode()) | change).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BackupFormatError, match="cannot be read"):
        Manifest.parse(data)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("teleport:\n  data_dir: /old  # here\n", 'teleport:\n  data_dir: "/new place"  # here\n'),
        ("teleport: {data_dir: '/old', x: 1}", 'teleport: {data_dir: "/new place", x: 1}'),
        ('{"teleport": {"data_dir": "/old"}}', '{"teleport": {"data_dir": "/new place"}}'),
        ("auth_service: {}\n", "auth_service: {}\n"),
    ],
)
def test_another_data_directory_is_written_where_one_is(text: str, wanted: str) -> None:
    assert with_data_dir(text, "/new place") == wanted
