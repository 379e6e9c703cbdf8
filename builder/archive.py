"""The layer as a zip, the same bytes for the same contents, and the digest of these contents.

Names are sorted and times fixed. The digest covers paths, modes and contents but not the compression, since zlib
differs from one machine to the next. Compression is most of the work and lets other threads run meanwhile, which
`zipfile` cannot make use of: so the zip (APPNOTE.TXT 6.3.10, with zip64 for many files) is written here.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from builder.refusal import Refused
from builder.tree import files_below

LEVEL = 6
"""Level 9 takes three times as long for less than one percent."""

_UTF8, _DEFLATED, _STORED, _UNIX = 0x800, 8, 0, 3
_DATE = (1 << 5) | 1
"""1980-01-01, the earliest that a zip can state."""


class Entry(NamedTuple):
    """A file of the layer: its path in the zip, its mode with file type, and its contents (a link's target)."""

    path: str
    mode: int
    content: bytes


class _Packed(NamedTuple):
    method: int
    crc: int
    body: bytes
    length: int


def collect(root: Path) -> Iterator[Entry]:
    """The layer's files in the order of their paths; times and owners do not count, of modes only what runs."""
    for name in files_below(root):
        path = root / name
        if path.is_symlink():
            yield Entry(name, stat.S_IFLNK | 0o777, os.fsencode(path.readlink()))
        else:
            runs = path.stat().st_mode & 0o111
            yield Entry(name, stat.S_IFREG | (0o755 if runs else 0o644), path.read_bytes())


def check_links(root: Path, variant: str) -> None:
    """Refuse symbolic links that lead nowhere or out of the layer.

    Raises:
        Refused: naming the first one.
    """
    inside = root.resolve()
    for name in files_below(root):
        path = root / name
        if not path.is_symlink():
            continue
        target = path.readlink()
        if target.is_absolute() or not path.resolve().is_relative_to(inside):
            raise Refused(
                f"{variant}: {name} is a symbolic link to {target}, which is outside the layer; put the file itself "
                "there, or link to it by a relative path inside the layer"
            )
        if not path.exists():
            raise Refused(f"{variant}: {name} is a symbolic link to {target}, which is not in the layer; remove it")


def write_zip(target: Path, entries: Sequence[Entry]) -> None:
    """Write the zip, the same bytes for the same entries."""
    directory: list[bytes] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, target.open("wb") as file:
        for entry, packed in zip(entries, pool.map(_pack, entries), strict=True):
            name, offset = entry.path.encode(), file.tell()
            common = struct.pack("<HHHHIIIHH", _UTF8, packed.method, 0, _DATE, packed.crc, len(packed.body),
                                 packed.length, len(name), 0)  # fmt: skip
            file.write(struct.pack("<4sH", b"PK\3\4", 20) + common + name + packed.body)
            rest = struct.pack("<HHHII", 0, 0, 0, entry.mode << 16, offset)
            directory.append(struct.pack("<4sBBH", b"PK\1\2", 20, _UNIX, 20) + common + rest + name)
        start = file.tell()
        file.write(b"".join(directory))
        file.write(_end(len(entries), start, file.tell() - start))


def _pack(entry: Entry) -> _Packed:
    worker = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = worker.compress(entry.content) + worker.flush()
    crc, length = zlib.crc32(entry.content), len(entry.content)
    return _Packed(_DEFLATED, crc, body, length) if len(body) < length else _Packed(_STORED, crc, entry.content, length)


def _end(count: int, start: int, size: int) -> bytes:
    """The end of the central directory; with zip64's beside it where there are more files than it can count."""
    more = b""
    if count >= 0xFFFF:
        more = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
        more += struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    shown = min(count, 0xFFFF)
    return more + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, shown, shown, size, start, 0)


def digest(entries: Sequence[Entry]) -> str:
    """SHA-256 over path, mode and content hash of every entry, hex."""
    total = hashlib.sha256()
    for entry in entries:
        content = hashlib.sha256(entry.content).hexdigest()
        total.update(f"{entry.path}\0{entry.mode:o}\0{content}\n".encode())
    return total.hexdigest()
