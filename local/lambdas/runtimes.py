"""What stands behind a runtime's name on this machine: interpreter, AWS's packages, emulator, command line.

The real runtime's folder ``/var/runtime`` is rebuilt once per runtime in the cache (``LAMINA_CACHE``, or ``.cache`` in
the project), around the Runtime Interface Emulator that the SAM CLI ships:

* Python: AWS's runtime interface client and SDK, as locked in ``runtime.txt``, with bytecode, and `bootstrap.py`;
* Node.js: `bootstrap.mjs`, a client of the Runtime API of its own. AWS's SDK for JavaScript is not brought along;
* ``provided.*``: `relay.py`, which starts the ``bootstrap`` of the function or of a layer.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from local import nodes, pythons

_HERE = Path(__file__).parent
_LOCKS: dict[str, threading.Lock] = {}
_LOCKS_GUARD = threading.Lock()
RUNTIME_FOLDER = "/var/runtime"


class RuntimeUnavailable(RuntimeError):
    """A function's runtime cannot be run on this machine; the message says why and what to do."""


@dataclass(frozen=True)
class Runtime:
    """How to run functions of one runtime."""

    name: str  # "python3.13"
    version: str  # "3.13"; "22" of Node.js; "al2023" of a provided one
    interpreter: Path  # of the language; of this machine's own Python for a provided runtime, where `relay.py` needs it
    folder: Path  # what Lambda has at /var/runtime
    kind: Literal["python", "nodejs", "provided"] = "python"


def get(name: str | None) -> Runtime:
    """The runtime of that name, prepared on first use.

    Raises:
        RuntimeUnavailable: unknown here, no interpreter, or its packages could not be installed.
    """
    for prefix, prepare in _LAUNCHERS.items():
        if name and name.startswith(prefix):
            with _LOCKS_GUARD:
                lock = _LOCKS.setdefault(name, threading.Lock())
            with lock:
                return prepare(name)
    known = ", ".join(f"{prefix}*" for prefix in _LAUNCHERS)
    raise RuntimeUnavailable(f"the runtime {name!r} does not run on this machine; the local Lambda knows {known}")


@cache
def _python(name: str) -> Runtime:
    try:
        interpreter = pythons.find(name)
        version = pythons.version_of(name)
    except (LookupError, ValueError) as error:
        raise RuntimeUnavailable(str(error)) from error
    folder = _folder(name, ("runtime.txt", "bootstrap.py"), interpreter)
    if not folder.exists():
        _install(folder, ("bootstrap.py",), interpreter)
    return Runtime(name, version, interpreter, folder)


@cache
def _node(name: str) -> Runtime:
    try:
        interpreter = nodes.find(name)
    except (LookupError, ValueError) as error:
        raise RuntimeUnavailable(str(error)) from error
    folder = _folder(name, ("bootstrap.mjs",), interpreter)
    if not folder.exists():
        _install(folder, ("bootstrap.mjs",), node=interpreter)
    return Runtime(name, str(nodes.version_of(name)), interpreter, folder, "nodejs")


@cache
def _provided(name: str) -> Runtime:
    folder = _folder(name, ("relay.py",))
    if not folder.exists():
        _install(folder, ("relay.py",))
    own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return Runtime(name, name.removeprefix("provided."), own, folder, "provided")


_LAUNCHERS = {"python3.": _python, "nodejs": _node, "provided.": _provided}


def cache_folder() -> Path:
    """Where downloads and builds are kept between runs: ``LAMINA_CACHE``, or ``.cache`` in the project."""
    folder = Path(os.environ.get("LAMINA_CACHE") or _HERE.parents[1] / ".cache").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _folder(name: str, parts: Iterable[str], interpreter: Path | None = None) -> Path:
    """Where a runtime's folder lies: another place for every other content."""
    digest = hashlib.sha256(b"\0".join((_HERE / part).read_bytes() for part in parts))
    digest.update(f"{interpreter}\0{platform.machine()}\0{_emulator().stat().st_size}".encode())
    return cache_folder() / f"runtime-{name}-{digest.hexdigest()[:12]}"


def _install(folder: Path, programs: Iterable[str], python: Path | None = None, node: Path | None = None) -> None:
    """Make a runtime's folder: the emulator, these programs, for a Python its runtime's packages, and Node.js itself.

    Node.js may lie where an environment cannot see it, such as below `/tmp`.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        if python is not None:
            _install_packages(temporary, python)
        for program in programs:
            shutil.copyfile(_HERE / program, temporary / program)
        if node is not None:
            shutil.copyfile(node, temporary / "node")
            (temporary / "node").chmod(0o755)
        shutil.copyfile(_emulator(), temporary / "aws-lambda-rie")
        (temporary / "aws-lambda-rie").chmod(0o755)
        if python is not None:
            # Valid whatever the files' times are, and with the paths that the function will see.
            subprocess.run(
                [str(python), "-I", "-S", "-m", "compileall", "-q", "-s", str(temporary), "-p", RUNTIME_FOLDER,
                 "--invalidation-mode", "unchecked-hash", str(temporary)],
                check=True, capture_output=True,
            )  # fmt: skip
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # another process was first, and made the same
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _install_packages(folder: Path, interpreter: Path) -> None:
    install = [
        _uv(), "pip", "install", "--quiet", "--python", str(interpreter), "--target", str(folder),
        "--require-hashes", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy",
        "-r", str(_HERE / "runtime.txt"),
    ]  # fmt: skip
    environment = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"} | os.environ
    done = subprocess.run(install, capture_output=True, text=True, check=False, env=environment, cwd="/")
    if done.returncode != 0:
        raise RuntimeUnavailable(
            f"the packages of the Lambda runtime could not be installed for {interpreter.name}: "
            f"{done.stderr.strip()}\nuv needs a package index; UV_INDEX_URL names one."
        )
    shutil.rmtree(folder / "bin", ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)


def _emulator() -> Path:
    architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    package = importlib.util.find_spec("samcli")
    if package is None or package.origin is None:
        raise RuntimeUnavailable("aws-sam-cli is not installed: it ships the Lambda Runtime Interface Emulator")
    emulator = Path(package.origin).parent / "local" / "rapid" / f"aws-lambda-rie-{architecture}"
    if not emulator.exists():
        raise RuntimeUnavailable(f"this version of aws-sam-cli ships no Runtime Interface Emulator for {architecture}")
    return emulator


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    if found := (str(beside) if beside.exists() else shutil.which("uv")):
        return found
    raise RuntimeUnavailable("uv is not installed: it installs the packages of the Lambda runtime")
