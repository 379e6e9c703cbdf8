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
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from builder.refusal import Refused
from builder.tree import files_below

LEVEL, LARGE, LEVEL_OF_LARGE = 6, 1_000_000, 4
"""Files from `LARGE` bytes on, most of them native code, are most of the work: level 4 takes less than half the time of
level 6 for them, and makes them 4 % larger. Level 9 would take three times as long for less than one percent."""
_GZIP = b"\x1f\x8b"
_BATCH = 500_000
"""Bytes that a thread is given at once."""

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
    batches = list(_batches(entries))
    with ThreadPoolExecutor(os.cpu_count()) as pool, target.open("wb") as file:
        # The largest first, so that no thread is left with one of them in the end.
        order = sorted(range(len(batches)), key=lambda number: -sum(len(entry.content) for entry in batches[number]))
        packing = {number: pool.submit(_pack_all, batches[number]) for number in order}
        every = chain.from_iterable(packing.pop(number).result() for number in range(len(batches)))
        for entry, packed in zip(entries, every, strict=True):
            name, offset = entry.path.encode(), file.tell()
            common = struct.pack("<HHHHIIIHH", _UTF8, packed.method, 0, _DATE, packed.crc, len(packed.body),
                                 packed.length, len(name), 0)  # fmt: skip
            file.write(struct.pack("<4sH", b"PK\3\4", 20) + common + name + packed.body)
            rest = struct.pack("<HHHII", 0, 0, 0, entry.mode << 16, offset)
            directory.append(struct.pack("<4sBBH", b"PK\1\2", 20, _UNIX, 20) + common + rest + name)
        start = file.tell()
        file.write(b"".join(directory))
        file.write(_end(len(entries), start, file.tell() - start))


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries in their order, in parts that are worth handing over."""
    batch: list[Entry] = []
    weight = 0
    for entry in entries:
        batch.append(entry)
        weight += len(entry.content)
        if weight >= _BATCH:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _pack_all(batch: list[Entry]) -> list[_Packed]:
    return [_pack(entry.content) for entry in batch]


def _pack(content: bytes) -> _Packed:
    crc, length = zlib.crc32(content), len(content)
    if not content.startswith(_GZIP):
        worker = zlib.compressobj(LEVEL_OF_LARGE if length >= LARGE else LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = worker.compress(content) + worker.flush()
        if len(body) < length:
            return _Packed(_DEFLATED, crc, body, length)
    return _Packed(_STORED, crc, content, length)


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
