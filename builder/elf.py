"""What the header of a shared object or program says (ELF specification, System V ABI)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_MAGIC = b"\x7fELF"
_LOAD, _INTERPRETER = 1, 3


class Elf(NamedTuple):
    """What is used of a header.

    Attributes:
        machine: `e_machine`.
        interpreter: the loader that a program asks for; empty for a shared object.
        aligned: whether every segment can be mapped: its place in the file and in memory are the same within a page.
    """

    machine: int
    interpreter: str = ""
    aligned: bool = True


def read_elf(path: Path) -> Elf | None:
    """Read the header; None if the file is not of this kind. A header that breaks off says only its machine."""
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 20 or head[:4] != _MAGIC:
            return None
        order = "<" if head[5] == 1 else ">"
        (machine,) = struct.unpack_from(f"{order}H", head, 18)
        if head[4] != 2 or len(head) < 64:
            return Elf(machine)
        (start,) = struct.unpack_from(f"{order}Q", head, 32)
        each, count = struct.unpack_from(f"{order}HH", head, 54)
        file.seek(start)
        table = file.read(each * count)
        if each < 56 or len(table) < each * count:
            return Elf(machine)
        interpreter, aligned = "", True
        for position in range(0, each * count, each):
            kind, _, offset, address, _, size, _, alignment = struct.unpack_from(f"{order}IIQQQQQQ", table, position)
            if kind == _LOAD and alignment > 1:
                aligned = aligned and offset % alignment == address % alignment
            elif kind == _INTERPRETER:
                file.seek(offset)
                interpreter = file.read(min(size, 4096)).rstrip(b"\0").decode(errors="replace")
        return Elf(machine, interpreter, aligned)
