"""Finds the Python interpreter for a Lambda runtime on this machine; downloads nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_RUNTIME = re.compile(r"python(3\.\d+)")


class InterpreterMissing(LookupError):
    """No interpreter for a runtime was found here; the message says where was looked and what to do."""


def version_of(runtime: str) -> str:
    """The Python version of a runtime name: ``3.13`` for ``python3.13``; ValueError for any other runtime."""
    if not (match := _RUNTIME.fullmatch(runtime)):
        raise ValueError(f"{runtime!r} is not a Python runtime: the local Lambda runs python3.x functions")
    return match[1]


@cache
def find(runtime: str) -> Path:
    """The interpreter itself (no shim, no virtual environment's link) for a runtime such as ``python3.13``.

    Looks for ``python3.13`` on the PATH, in pyenv's versions, at what uv knows, and at the running interpreter; the
    first that runs and says it is that version is taken.

    Raises:
        InterpreterMissing: none was found.
        ValueError: not a Python runtime.
    """
    version = version_of(runtime)
    tried: list[str] = []
    for origin, candidate in _candidates(version):
        if resolved := _resolve(candidate, version):
            return resolved
        tried.append(f"{candidate} ({origin}) does not run as Python {version}")
    looked = "; ".join(tried) or "nothing of that name on the PATH, in pyenv or known to uv"
    raise InterpreterMissing(
        f"no interpreter for the runtime {runtime} on this machine: {looked}. "
        f"Install Python {version} (`uv python install {version}` or `pyenv install {version}`), "
        f"or choose a runtime that is here."
    )


def _candidates(version: str) -> Iterator[tuple[str, str]]:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield "the running interpreter", sys.executable
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidate = Path(folder or ".", f"python{version}")
        if candidate.is_file() and os.access(candidate, os.X_OK):
            yield "on the PATH", str(candidate)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for candidate in sorted(root.glob(f"versions/{version}.*/bin/python3"), reverse=True):
        yield "in pyenv", str(candidate)
    beside = Path(sys.executable).with_name("uv")
    if uv := shutil.which("uv") or (str(beside) if beside.exists() else None):
        command = [uv, "python", "find", version, "--no-python-downloads", "--system"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip():
            yield "known to uv", found.stdout.strip()


def _resolve(candidate: str, version: str) -> Path | None:
    # `-I -S` keeps a virtual environment's or a user's packages from running code here.
    question = (
        "import sys; print('%d.%d' % sys.version_info[:2]); print(getattr(sys, '_base_executable', sys.executable))"
    )
    try:
        answer = subprocess.run(
            [candidate, "-I", "-S", "-c", question], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.splitlines()
    if answer.returncode != 0 or len(lines) != 2 or lines[0] != version:
        return None
    return Path(lines[1]).resolve()
