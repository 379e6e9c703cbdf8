"""Keeps a function of another architecture from failing for a reason that has nothing to do with it.

Functions run on this machine's processor whatever their architecture is. That is right for code without any machine
code in it, and for what was built for this machine; a shared object for the other architecture does not load here, and
Lambda would have loaded it.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from local.lambdas.runtimes import RuntimeUnavailable

_MACHINES = {"x86_64": 62, "arm64": 183}  # e_machine of ELF files


def here() -> str:
    """This machine's architecture, as Lambda names it."""
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def check(function: str, architecture: str, *folders: Path) -> None:
    """See to it that a function of another architecture brings no machine code of it.

    Raises:
        RuntimeUnavailable: it does; naming the first file.
    """
    if architecture == here():
        return
    for folder in folders:
        if found := _foreign(folder, _MACHINES.get(architecture, 0)):
            raise RuntimeUnavailable(
                f"{function} is an {architecture} function and {found} is machine code for {architecture}, which this "
                f"{here()} machine cannot run: whether it works can only be seen on {architecture}"
            )


@cache
def _foreign(folder: Path, machine: int) -> str:
    """The first file below a folder, by name, that is machine code for `machine`; empty if there is none."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            if not path.is_symlink() and _machine(path) == machine:
                return str(path.relative_to(folder))
    return ""


def _machine(path: Path) -> int:
    with path.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return 0
    return int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
