"""Small files that begin as shared objects and programs do."""

from __future__ import annotations

import struct


def elf(machine: int, interpreter: str = "", *, aligned: bool = True) -> bytes:
    """A 64-bit little-endian ELF file with one segment to load and, for a program, the loader that it asks for.

    Args:
        machine: `e_machine`; 62 is x86_64, 183 is arm64.
        aligned: whether the segment can be mapped.
    """
    text = interpreter.encode() + b"\0" if interpreter else b""
    count = 2 if text else 1
    end = 64 + 56 * count
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0 if aligned else 16, 0, end, end, 4096)
    asks = struct.pack("<IIQQQQQQ", 3, 4, end, end, end, len(text), len(text), 1) if text else b""
    return head + load + asks + text
