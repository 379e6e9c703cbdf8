"""Builds a layer from its lock: exactly these packages, for the layer's runtime and architecture, on any host.

Standard library and the uv binary only, so that it runs as it is wherever a Python is. It reads `lock.txt` and
`build.json` beside it and leaves `output/layer.zip` and `output/manifest.json`. The same lock gives the same bytes:
names are sorted, times fixed, and bytecode carries the hash of its source instead of a time. The digest covers paths,
modes and contents but not the compression, since zlib differs from one machine to the next.

A build that must not be published ends with exit status 1 and one line that begins with `build refused:`.
"""

from __future__ import annotations

import compileall
import hashlib
import io
import json
import os
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from email import message_from_bytes
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

MAXIMUM_BYTES = 262_144_000
"""Lambda's limit for a function's code and all its layers, unzipped."""

MOUNTED_AT = "/opt/python"
_NAMES_OF_MACHINES = {62: "x86_64", 183: "arm64"}


class Refused(Exception):
    """The result may not be published; the message names the layer and the file or package."""


class Entry(NamedTuple):
    """A file of the layer: its path in the zip, its mode with file type, and its contents (a link's target)."""

    path: str
    mode: int
    content: bytes


def main(folder: Path) -> None:
    """Build what `folder` describes.

    Raises:
        Refused: see the module.
    """
    settings = json.loads((folder / "build.json").read_text())
    root, output = folder / "layer", folder / "output"
    for place in (root, output):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    python = root / "python"
    install(folder, python, settings)
    prune(python)
    packages = describe(python)
    check_machines(root, settings)
    compiled = compile_bytecode(python, settings)
    if compiled and size(root) > settings.get("maximumBytes", MAXIMUM_BYTES):
        print("bytecode is left out: with it the layer would be too large")
        remove_bytecode(python)
    check_size(root, packages, settings)
    entries = list(collect(root))
    write_zip(output / "layer.zip", entries)
    body = (output / "layer.zip").read_bytes()
    manifest = {
        "variant": settings["variant"],
        "digest": digest(entries),
        "sha256": hashlib.sha256(body).hexdigest(),
        "sizes": {"zipped": len(body), "unzipped": sum(len(entry.content) for entry in entries)},
        "packages": packages,
    }
    (output / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
    print(
        f"built {settings['variant']}: {len(packages)} packages, {manifest['sizes']}, digest {manifest['digest'][:12]}"
    )


def install(folder: Path, python: Path, settings: Mapping[str, Any]) -> None:
    """Install the lock for the target; every file must match its hash, and nothing is built that is not named.

    Raises:
        Refused: a package is gone, has another hash, or has no wheel for the target.
    """
    command = [
        *(find_uv(folder), "pip", "install", "--requirements", "lock.txt", "--target", str(python)),
        *("--python", sys.executable, "--python-version", settings["python"]),
        *("--python-platform", settings["platform"]),
        *("--require-hashes", "--no-deps", "--link-mode", "copy", "--only-binary", ":all:"),
        *(part for name in settings["fromSource"] for part in ("--no-binary", name)),
        *("--no-progress", "--color", "never"),
    ]
    defaults = {"UV_SYSTEM_CERTS": "1", "UV_CACHE_DIR": str(folder / ".cache")}
    environment = defaults | dict(os.environ) | {"UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        # What uv says before its error is about progress.
        words = " ".join(("error:" + done.stderr.rpartition("error:")[2]).split())
        raise Refused(f"{settings['variant']}: the locked packages cannot be installed: {words[:1500]}")


def find_uv(folder: Path) -> str:
    """The uv that this build brought along, else the one on the search path.

    Raises:
        Refused: there is none.
    """
    binary = folder / ".tools" / "bin" / "uv"
    found = str(binary) if binary.is_file() else shutil.which("uv")
    if found is None:
        raise Refused("uv is missing: the install phase of buildspec.yml did not run")
    return found


def prune(python: Path) -> None:
    """Remove what an installer leaves and Lambda never uses: scripts, its lock file, bytecode of the build host."""
    shutil.rmtree(python / "bin", ignore_errors=True)
    (python / ".lock").unlink(missing_ok=True)
    for leftover in python.glob("*.dist-info/uv_cache.json"):
        leftover.unlink()
    remove_bytecode(python)


def remove_bytecode(python: Path) -> None:
    """Remove every `__pycache__`."""
    for cache in sorted(python.rglob("__pycache__")):
        shutil.rmtree(cache)


def compile_bytecode(python: Path, settings: Mapping[str, Any]) -> bool:
    """Add bytecode that is valid at `/opt/python`, if this interpreter speaks the target's; whether it did.

    Its validity is the hash of its source, unchecked: `/opt` is read-only and its files have no times worth looking
    at. A source that does not compile (a template, an example for another Python) simply has none.
    """
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != settings["python"]:
        return False
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    with redirect_stdout(io.StringIO()):
        compileall.compile_dir(
            python, maxlevels=100, quiet=2, force=True, stripdir=python, prependdir=MOUNTED_AT, invalidation_mode=mode
        )
    return True


def check_machines(root: Path, settings: Mapping[str, Any]) -> None:
    """Refuse shared objects and programs for another architecture.

    Raises:
        Refused: naming the first such file.
    """
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            header = file.read(20)
        if len(header) < 20 or header[:4] != b"\x7fELF":
            continue
        machine = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
        if machine != settings["machine"]:
            raise Refused(
                f"{settings['variant']}: {path.relative_to(root).as_posix()} is for "
                f"{_NAMES_OF_MACHINES.get(machine, f'machine {machine}')}, not for "
                f"{_NAMES_OF_MACHINES[settings['machine']]}; its package ships a wrong file for this architecture"
            )


def check_size(root: Path, packages: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse a layer that no function could attach.

    Raises:
        Refused: with the ten largest packages.
    """
    limit, total = settings.get("maximumBytes", MAXIMUM_BYTES), size(root)
    if total <= limit:
        return
    largest = sorted(packages.items(), key=lambda item: (-item[1]["size"], item[0]))[:10]
    listed = ", ".join(f"{name} {package['size']:,}" for name, package in largest)
    raise Refused(
        f"{settings['variant']}: {total:,} bytes unzipped, but Lambda's limit is {limit:,} for a function and all its "
        f"layers; split the layer or drop a package. The largest: {listed}"
    )


def size(root: Path) -> int:
    """Bytes of all files, unzipped."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_symlink() or path.is_file())


def describe(python: Path) -> dict[str, dict[str, Any]]:
    """Each installed package: version, top-level modules, bytes, and which of the others it requires."""
    packages: dict[str, dict[str, Any]] = {}
    for info in sorted(python.glob("*.dist-info")):
        metadata = message_from_bytes((info / "METADATA").read_bytes())
        files = [
            PurePosixPath(line.rsplit(",", 2)[0].strip('"')) for line in (info / "RECORD").read_text().splitlines()
        ]
        there = [file for file in files if ".." not in file.parts and (python / file).is_file()]
        packages[_normalize(metadata["Name"])] = {
            "version": metadata["Version"],
            "modules": sorted({module for file in there if (module := _top_level(file)) is not None}),
            "size": sum((python / file).stat().st_size for file in there),
            "requires": [_normalize(re.split(r"[^A-Za-z0-9._-]", wish, maxsplit=1)[0])
                         for wish in metadata.get_all("Requires-Dist", [])],
        }  # fmt: skip
    for package in packages.values():
        package["requires"] = sorted({name for name in package["requires"] if name in packages})
    return packages


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _top_level(file: PurePosixPath) -> str | None:
    """The module that a file of a package belongs to, None for data."""
    if file.suffix not in (".py", ".so"):
        return None
    name = file.parts[0].split(".")[0] if len(file.parts) == 1 else file.parts[0]
    return name if name.isidentifier() else None


def collect(root: Path) -> Iterator[Entry]:
    """The layer's files in the order of their paths; times and owners do not count, of modes only what runs."""
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            yield Entry(name, stat.S_IFLNK | 0o777, os.fsencode(path.readlink()))
        elif path.is_file():
            runs = path.stat().st_mode & 0o111
            yield Entry(name, stat.S_IFREG | (0o755 if runs else 0o644), path.read_bytes())


def write_zip(target: Path, entries: list[Entry]) -> None:
    """Write the zip, the same bytes for the same entries."""
    with zipfile.ZipFile(target, "w") as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.path, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = entry.mode << 16
            archive.writestr(info, entry.content, zipfile.ZIP_DEFLATED, 6)


def digest(entries: list[Entry]) -> str:
    """SHA-256 over path, mode and content hash of every entry, hex."""
    total = hashlib.sha256()
    for entry in entries:
        content = hashlib.sha256(entry.content).hexdigest()
        total.update(f"{entry.path}\0{entry.mode:o}\0{content}\n".encode())
    return total.hexdigest()


if __name__ == "__main__":
    try:
        main(Path(__file__).resolve().parent)
    except Refused as refused:
        print(f"build refused: {refused}", file=sys.stderr)
        sys.exit(1)
