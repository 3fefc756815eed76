"""The content of one data record, compressed: an independent zstd frame (RFC 8878) without its magic number.

Frames are small, and small frames compress badly without a dictionary; ours is trained on sessions that the project
makes itself (scripts/train_dictionary.py) and is shipped beside this file, named by its number. Every frame is read
with the dictionary that the header names. A large frame is written without looking at it, which costs it nothing and
saves a third of the time: that reads the same, for a dictionary trained by zstd begins with a plain frame's offsets.
"""

from __future__ import annotations

import pkgutil
from functools import lru_cache

import zstandard

from protocol import limits

NEWEST = 1
_NONE = 0
# Small frames come one a second and can have all the effort there is; large ones come as fast as a program prints.
_EFFORTS = ((4 * 1024, 19), (16 * 1024, 9), (32 * 1024, 3), (limits.RECORDING_FRAME_MAX, 1))
# Frames above it are written without the dictionary.
_SMALL = 32 * 1024
# What tables are made for: larger ones would not pay.
_USUAL = 64 * 1024
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS
# A compressor must not be used by two threads at once: it is taken from its shelf and put back, and taking from a
# list and adding to it are atomic. There are as many as threads ever compressed at the same moment.


class FrameError(ValueError):
    """It is no frame, or too large a one."""


def is_known(dictionary: int) -> bool:
    """Tell whether the dictionary of that number is here; 0 stands for none."""
    return 0 <= dictionary <= NEWEST


def compress(content: bytes, dictionary: int = NEWEST) -> bytes:
    """Return the frame of `content`: 1 to `limits.RECORDING_FRAME_MAX` bytes. Raises `FrameError`."""
    if not content:
        raise FrameError("a frame of nothing")
    for most, level in _EFFORTS:
        if len(content) <= most:
            return _pack(content, level, dictionary if len(content) <= _SMALL else _NONE)
    raise FrameError(f"more than {limits.RECORDING_FRAME_MAX} bytes in one frame")


def decompress(frame: bytes, dictionary: int) -> bytes:
    """Return the content of `frame`. Never makes more than `limits.RECORDING_FRAME_MAX` bytes. Raises `FrameError`."""
    try:
        said = zstandard.get_frame_parameters(frame, format=_FORMAT).content_size
        if said > limits.RECORDING_FRAME_MAX:  # also where it says nothing: the library's value for that is huge
            raise FrameError(f"a frame that does not say its size, or more than {limits.RECORDING_FRAME_MAX} bytes")
        if said == 0:  # the library would not look at what follows
            raise FrameError("a frame of nothing")
        decompressor = _new_decompressor(dictionary)
        return decompressor.decompress(frame, read_across_frames=False, allow_extra_data=False)
    except zstandard.ZstdError as err:
        raise FrameError("not one whole zstd frame") from err


def forget() -> None:
    """Give back the memory that is kept for the next frame."""
    _compressors.cache_clear()
    _dictionary.cache_clear()


def _pack(content: bytes, level: int, dictionary: int) -> bytes:
    shelf = _compressors(level, dictionary)
    try:
        compressor = shelf.pop()
    except IndexError:
        compressor = _new_compressor(level, dictionary)
    packed = compressor.compress(content)
    shelf.append(compressor)
    return packed


@lru_cache
def _compressors(_level: int, _dictionary: int) -> list[zstandard.ZstdCompressor]:
    return []


@lru_cache
def _dictionary(number: int) -> zstandard.ZstdCompressionDict | None:
    if number == _NONE:
        return None
    if not is_known(number):
        raise FrameError(f"dictionary {number} is not here: a newer version has it")
    data = pkgutil.get_data(__name__, f"dictionary-{number}.zdict") or b""
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)


def _new_compressor(level: int, number: int) -> zstandard.ZstdCompressor:
    dictionary = _dictionary(number)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=_USUAL,
        dict_size=len(dictionary.as_bytes()) if dictionary else 0,
        format=_FORMAT,
        write_content_size=True,
        write_checksum=False,
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)


def _new_decompressor(number: int) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(
        dict_data=_dictionary(number), max_window_size=2 * limits.RECORDING_FRAME_MAX, format=_FORMAT
    )
