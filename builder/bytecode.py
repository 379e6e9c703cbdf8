"""Bytecode that is valid at `/opt/python`.

Its validity is the hash of its source, unchecked (PEP 552): `/opt` is read-only and its files have no times worth
looking at, so that without it every cold start would compile everything again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

from builder.settings import Settings
from builder.tree import files_below, size

MOUNTED_AT = "/opt/python"
_COMPILER = Path(__file__).with_name("compiling.py")


def add_bytecode(root: Path, settings: Settings) -> tuple[bool, str]:
    """Add bytecode as far as the layer stays within its limit.

    Returns:
        Whether there is any, and in words what has none and why; empty where nothing lacks it.
    """
    python = root / "python"
    if settings.python is None or not python.is_dir():
        return False, ""
    if not settings.bytecode:
        return False, "there is no bytecode: the definition switches it off"
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if here != settings.python.version:
        return False, f"there is no bytecode: the build ran on Python {here}, and it is for {settings.python.version}"
    compile_bytecode(python)
    return _fit(root, settings.maximum_bytes)


def compile_bytecode(python: Path) -> None:
    """Compile every source below `python`, on all processors; the same sources give the same bytes."""
    folders: dict[str, list[str]] = {}
    for name in files_below(python):
        if name.endswith(".py") and "\n" not in name:
            folders.setdefault(name.rpartition("/")[0], []).append(name)
    count = os.cpu_count() or 1
    weights = {folder: sum((python / name).stat().st_size for name in names) for folder, names in folders.items()}
    shares: list[list[str]] = [[] for _ in range(count)]
    loads = [0] * count
    # The largest folder first, each to the worker that has least to do as yet.
    for folder in sorted(folders, key=lambda folder: (-weights[folder], folder)):
        least = loads.index(min(loads))
        shares[least] += folders[folder]
        loads[least] += weights[folder]
    command = [sys.executable, "-s", "-S", "-P", str(_COMPILER), str(python), MOUNTED_AT]
    environment = {"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
    with ExitStack() as stack:
        workers = []
        for share in shares:
            listed = stack.enter_context(TemporaryFile("w+"))
            listed.writelines(f"{name}\n" for name in share)
            listed.seek(0)
            workers.append(stack.enter_context(subprocess.Popen(command, env=environment, stdin=listed)))
        for worker in workers:
            if worker.wait() != 0:
                raise RuntimeError(f"{_COMPILER.name} ended with exit status {worker.returncode}")


def remove_bytecode(folder: Path) -> None:
    """Remove every `__pycache__`."""
    for cache in sorted(folder.rglob("__pycache__")):
        shutil.rmtree(cache)


def _fit(root: Path, limit: int) -> tuple[bool, str]:
    """Take bytecode out again, of as few packages as possible, until the layer fits."""
    over = size(root) - limit
    if over <= 0:
        return True, ""
    python = root / "python"
    weights = {folder.name: weight for folder in python.iterdir() if folder.is_dir() and (weight := _weight(folder))}
    out: list[str] = []
    while over > 0 and weights:
        # The smallest that is enough; if none is, the largest.
        enough = sorted((weight, name) for name, weight in weights.items() if weight >= over)
        weight, name = enough[0] if enough else max((weight, name) for name, weight in weights.items())
        remove_bytecode(python / name)
        del weights[name]
        out.append(name)
        over -= weight
    if over > 0:
        remove_bytecode(python)
    some = any(python.rglob("*.pyc"))
    whose = f"the bytecode of {', '.join(sorted(out))}" if some else "all bytecode"
    return some, f"{whose} is left out: with it the layer would be larger than {limit:,} bytes"


def _weight(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.pyc"))
