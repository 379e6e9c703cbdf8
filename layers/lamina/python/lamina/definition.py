"""Layer definitions: what a team declares in `layers/<name>/layer.toml` and the files beside it.

`read_folders` lists folders; everything else is pure. `load_definitions` turns folders into `Definition`s and into
refusals, one for each folder that cannot be used, so that one team's mistake leaves the other layers alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lamina.errors import DefinitionRefused
from lamina.model import Model, Variant
from lamina.runtimes import RUNTIMES, is_python
from lamina.tables import PythonTable, Tables, parse_tables

DEFINITION = "layer.toml"
RESERVED = frozenset({"python", "nodejs", "lib", "bin", "extensions"})
"""Folder names that Lambda gives a meaning to in `/opt`, where definitions are read from."""


@dataclass(frozen=True)
class Definition:
    """A layer definition that can be used: its tables, and the files beside them by path."""

    name: str
    tables: Tables
    content: Mapping[str, bytes] = field(repr=False)


class Refusal(Model):
    """A definition that cannot be used, and why."""

    layer: str
    message: str


def read_folders(root: Path) -> dict[str, dict[str, bytes]]:
    """List the folders of `root` that hold a `layer.toml`, each as its files by path relative to it.

    A symbolic link that leads out of its folder is not followed.
    """
    folders: dict[str, dict[str, bytes]] = {}
    for marker in sorted(root.glob(f"*/{DEFINITION}")):
        folder = marker.parent
        inside = folder.resolve()
        folders[folder.name] = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.resolve().is_relative_to(inside)
        }
    return folders


def definition_of(root: Path, layer: str) -> Definition:
    """Read and parse one folder of `root`.

    Raises:
        DefinitionRefused: the folder is not there, or its definition cannot be used.
    """
    return parse_definition(layer, read_folders(root).get(layer, {}))


def load_definitions(
    folders: Mapping[str, Mapping[str, bytes]],
) -> tuple[tuple[Definition, ...], tuple[Refusal, ...]]:
    """Parse each folder; a folder that is refused takes no other along.

    Args:
        folders: folder name → its files, by path relative to the folder.

    Returns:
        The usable definitions and the refusals, both by name. Two definitions that would publish under the same
        layer name cannot both be used: the one whose name sorts later is refused.
    """
    definitions: list[Definition] = []
    refusals: list[Refusal] = []
    taken: dict[str, str] = {}
    for name, content in sorted(folders.items()):
        try:
            definition = parse_definition(name, content)
            names = [variant.variant for variant in variants(definition)]
            for clash in (variant for variant in names if variant in taken):
                raise DefinitionRefused(
                    f"layers/{name}/{DEFINITION}: its layer would be called {clash}, which layers/{taken[clash]} "
                    f"already publishes; rename the folder layers/{name} or its environment"
                )
        except DefinitionRefused as refused:
            refusals.append(Refusal(layer=name, message=str(refused)))
        else:
            definitions.append(definition)
            taken |= dict.fromkeys(names, name)
    return tuple(definitions), tuple(refusals)


def parse_definition(name: str, content: Mapping[str, bytes]) -> Definition:
    """Parse one folder.

    Args:
        name: the folder's name.
        content: its files by relative path; `layer.toml` among them.

    Raises:
        DefinitionRefused: with one message that names file, key and remedy.
    """
    where = f"layers/{name}/{DEFINITION}"
    if name in RESERVED:
        raise DefinitionRefused(
            f"{where}: a layer cannot be called {name!r}, a name that Lambda itself uses in /opt; rename the folder"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name):
        raise DefinitionRefused(
            f"{where}: {name!r} cannot be a layer's name; use up to 40 lower-case letters, digits, '-' and '_'"
        )
    if DEFINITION not in content:
        raise DefinitionRefused(f"{where}: there is no such file; a layer definition begins with one")
    try:
        tables = parse_tables(content[DEFINITION])
    except ValueError as error:
        raise DefinitionRefused(f"{where}: {error}") from error
    definition = Definition(name, tables, content)
    _check(definition, where)
    return definition


def variants(definition: Definition) -> tuple[Variant, ...]:
    """All variants: each environment (none first) by runtime by architecture, in the definition's order."""
    return tuple(
        Variant(
            variant="-".join(
                (definition.name, *((environment,) if environment else ()), runtime.replace(".", ""), architecture)
            ),
            layer=definition.name,
            runtime=runtime,
            architecture=architecture,
            environment=environment,
        )
        for environment in (None, *sorted(definition.tables.environments))
        for runtime in definition.tables.layer.runtimes
        for architecture in definition.tables.layer.architectures
    )


def requirements(definition: Definition, environment: str | None = None) -> tuple[Requirement, ...]:
    """What the definition wants for `python/`, an environment's requirements after its own; empty without `[python]`.

    Raises:
        DefinitionRefused: a line is not a requirement that a lock can be made of.
    """
    files = [definition.tables.python.requirements] if definition.tables.python else []
    if environment is not None:
        files.append(definition.tables.environments[environment].requirements)
    return tuple(
        requirement
        for file in files
        for requirement in parse_requirements(
            definition.content[_normal(file)].decode(errors="replace"), f"layers/{definition.name}/{file}"
        )
    )


