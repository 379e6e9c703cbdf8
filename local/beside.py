"""Definitions in a folder, and the locks beside them: what `check` begins with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.markers import InvalidMarker, Marker, UndefinedComparison
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lamina.definition import DEFINITION, Definition, Refusal, load_definitions, python_target
from lamina.gateways.definitions import read_folder, read_folders
from lamina.lock import Lock, Pin, parse_lock
from lamina.model import Variant
from lamina.npmlock import parse_npm_lock
from lamina.runtimes import ARCHITECTURES
from lamina.steps.resolving import Current
from lamina.versions import valid

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*===?\s*([^\s;,]+)\s*(?:;(.*))?")
_HASH = re.compile(r"\s--hash[= ](sha256:[0-9a-f]{64})")
_COMMENT = re.compile(r"(^|\s)#.*$")


class NothingThere(Exception):
    """There is no layer definition; the message says where it was looked for."""


@dataclass(frozen=True)
class Beside:
    """What a variant is on, by the locks beside its definition.

    Attributes:
        files: the locks that were used, as paths in the definition's folder.
        notes: locks that could not be used, and why.
    """

    current: Current
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def definitions_in(root: Path) -> tuple[tuple[Definition, ...], tuple[Refusal, ...]]:
    """The definitions of a folder: one, several in folders of their own, or those in its `layers/`.

    Raises:
        NothingThere: it has none.
    """
    for place in (root, root / "layers"):
        if (place / DEFINITION).is_file():
            folder = place.resolve()
            return load_definitions({folder.name: read_folder(folder)}, {folder.name: _shown(place)})
        if folders := read_folders(place):
            return load_definitions(folders, {name: _shown(place / name) for name in folders})
    raise NothingThere(
        f"no {DEFINITION} in {root}, in a folder of it, or in {root / 'layers'}; name a folder that holds definitions"
    )


def beside(definition: Definition, variant: Variant) -> Beside:
    """Read the locks beside a definition that are for one of its variants."""
    python = nodejs = None
    files: list[str] = []
    notes: list[str] = []
    tables = definition.tables
    for path in _python_locks(definition, variant) if tables.python else ():
        try:
            target = python_target(definition, variant)
            python = read_requirements(definition.content[path].decode(), target)
        except ValueError as error:
            notes.append(f"{definition.folder}/{path} is not used as a lock: {error}.")
            continue
        files.append(path)
        break
    for path in _node_locks(definition, variant) if tables.nodejs else ():
        try:
            nodejs = parse_npm_lock(definition.content[path].decode(), variant.architecture)
        except ValueError as error:
            notes.append(f"{definition.folder}/{path} is not used as a lock: {error}.")
            continue
        files.append(path)
        break
    return Beside(Current(python=python, nodejs=nodejs), tuple(files), tuple(notes))


def read_requirements(text: str, target: Variant) -> Lock:
    """A lock as this project or pip-compile, uv and others write it: exact versions, hashes, conditions, comments.

    Args:
        target: for whose Python and platform conditions are judged.

    Raises:
        ValueError: it holds something else than exact versions.
    """
    try:
        lock = parse_lock(text)
    except ValueError:
        return Lock.of(_pins(text, target))
    for pin in lock.pins.values():
        if not valid("PyPI", pin.version):
            raise ValueError(f"{pin.name}=={pin.version} is not an exact version")
    return lock


def _pins(text: str, target: Variant) -> Iterator[Pin]:
    for number, line in _lines(text):
        if line.startswith("-"):
            if re.match(r"-e\b|--editable|-r\b|--requirement", line):
                raise ValueError(f"line {number} takes packages from another place: {line.split()[0]}")
            continue
        hashes = tuple(sorted(_HASH.findall(line)))
        match = _PIN.fullmatch(re.sub(r"\s--\S+.*$", "", line).strip())
        if match is None:
            raise ValueError(f"line {number} is not an exact version: {line.split(';')[0].strip()[:60]!r}")
        try:
            Version(match[2])
            wanted = match[3] is None or Marker(match[3]).evaluate(environment(target))
        except (InvalidVersion, InvalidMarker, UndefinedComparison) as error:
            raise ValueError(f"line {number}: {error}") from error
        if wanted:
            yield Pin(canonicalize_name(match[1]), match[2], hashes)


def environment(target: Variant) -> dict[str, str]:
    """The values of environment markers (PEP 508) on Lambda, for a variant whose runtime is a Python."""
    python = target.runtime.removeprefix("python")
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": ARCHITECTURES[target.architecture],
        "platform_release": "",
        "platform_version": "",
        "extra": "",
    }


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, continued ones as one, each with the number of its first."""
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if pending else number
        line = f"{pending} {_COMMENT.sub('', raw).strip()}".strip()
        pending = line.removesuffix("\\").rstrip() if line.endswith("\\") else ""
        if line and not pending:
            yield start, line
    if pending:
        yield start, pending


def _python_locks(definition: Definition, variant: Variant) -> Iterator[str]:
    python = definition.tables.python
    assert python is not None
    name = variant.variant
    yield from _there(definition, f"{name}.lock", f"{name}.txt", f"locks/{name}.lock", f"locks/{name}.txt")
    environment = definition.tables.environments.get(variant.environment or "")
    wishes = PurePosixPath(environment.requirements if environment else python.requirements)
    plain = () if environment else ("requirements.txt", "requirements.lock")
    beside = [str(wishes.with_suffix(".txt")), str(wishes.with_suffix(".lock")), *plain]
    written = {python.requirements, environment.requirements if environment else ""}
    yield from _there(definition, *(path for path in dict.fromkeys(beside) if path not in written))


def _node_locks(definition: Definition, variant: Variant) -> Iterator[str]:
    nodejs = definition.tables.nodejs
    assert nodejs is not None
    file = f"{variant.variant}.package-lock.json"
    yield from _there(
        definition, file, f"locks/{file}", str(PurePosixPath(nodejs.package).with_name("package-lock.json"))
    )


def _there(definition: Definition, *paths: str) -> Iterator[str]:
    content: Mapping[str, bytes] = definition.content
    yield from (path for path in paths if path in content)


def _shown(path: Path) -> str:
    return path.as_posix()
