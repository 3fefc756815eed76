from __future__ import annotations

import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.operations.sealing import WrongPassphraseError, opened, sealed
from controller.policy.backup import HEADER_BYTES, TAG_BYTES, BackupFormatError, Header
from protocol.secret import Secret

PASSPHRASE = Secret("insecure correct horse")
# Chunks of few bytes, and a derivation that costs next to nothing.
SMALL = Header(b"s" * 16, b"prefix7", memory=64, passes=1, lanes=1, chunk=64)
STEP = SMALL.chunk + TAG_BYTES
DATA = os.urandom(400)


def seal(data: bytes, passphrase: Secret[str] = PASSPHRASE, header: Header | None = SMALL) -> bytes:
    file = io.BytesIO()
    with sealed(file, passphrase, header) as stream:
        stream.write(data)
    return file.getvalue()


def unseal(data: bytes, passphrase: Secret[str] = PASSPHRASE) -> bytes:
    with opened(io.BytesIO(data), passphrase) as stream:
        found = b""
        while piece := stream.read(100):
            found += piece
        return found


WHOLE = seal(DATA)


@given(st.binary(max_size=1000))
@settings(deadline=None, max_examples=30)
def test_what_was_written_is_what_is_read(data: bytes) -> None:
    assert unseal(seal(data)) == data


def test_it_works_with_the_true_parameters_too_and_no_two_are_alike() -> None:
    first, second = seal(DATA, header=None), seal(DATA, header=None)
    assert unseal(first) == unseal(second) == DATA
    assert first[: HEADER_BYTES - 16] != second[: HEADER_BYTES - 16]
    assert DATA[:16] not in first


def test_another_passphrase_is_known_at_once() -> None:
    with pytest.raises(WrongPassphraseError, match="the passphrase is not the one"):
        unseal(WHOLE, Secret("insecure correct hors"))


@pytest.mark.parametrize("end", [*range(HEADER_BYTES, len(WHOLE), STEP), HEADER_BYTES - 1, len(WHOLE) - 1])
def test_a_file_that_is_cut_off_is_refused_at_the_border_of_each_chunk_too(end: int) -> None:
    with pytest.raises(BackupFormatError, match="cut off"):
        unseal(WHOLE[:end])


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_a_file_in_which_one_bit_was_changed_is_refused(draw: st.DataObject) -> None:
    changed = bytearray(WHOLE)
    changed[draw.draw(st.integers(0, len(WHOLE) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(BackupFormatError):
        unseal(bytes(changed))


def test_what_was_added_to_a_file_is_refused() -> None:
    with pytest.raises(BackupFormatError):
        unseal(WHOLE + b"x")
    with pytest.raises(BackupFormatError):
        unseal(WHOLE + WHOLE[HEADER_BYTES:])


def test_a_file_of_something_else_is_refused() -> None:
    with pytest.raises(BackupFormatError, match="no backup of a controller"):
        unseal(b"\x1f\x8b" + bytes(500))
    with pytest.raises(BackupFormatError):
        unseal(b"")