def parse_requirements(text: str, where: str) -> tuple[Requirement, ...]:
    """The requirements of a `requirements.in`: one to a line, `#` begins a comment, `\\` continues a line.

    Raises:
        DefinitionRefused: a line is an option, a URL or path, not a requirement at all, or names a package twice.
    """
    found: dict[tuple[str, str], int] = {}
    result: list[Requirement] = []
    for number, line in _logical_lines(text):
        at = f"{where}, line {number}"
        if line.startswith("-"):
            raise DefinitionRefused(
                f"{at}: {line!r} is an option of pip; list the packages themselves, indexes are set for the whole stack"
            )
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise DefinitionRefused(
                f"{at}: {line!r} is not a requirement ({reason}); write for example requests>=2.31"
            ) from error
        if requirement.url is not None:
            raise DefinitionRefused(
                f"{at}: {line!r} points to a file, which has no newer versions; name the package and its versions"
            )
        key = (canonicalize_name(requirement.name), str(requirement.marker or ""))
        if key in found:
            raise DefinitionRefused(
                f"{at}: {key[0]} is already required in line {found[key]}; write one line with all its conditions"
            )
        found[key] = number
        result.append(requirement)
    return tuple(result)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if pending else number
        line = pending + re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if line.endswith("\\"):
            pending = line[:-1]
            continue
        pending = ""
        if line.strip():
            yield start, line.strip()
    if pending.strip():
        yield start, pending.strip()


def _normal(path: str) -> str:
    return str(PurePosixPath(path))


def _check(definition: Definition, where: str) -> None:
    """What types alone cannot say: files that exist and stay inside, sources that fit the runtimes."""
    tables = definition.tables
    if tables.python is None and tables.nodejs is None and tables.files is None:
        raise DefinitionRefused(
            f"{where}: has no source; add one of [python], [nodejs] and [files], so that there is something to build"
        )
    for table, prefix in (("python", "python"), ("nodejs", "nodejs")):
        fits = any(runtime.startswith(prefix) for runtime in tables.layer.runtimes)
        if getattr(tables, table) is not None and not fits:
            raise DefinitionRefused(
                f"{where}: [{table}] needs a {prefix} runtime, but layer.runtimes is {list(tables.layer.runtimes)}; "
                f"add one of {', '.join(runtime for runtime in RUNTIMES if runtime.startswith(prefix))}"
            )
    if tables.environments and tables.python is None:
        raise DefinitionRefused(f"{where}: [environments] adds to [python], which is missing; add it")
    for environment in tables.environments:
        if not re.fullmatch(r"[a-z0-9]{1,16}", environment):
            raise DefinitionRefused(
                f"{where}: environments.{environment}: an environment's name becomes part of the layer's name; "
                "use up to 16 lower-case letters and digits"
            )
    if tables.rollout.max_minutes < tables.rollout.min_minutes:
        raise DefinitionRefused(
            f"{where}: rollout.max-minutes ({tables.rollout.max_minutes}) is less than rollout.min-minutes "
            f"({tables.rollout.min_minutes}); raise it or lower the other"
        )
    for key, path in _paths(tables):
        _check_path(definition, f"{where}: {key}", path, folder=key == "files.from")
    for environment_name in (None, *tables.environments):
        wanted = requirements(definition, environment_name)
        if tables.python is not None and environment_name is None and not wanted:
            raise DefinitionRefused(
                f"layers/{definition.name}/{tables.python.requirements}: holds no requirement; name at least one"
            )


def _paths(tables: Tables) -> Iterator[tuple[str, str]]:
    if tables.python:
        yield "python.requirements", tables.python.requirements
    if tables.nodejs:
        yield "nodejs.package", tables.nodejs.package
    if tables.files:
        yield "files.from", tables.files.from_
    if tables.verify.smoke is not None:
        yield "verify.smoke", tables.verify.smoke
    for name, environment in sorted(tables.environments.items()):
        yield f"environments.{name}.requirements", environment.requirements


def _check_path(definition: Definition, at: str, path: str, *, folder: bool) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise DefinitionRefused(
            f"{at}: {path!r} leaves the folder layers/{definition.name}; give a path inside it, with '/' between parts"
        )
    plain = _normal(path)
    there = any(name.startswith(plain + "/") for name in definition.content) if folder else plain in definition.content
    if not there:
        kind = "folder with files" if folder else "file"
        beside = ", ".join(sorted(name for name in definition.content if name != DEFINITION)[:10]) or "nothing"
        raise DefinitionRefused(
            f"{at}: there is no {kind} {path!r} in layers/{definition.name} (there is: {beside}); "
            "add it or correct the path"
        )


def python_source(definition: Definition, variant: Variant) -> PythonTable:
    """The `[python]` table of a variant that this version of Lamina can build.

    Raises:
        DefinitionRefused: the variant has a source that cannot be built yet, so building the rest would publish a
            layer that lacks it.
    """
    where = f"layers/{definition.name}/{DEFINITION}"
    tables = definition.tables
    for table in ("nodejs", "files"):
        if getattr(tables, table) is not None:
            raise DefinitionRefused(
                f"{where}: {variant.variant} has a [{table}] source, which this version of Lamina cannot build; "
                "nothing was changed. Move it to a layer of its own, outside Lamina"
            )
    if tables.python is None or not is_python(variant.runtime):
        raise DefinitionRefused(
            f"{where}: {variant.variant} has nothing to build for {variant.runtime}; "
            "remove that runtime from layer.runtimes or add a source for it"
        )
    return tables.python
