"""Python packages: exactly those of the lock, for the layer's Python and processor, on any host."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any

from builder.licenses import python_license
from builder.refusal import Refused
from builder.settings import PythonTarget

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)
_UNSAFE = re.compile(r"Skipping unsafe file name: (\S+)")
"""What uv says of it, when it unpacks a wheel for the first time."""
_ANY = "-none-any"


def install_wheels(folder: Path, python: Path, target: PythonTarget, variant: str) -> None:
    """Install `lock.txt`; every file must match its hash, and nothing is built from sources that is not named.

    Packages that the bundle brings along in `wheels/` are of a private index: they come from there, and nobody is asked
    for them.

    Raises:
        Refused: a package is gone, is broken, has another hash, or has no wheel for the target.
    """
    brought = {normalize(wheel.name.split("-")[0]) for wheel in (folder / "wheels").glob("*.whl")}
    ours, others = _split((folder / "lock.txt").read_text(), brought)
    if ours:
        (folder / "own.txt").write_text(ours)
        wheels_alone = ("--no-index", "--find-links", str(folder / "wheels"), "--only-binary", ":all:")
        _install(folder, "own.txt", python, target, variant, wheels_alone)
    if others:
        from_source = {normalize(name) for name in target.from_source}
        named = [name for name in _NAME.findall(others) if normalize(name) not in from_source]
        # What a source needs to be built is in no lock: wheels alone may serve, except where somebody named a source.
        rule = ["--only-binary", ":all:"] if not from_source else [p for name in named for p in ("--only-binary", name)]
        (folder / "others.txt").write_text(others)
        _install(folder, "others.txt", python, target, variant, rule)


def _split(lock: str, brought: Collection[str]) -> tuple[str, str]:
    """The lock of the packages that were brought along, and the lock of all others."""
    parts: tuple[list[str], list[str]] = [], []
    which = 1
    for line in lock.splitlines(keepends=True):
        if match := _NAME.match(line):
            which = 0 if normalize(match[1]) in brought else 1
        parts[which].append(line)
    return "".join(parts[0]), "".join(parts[1])


def _install(folder: Path, lock: str, python: Path, target: PythonTarget, variant: str, rule: Sequence[str]) -> None:
    command = [
        *(find_uv(folder), "pip", "install", "--requirements", lock, "--target", str(python)),
        *("--python", sys.executable, "--python-version", target.version, "--python-platform", target.platform),
        *("--require-hashes", "--no-deps", "--link-mode", "hardlink", *rule, "--no-progress", "--color", "never"),
    ]
    defaults = {"UV_SYSTEM_CERTS": "1", "UV_CACHE_DIR": str(folder / ".cache")}
    fixed = {"UV_PYTHON_DOWNLOADS": "never", "SOURCE_DATE_EPOCH": "315532800", "RUST_LOG": "uv_extract=warn"}
    environment = defaults | dict(os.environ) | fixed
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        # What uv says before its error is about progress.
        words = " ".join(("error:" + done.stderr.rpartition("error:")[2]).split())
        raise Refused(f"{variant}: the locked packages cannot be installed: {words[:1500]}")
    if unsafe := _UNSAFE.search(done.stderr):
        raise Refused(
            f"{variant}: a package has a file {unsafe[1]}, which is outside of what it is installed to; no honest "
            "package has one. Find it among those of lock.txt and leave it out"
        )


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


def describe_wheels(python: Path) -> dict[str, dict[str, Any]]:
    """Each installed package: version, top-level modules, bytes, license, and which of the others it requires."""
    packages: dict[str, dict[str, Any]] = {}
    for info in sorted(python.glob("*.dist-info")):
        metadata = _metadata(info)
        there = [file for file in (PurePosixPath(row[0]) for row in _record(info)) if _is_there(python, file)]
        packages[normalize(metadata["Name"])] = {
            "version": metadata["Version"],
            "modules": sorted({module for file in there if (module := _top_level(file)) is not None}),
            "size": sum((python / file).lstat().st_size for file in there),
            "license": python_license(metadata),
            "requires": [normalize(re.split(r"[^A-Za-z0-9._-]", wish, maxsplit=1)[0])
                         for wish in metadata.get_all("Requires-Dist", [])],
        }  # fmt: skip
    for package in packages.values():
        package["requires"] = sorted({name for name in package["requires"] if name in packages})
    return packages


def owners_of_wheels(python: Path) -> dict[str, str]:
    """Path, relative to the layer, to the package that brought it, as `name version`."""
    return {f"python/{row[0]}": _title(info) for info in sorted(python.glob("*.dist-info")) for row in _record(info)}


def check_overwrites(python: Path, variant: str) -> None:
    """Refuse packages that bring different files of the same name: the one installed last has broken the other.

    Raises:
        Refused: naming both packages and the file.
    """
    claims: dict[str, tuple[str, str]] = {}
    for info in sorted(python.glob("*.dist-info")):
        title = _title(info)
        for path, checksum, *_ in _record(info):
            if not checksum or not (python / path).exists():
                continue
            other, theirs = claims.setdefault(path, (title, checksum))
            if theirs != checksum:
                raise Refused(
                    f"{variant}: python/{path} is in {other} and, with other contents, in {title}: one "
                    "overwrites the other. Leave one of the two out"
                )


def rewrite_records(python: Path) -> None:
    """Take what is no longer there out of each package's list of files."""
    for info in sorted(python.glob("*.dist-info")):
        rows = [row for row in _record(info) if _is_there(python, PurePosixPath(row[0]))]
        # Installed files are links into uv's cache: they are replaced, never written to.
        (info / "RECORD").unlink(missing_ok=True)
        with (info / "RECORD").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def depends_on_platform(python: Path) -> bool:
    """Whether some package's wheel is for one platform, or for one version of Python."""
    for wheel in python.glob("*.dist-info/WHEEL"):
        tags = message_from_bytes(wheel.read_bytes()).get_all("Tag", [])
        if not any(tag.endswith(_ANY) and tag.split("-")[0] in ("py3", "py2.py3") for tag in tags):
            return True
    return False


def normalize(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _metadata(info: Path) -> Message:
    return message_from_bytes((info / "METADATA").read_bytes())


def _title(info: Path) -> str:
    metadata: Mapping[str, str] = _metadata(info)  # type: ignore[assignment]
    return f"{normalize(metadata['Name'])} {metadata['Version']}"


def _record(info: Path) -> Iterator[list[str]]:
    if not (info / "RECORD").is_file():
        return
    with (info / "RECORD").open(newline="", encoding="utf-8") as file:
        yield from (row for row in csv.reader(file) if row)


def _is_there(python: Path, file: PurePosixPath) -> bool:
    return ".." not in file.parts and not file.is_absolute() and (python / file).is_file()


def _top_level(file: PurePosixPath) -> str | None:
    """The module that a file of a package belongs to, None for data."""
    if file.suffix not in (".py", ".so"):
        return None
    name = file.parts[0].split(".")[0] if len(file.parts) == 1 else file.parts[0]
    return name if name.isidentifier() else None
