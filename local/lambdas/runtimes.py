"""What stands behind a runtime's name on this machine: interpreter, AWS's packages, emulator, command line.

The real runtime's folder ``/var/runtime`` is rebuilt once per Python version in the cache (``LAMINA_CACHE``, or
``.cache`` in the project): AWS's runtime interface client and SDK, exactly as locked in ``runtime.txt``, with bytecode,
beside `bootstrap.py` and the Runtime Interface Emulator that the SAM CLI ships.
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
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from local import pythons

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
    version: str  # "3.13"
    interpreter: Path
    folder: Path  # what Lambda has at /var/runtime


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
    known = ", ".join(f"{prefix}x" for prefix in _LAUNCHERS)
    raise RuntimeUnavailable(f"the runtime {name!r} does not run on this machine; the local Lambda knows {known}")


@cache
def _python(name: str) -> Runtime:
    try:
        interpreter = pythons.find(name)
        version = pythons.version_of(name)
    except (LookupError, ValueError) as error:
        raise RuntimeUnavailable(str(error)) from error
    parts = (_HERE / "runtime.txt", _HERE / "bootstrap.py")
    digest = hashlib.sha256(b"\0".join(part.read_bytes() for part in parts))
    digest.update(f"{interpreter}\0{platform.machine()}\0{_emulator().stat().st_size}".encode())
    folder = cache_folder() / f"runtime-{name}-{digest.hexdigest()[:12]}"
    if not folder.exists():
        _install(folder, interpreter)
    return Runtime(name, version, interpreter, folder)


# Further runtimes join here: Node with a client for the Runtime API, provided.al2023 with its own bootstrap.
_LAUNCHERS = {"python3.": _python}


def cache_folder() -> Path:
    """Where downloads and builds are kept between runs: ``LAMINA_CACHE``, or ``.cache`` in the project."""
    folder = Path(os.environ.get("LAMINA_CACHE") or _HERE.parents[1] / ".cache").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _install(folder: Path, interpreter: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        install = [
            _uv(), "pip", "install", "--quiet", "--python", str(interpreter), "--target", str(temporary),
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
        shutil.rmtree(temporary / "bin", ignore_errors=True)
        (temporary / ".lock").unlink(missing_ok=True)
        shutil.copyfile(_HERE / "bootstrap.py", temporary / "bootstrap.py")
        shutil.copyfile(_emulator(), temporary / "aws-lambda-rie")
        (temporary / "aws-lambda-rie").chmod(0o755)
        # Valid whatever the files' times are, and with the paths that the function will see.
        subprocess.run(
            [str(interpreter), "-I", "-S", "-m", "compileall", "-q", "-s", str(temporary), "-p", RUNTIME_FOLDER,
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
