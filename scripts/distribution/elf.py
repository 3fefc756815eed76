"""Compiled parts without what only debuggers read, for any machine: nine tenths of some of them are that."""

from __future__ import annotations

import struct
from pathlib import Path

_IDENTITY = b"\x7fELF\x02\x01\x01"  # 64 bits, little end first: amd64 and arm64 both
_HEADER = 64
_SEGMENT = 56


def cut(path: Path) -> bool:
    """Cut a shared object down to what is loaded, and tell whether there was more (elf(5)).

    The kernel and the loader go by segments alone. Whatever lies behind the last of these is there for debuggers and
    linkers: symbols, DWARF, and the table of sections.
    """
    content = path.read_bytes()
    if not content.startswith(_IDENTITY):
        return False
    end = _end_of_segments(content)
    if end >= len(content):
        return False
    header = bytearray(content[:_HEADER])
    struct.pack_into("<Q", header, 0x28, 0)  # e_shoff: where the sections' table is
    struct.pack_into("<HH", header, 0x3C, 0, 0)  # e_shnum, e_shstrndx: how many there are, and which has their names
    path.write_bytes(bytes(header) + content[_HEADER:end])
    return True


def _end_of_segments(content: bytes) -> int:
    table, size, count = struct.unpack_from("<Q14xHH", content, 0x20)
    if size != _SEGMENT:
        return len(content)
    end: int = max(_HEADER, table + size * count)
    for number in range(count):
        offset, length = struct.unpack_from("<Q16xQ", content, table + size * number + 8)  # p_offset, p_filesz
        end = max(end, offset + length)
    return end
