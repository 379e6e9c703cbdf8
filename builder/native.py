"""Native code: that it is for the layer's machine, there once, and without what only a debugger reads."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.elf import read_elf
from builder.pruning import Removed
from builder.refusal import Refused
from builder.settings import ARCHITECTURES, Settings
from builder.tree import files_below

_LIBRARY = re.compile(r"lib.+\.so[0-9.]*")
_TAG = re.compile(r"\.cpython-(\d)(\d+)([a-z]*)-")


def check_native(root: Path, settings: Settings) -> bool:
    """Refuse shared objects and programs that cannot be loaded where the layer is used.

    Returns:
        Whether there are any at all.

    Raises:
        Refused: naming the first such file.
    """
    found = False
    for path in _files(root):
        header = read_elf(path)
        if header is None:
            continue
        found = True
        at = f"{settings.variant}: {path.relative_to(root).as_posix()}"
        if header.machine != settings.machine:
            raise Refused(
                f"{at} is for {ARCHITECTURES.get(header.machine, f'machine {header.machine}')}, not for "
                f"{ARCHITECTURES[settings.machine]}; its package ships a wrong file for this architecture"
            )
        if "ld-musl" in header.interpreter or "-linux-musl" in path.name:
            raise Refused(
                f"{at} is for the C library musl, which Lambda does not have; it needs a build for glibc (manylinux)"
            )
        tag = _TAG.search(path.name)
        if tag and settings.python is not None and "".join(tag.groups()) != settings.python.tag:
            threads = ", without its global lock" if "t" in tag[3] else ""
            raise Refused(
                f"{at} is for Python {tag[1]}.{tag[2]}{threads}, not for {settings.python.version}; its package ships "
                "a wrong file for this Python"
            )
    return found


def link_duplicates(root: Path, keep: Collection[str]) -> Removed:
    """Turn libraries that are there more than once into links to the first; how much that saved.

    Only libraries, never extension modules: the loader knows a library by its file, wherever it found it, while
    Python keeps modules apart by where they are.

    Args:
        keep: paths in the layer that stay as they are.
    """
    first: dict[tuple[int, bytes], Path] = {}
    saved = Removed()
    for path in _files(root):
        if not _LIBRARY.fullmatch(path.name) or path.relative_to(root).as_posix() in keep or read_elf(path) is None:
            continue
        size = path.stat().st_size
        same = first.setdefault((size, hashlib.sha256(path.read_bytes()).digest()), path)
        if same is not path:
            path.unlink()
            path.symlink_to(os.path.relpath(same, path.parent))
            saved.files, saved.bytes = saved.files + 1, saved.bytes + size
    return saved


def strip_symbols(root: Path, keep: Collection[str]) -> tuple[Removed, str]:
    """Take symbols that only a debugger reads out of shared objects.

    Returns:
        How much that saved, and in words what could not be stripped; empty if everything was.
    """
    tool = shutil.which("strip")
    if tool is None:
        return Removed(), "nothing was stripped: this machine has no strip (binutils)"
    objects = [
        path
        for path in _files(root)
        if (path.suffix in (".so", ".node") or ".so." in path.name)
        and path.relative_to(root).as_posix() not in keep
        and read_elf(path)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        saved = list(pool.map(lambda path: _strip(tool, path), objects))
    failed = sum(bytes_ is None for bytes_ in saved)
    total = Removed(sum(1 for bytes_ in saved if bytes_), sum(bytes_ or 0 for bytes_ in saved))
    note = f"{failed} of {len(objects)} shared objects are as they came: this machine's strip cannot handle them"
    return total, note if failed else ""


def _strip(tool: str, path: Path) -> int | None:
    """Bytes saved; None if the file is as it was because strip failed, or spoiled it."""
    before, copy = read_elf(path), path.with_name(path.name + ".stripped")
    done = subprocess.run([tool, "--strip-unneeded", "-o", str(copy), str(path)], capture_output=True, check=False)
    after = read_elf(copy) if done.returncode == 0 else None
    # Wheels' libraries were edited after linking; old versions of strip leave segments behind that cannot be mapped.
    if after is None or before is None or after.machine != before.machine or not after.aligned:
        copy.unlink(missing_ok=True)
        return None
    saved = path.stat().st_size - copy.stat().st_size
    if saved <= 0:
        copy.unlink()
        return 0
    shutil.copymode(path, copy)
    copy.replace(path)
    return saved


def _files(root: Path) -> Iterator[Path]:
    yield from (path for name in files_below(root) if not (path := root / name).is_symlink())
