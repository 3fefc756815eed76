from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.recording import frame
from protocol.recording.frame import FrameError

MAGICLESS = zstandard.FORMAT_ZSTD1_MAGICLESS


def packed(content: bytes, *, level: int = 3, **options: bool) -> bytes:
    """Return a frame as somebody else would make it, without a dictionary."""
    settings = {"write_content_size": True, "write_checksum": False, "write_dict_id": False, **options}
    parameters = zstandard.ZstdCompressionParameters.from_level(level, format=MAGICLESS, **settings)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


@pytest.mark.parametrize("dictionary", [0, 1])
@pytest.mark.parametrize("size", [1, 2, 255, 256, 4096, 4097, 16384, 16385, 32768, 32769, 65536, 2 * 1024 * 1024])
def test_a_frame_of_any_size_is_unpacked_again(size: int, dictionary: int) -> None:
    for content in (os.urandom(size), (b'[12.345,"o","ls -l\\r\\n"]\n' * (size // 20 + 1))[:size]):
        assert frame.decompress(frame.compress(content, dictionary), dictionary) == content


@pytest.mark.parametrize("period", range(1, 10))
def test_a_large_frame_written_without_the_dictionary_reads_with_it(period: int) -> None:
    """It begins with repeated offsets, whose first values a dictionary would set: ours sets what they are anyway."""
    content = (bytes(range(65, 65 + period)) * 65536)[:65536]
    assert frame.decompress(packed(content), 1) == frame.decompress(frame.compress(content), 1) == content


@given(st.binary(min_size=1, max_size=2000))
def test_a_frame_made_elsewhere_without_the_dictionary_reads_with_it(content: bytes) -> None:
    assert frame.decompress(packed(content, level=19), 1) == content


def test_the_dictionary_makes_a_small_frame_much_smaller() -> None:
    content = b'[3.512,"o","\\r\\n\\u001b[?2004l\\rbash: foo: command not found\\r\\n\\u001b[?2004h"]\n'
    assert 3 * len(frame.compress(content)) < 2 * len(frame.compress(content, 0))


def test_the_shipped_dictionary_is_the_newest_and_none_is_known_beyond_it() -> None:
    assert [frame.is_known(number) for number in (-1, 0, frame.NEWEST, frame.NEWEST + 1)] == [False, True, True, False]


@pytest.mark.parametrize("number", [-1, 2, 2**62])
def test_an_unknown_dictionary_is_told(number: int) -> None:
    with pytest.raises(FrameError, match="a newer version has it"):
        frame.decompress(frame.compress(b"x"), number)
    with pytest.raises(FrameError, match="a newer version has it"):
        frame.compress(b"x", number)


def test_too_much_and_nothing_are_not_packed() -> None:
    with pytest.raises(FrameError, match="more than"):
        frame.compress(bytes(limits.RECORDING_FRAME_MAX + 1))
    with pytest.raises(FrameError, match="of nothing"):
        frame.compress(b"")


@pytest.mark.parametrize("size", [limits.RECORDING_FRAME_MAX + 1, 1 << 30])
def test_a_bomb_that_says_its_size_is_not_unpacked(size: int) -> None:
    bomb = packed(bytes(limits.RECORDING_FRAME_MAX + 1))
    with pytest.raises(FrameError, match="more than"):
        frame.decompress(bomb, 1)
    # The field after the frame's one byte of description says how much there is: four bytes of it.
    assert bomb[0] >> 6 == 2
    lying = bomb[:1] + bytes([0x50]) + size.to_bytes(4, "little") + bomb[6:]
    with pytest.raises(FrameError):
        frame.decompress(lying, 1)


def test_a_bomb_that_hides_its_size_or_lies_about_it_is_not_unpacked() -> None:
    with pytest.raises(FrameError, match="does not say its size"):
        frame.decompress(packed(bytes(64 * 1024 * 1024), write_content_size=False), 1)
    bomb = bytearray(packed(bytes(200)))
    assert (bomb[0], bomb[1]) == (0x20, 200)
    for said in (1, 100, 199, 201, 255):
        bomb[1] = said
        with pytest.raises(FrameError, match="not one whole"):
            frame.decompress(bytes(bomb), 0)


def test_a_frame_that_says_it_holds_nothing_is_none_whatever_follows() -> None:
    empty = packed(b"")
    for data in (empty, empty + packed(b"hidden")):
        with pytest.raises(FrameError, match="of nothing"):
            frame.decompress(data, 0)


def test_a_frame_stands_alone_and_whole() -> None:
    whole = packed(b"content " * 20)
    for data in (whole + whole, whole + b"x", b"\x50\x2a\x4d\x18\4\0\0\0abcd" + whole, b"\x28\xb5\x2f\xfd" + whole):
        with pytest.raises(FrameError):
            frame.decompress(data, 0)
    for size in range(len(whole)):
        with pytest.raises(FrameError):
            frame.decompress(whole[:size], 0)


@given(st.binary(max_size=100), st.sampled_from([0, 1]))
def test_no_bytes_raise_anything_else_or_make_too_much(data: bytes, dictionary: int) -> None:
    with suppress(FrameError):
        assert len(frame.decompress(data, dictionary)) <= limits.RECORDING_FRAME_MAX


def test_threads_do_not_disturb_each_other() -> None:
    contents = [bytes([number]) * 3000 + os.urandom(3000) for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            assert list(pool.map(lambda one: frame.decompress(frame.compress(one), 1), contents)) == contents


def test_what_was_kept_for_the_next_frame_can_be_given_back_at_any_time() -> None:
    first = frame.compress(b"the same again")
    frame.forget()
    assert frame.compress(b"the same again") == first
    assert frame.decompress(first, frame.NEWEST) == b"the same again"
