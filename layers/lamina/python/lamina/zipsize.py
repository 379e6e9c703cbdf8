"""How large a zip is when unpacked, from the table of contents at its end, so that nothing else of it is needed."""

from __future__ import annotations

import struct
from dataclasses import dataclass

TAIL = 131_072
"""Bytes at the end of a zip that hold the end of its table for certain, and mostly all of the table."""

MOST_INFLATION = 1032
"""How many bytes one byte of deflated data becomes at most: 258 bytes for two bits. No other compression is reckoned
with, nor a zip whose files overlap.
"""

_END = struct.Struct("<4s4H2LH")
_LOCATOR = 20
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4B4H3L5H2L")
_IN_EXTRA = 0xFFFFFFFF


@dataclass(frozen=True)
class Contents:
    """Where a zip's table of contents lies: its first byte, its length in bytes, and how many files it lists."""

    start: int
    length: int
    files: int


def locate(tail: bytes, total: int) -> Contents | None:
    """Find the table of contents.

    Args:
        tail: the zip's last bytes, `TAIL` of them or all.
        total: bytes of the whole zip.

    Returns:
        None for what is no zip.
    """
    at = len(tail)
    while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
        if at + _END.size <= len(tail):
            _, _, _, _, files, length, offset, comment = _END.unpack_from(tail, at)
            if at + _END.size + comment == len(tail):
                return _contents(tail, total, at, files, length, offset)
    return None


def unzipped(table: bytes, files: int) -> int | None:
    """Bytes of all files that a table of contents lists; None for one that makes no sense.

    Args:
        table: the bytes that `locate` told.
        files: how many there must be.
    """
    total, found, at = 0, 0, 0
    while at + _ENTRY.size <= len(table):
        entry = _ENTRY.unpack_from(table, at)
        if entry[0] != b"PK\1\2":
            break
        size, name, extra, comment = entry[11], entry[12], entry[13], entry[14]
        after = at + _ENTRY.size + name
        if after + extra + comment > len(table):
            return None
        if size == _IN_EXTRA:
            wide = _wide(table[after : after + extra])
            if wide is None:
                return None
            size = wide
        total, found, at = total + size, found + 1, after + extra + comment
    return total if found == files or found % 0x10000 == files else None


def _contents(tail: bytes, total: int, end: int, files: int, length: int, offset: int) -> Contents | None:
    if files == 0xFFFF or _IN_EXTRA in (length, offset):
        place = end - _LOCATOR - _END_64.size
        if place >= 0 and tail[place : place + 4] == b"PK\6\6":
            _, _, _, _, _, _, _, files, length, _ = _END_64.unpack_from(tail, place)
            end = place
    # What stands before the zip in the same file moves its offsets, but the table always ends where its end begins.
    start = total - len(tail) + end - length
    return Contents(start, length, files) if start >= 0 else None


def _wide(extra: bytes) -> int | None:
    """The size in the extra field for large files, where it comes first."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1 and length >= 8 and at + 12 <= len(extra):
            return int(struct.unpack_from("<Q", extra, at + 4)[0])
        at += 4 + length
    return None
