"""A definition's own files: they go into the layer as they are, with the modes that their places ask for.

A definition's files travel without modes, so a place decides what may run: Lambda starts what lies in `extensions/`
and the `bootstrap` of a custom runtime, and `bin/` is on every function's search path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.credentials import find_secret
from builder.elf import read_elf
from builder.refusal import Refused
from builder.settings import Settings

_LANGUAGES = ("python", "nodejs")
_STARTED = ("bin", "extensions")


def own_files(source: Path, settings: Settings) -> list[str]:
    """The files' paths, sorted, after a look at each.

    Raises:
        Refused: a link or path that leads out, a credential, or a Python package that no function could import.
    """
    if not settings.files:
        return []
    where = f"{settings.variant}: [files]"
    inside, found = source.resolve(), []
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_symlink() and (path.readlink().is_absolute() or not path.resolve().is_relative_to(inside)):
            raise Refused(f"{where} {name} is a symbolic link to {path.readlink()}, which is outside the folder")
        if path.is_dir() and not path.is_symlink():
            continue
        if not path.is_file():
            raise Refused(f"{where} {name} is not a file that a layer can hold; remove it")
        found.append(name)
        secret = find_secret(path.read_bytes())
        if secret is not None:
            raise Refused(
                f"{where} {name}, line {secret.line}, looks like {secret.what}. Whoever may use the layer can read it: "
                "take it out, make a new one, and let the function get it from a secrets store"
            )
    _check_places(found, where)
    return found


def _check_places(names: list[str], where: str) -> None:
    for name in names:
        parts = name.split("/")
        if parts[0] in _LANGUAGES:
            continue
        package = len(parts) == 2 and parts[1] == "__init__.py"
        if package or (len(parts) == 1 and name.endswith(".py")):
            what = f"{parts[0]}/ is a Python package" if package else f"{name} is a Python module"
            raise Refused(
                f"{where} {what} outside python/, where no function can import it; move it to python/{parts[0]} "
                "in the folder of [files]"
            )


def copy_files(source: Path, root: Path, names: list[str], owners: Mapping[str, str], settings: Settings) -> None:
    """Copy the files into the layer.

    Args:
        names: see `own_files`.
        owners: path in the layer to the package that it was installed with.

    Raises:
        Refused: a file would take the place of a package's, or Lambda could not start a file that it must start.
    """
    where = f"{settings.variant}: [files]"
    for name in names:
        body, target = (source / name).read_bytes(), root / name
        taken = next((place for place in _places(target, root) if os.path.lexists(place) and not place.is_dir()), None)
        if taken is not None or target.is_dir():
            there = (taken or target).relative_to(root).as_posix()
            if target.is_dir() or target != taken or target.read_bytes() != body:
                owner = owners.get(there) or _owner_below(there, owners) or "an installed package"
                raise Refused(
                    f"{where} {name} would overwrite {there} of {owner}; rename the file or leave the package out"
                )
        target.parent.mkdir(parents=True, exist_ok=True)
        # An equal file of a package is a link into uv's cache: it is replaced, never written to.
        target.unlink(missing_ok=True)
        shutil.copyfile(source / name, target)
        target.chmod(0o755 if may_run(target, name) else 0o644)
        if _is_started(name) and body[:2] != b"#!" and read_elf(target) is None:
            raise Refused(
                f"{where} {name} is neither a program nor a script that begins with '#!' and its interpreter, so "
                "Lambda cannot start it; build it first, or begin it with a line such as #!/bin/sh"
            )


def may_run(path: Path, name: str) -> bool:
    """Whether a file is to be executable: by its place, or, outside the languages' folders, by what it is."""
    parts = name.split("/")
    if _is_started(name) or parts[0] in _STARTED:
        return True
    header = read_elf(path)
    program = path.read_bytes()[:2] == b"#!" or (header is not None and header.interpreter != "")
    return parts[0] not in _LANGUAGES and program


def extensions(names: list[str]) -> list[str]:
    """Names of the extensions that Lambda starts."""
    return sorted(name.removeprefix("extensions/") for name in names if _is_started(name) and name != "bootstrap")


def own_modules(names: list[str]) -> list[str]:
    """Top-level Python modules among the files."""
    modules = set()
    for name in names:
        parts = name.split("/")
        if parts[0] == "python" and parts[-1].endswith((".py", ".so")) and len(parts) > 1:
            module = parts[1].split(".")[0] if len(parts) == 2 else parts[1]
            modules |= {module} if module.isidentifier() else set()
    return sorted(modules)


def _is_started(name: str) -> bool:
    """Whether Lambda itself starts the file: `bootstrap`, or directly in `extensions/` (hidden files it leaves)."""
    parts = name.split("/")
    return name == "bootstrap" or (len(parts) == 2 and parts[0] == "extensions" and not parts[1].startswith("."))


def _places(target: Path, root: Path) -> Iterator[Path]:
    """The file's own place and those of the folders that it is in."""
    yield target
    yield from (parent for parent in target.parents if parent != root and parent.is_relative_to(root))


def _owner_below(folder: str, owners: Mapping[str, str]) -> str | None:
    return next((owner for path, owner in sorted(owners.items()) if path.startswith(folder + "/")), None)
