"""Zips of functions and layers: folders as they are, or with their requirements installed as `sam build` would.

What is installed is kept in the cache under a hash of everything that went into it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

from local.deploy.errors import DeployError
from local.pythons import find

_EPOCH = (1980, 1, 1, 0, 0, 0)
# Raised whenever the way of building changes, so that older cache entries are not used again.
_RECIPE = "1"
_PIP_TO_UV = {"index-url": "UV_DEFAULT_INDEX"}


def zip_folder(folder: Path, *, bytecode: bool = False) -> bytes:
    """A zip of a folder's files, the same bytes for the same files; byte code only where asked for."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in _files(folder, bytecode=bytecode):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
            archive.writestr(entry, path.read_bytes(), compresslevel=1)
    return buffer.getvalue()


def build_layer(folder: Path, runtime: str, cache: Path) -> bytes:
    """A layer whose requirements.txt is installed under `python/`, for this machine and a runtime (`python3.13`).

    Raises:
        DeployError: where the requirements cannot be installed, with uv's own words.
    """
    return _built(folder, runtime, cache, "python", skip_requirements=True)


def make_layer(target: str, folder: Path, runtime: str, cache: Path) -> bytes:
    """A layer as the folder's Makefile makes it (`make build-<target>`), for this machine and a runtime.

    The Makefile finds `PYTHON`, `MACHINE` and `INSTALL` (a command that takes pip's options) in its variables.

    Raises:
        DeployError: the Makefile fails; its own words say why.
    """
    key = _key(folder, f"{runtime} {target}")
    kept = cache / "packages" / f"{key}.zip"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        # The Makefile runs in its own folder, where another path would mean another place.
        with tempfile.TemporaryDirectory(dir=kept.parent.resolve()) as temporary:
            python = str(find(runtime))
            command = [
                "make", "--silent", f"build-{target}", f"ARTIFACTS_DIR={temporary}", f"PYTHON={python}",
                f"MACHINE={platform.machine()}",
                f"INSTALL={shlex.quote(_uv())} pip install --python {shlex.quote(python)} --link-mode copy",
            ]  # fmt: skip
            # A make that this process runs under is not to take part in this one.
            outer = {
                name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
            }
            environment = {**_indexes(), **outer}
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                raise DeployError(f"{folder}: make build-{target} failed: {done.stderr.strip()[-2000:]}")
            (Path(temporary) / "python/.lock").unlink(missing_ok=True)
            fresh = kept.with_suffix(".partial")
            fresh.write_bytes(zip_folder(Path(temporary), bytecode=True))
            fresh.replace(kept)
    return kept.read_bytes()


def build_function(folder: Path, runtime: str, cache: Path) -> bytes:
    """A function's zip: the folder as it is, with its requirements.txt installed beside the code if it has one."""
    if not (folder / "requirements.txt").is_file():
        return zip_folder(folder)
    return _built(folder, runtime, cache, ".", skip_requirements=False)


def _built(folder: Path, runtime: str, cache: Path, place: str, *, skip_requirements: bool) -> bytes:
    if not (folder / "requirements.txt").is_file():
        raise DeployError(f"{folder}: a BuildMethod needs a requirements.txt here")
    kept = cache / "packages" / f"{_key(folder, f'{runtime} {place}')}.zip"
    if kept.is_file():
        return kept.read_bytes()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
        root = Path(temporary)
        target = root / place
        target.mkdir(exist_ok=True)
        _install(folder / "requirements.txt", runtime, target)
        prefix = "/opt" if skip_requirements else "/var/task"
        _compile(root, runtime, prefix)
        for name, path in _files(folder):
            if skip_requirements and name == "requirements.txt":
                continue
            copy = root / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        archive = zip_folder(root, bytecode=True)
        partial = root.with_suffix(".partial")
        partial.write_bytes(archive)
        partial.replace(kept)
    return archive


def _key(folder: Path, how: str) -> str:
    key = hashlib.sha256(f"{_RECIPE} {how} {platform.machine()}".encode())
    for name, path in _files(folder):
        key.update(f"\0{name}\0{len(path.read_bytes())}\0".encode() + path.read_bytes())
    return key.hexdigest()[:32]


def _install(requirements: Path, runtime: str, target: Path) -> None:
    command = [
        _uv(), "pip", "install", "--quiet", "--python", str(find(runtime)), "--target", str(target),
        "--link-mode", "copy", "-r", str(requirements),
    ]  # fmt: skip
    environment = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never", **_indexes(), **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise DeployError(f"{requirements}: cannot be installed for {runtime}: {done.stderr.strip()[-2000:]}")
    (target / ".lock").unlink(missing_ok=True)


def _compile(root: Path, runtime: str, prefix: str) -> None:
    """Byte code that is valid wherever the zip is unpacked, so that a cold start compiles nothing."""
    command = [
        str(find(runtime)), "-m", "compileall", "-q", "-j", "0", "-s", str(root), "-p", prefix,
        "--invalidation-mode", "unchecked-hash", str(root),
    ]  # fmt: skip
    # Some packages ship files for other Python versions; what does not compile is compiled when it is imported.
    subprocess.run(command, capture_output=True, check=False)


def _files(folder: Path, *, bytecode: bool = False) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and (bytecode or "__pycache__" not in name.parts) and path.name != ".DS_Store":
            yield name.as_posix(), path


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise DeployError("uv is not installed; it is what installs the requirements of layers")
    return found


def _indexes() -> Mapping[str, str]:
    """pip's index settings under the names that uv reads: uv has no eye for pip's."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        variable = _PIP_TO_UV.get(name.rsplit(".", 1)[-1])
        if variable:
            # uv parts find-links by commas, and everything else by spaces.
            parted = "," if variable == "UV_FIND_LINKS" else " "
            found[variable] = parted.join(value.strip("'").replace("\\n", " ").split())
    return found
