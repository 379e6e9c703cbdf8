"""Layer definitions: what a team declares in `layers/<name>/layer.toml` and the files beside it.

`load_definitions` turns folders into `Definition`s and into refusals, one for each folder that cannot be used, so that
one team's mistake leaves the other layers alone. Folders are read by `lamina.gateways.definitions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from packaging.requirements import Requirement

from lamina.errors import DefinitionRefused
from lamina.model import Model, Variant
from lamina.packagejson import read_package_json
from lamina.runtimes import RUNTIMES, SMOKE_TESTS, is_python
from lamina.tables import PythonTable, Tables, parse_tables
from lamina.wanted import parse_requirements

DEFINITION = "layer.toml"
RESERVED = frozenset({"python", "nodejs", "lib", "bin", "extensions"})
"""Folder names that Lambda gives a meaning to in `/opt`, where definitions are read from."""

ENVIRONMENT_NAME = r"[a-z0-9]{1,16}"
_NAME = r"[a-z0-9][a-z0-9_-]{0,39}"


@dataclass(frozen=True)
class Definition:
    """A layer definition that can be used.

    Attributes:
        name: of its folder.
        tables: its `layer.toml`.
        content: all files of the folder, by path relative to it.
        folder: where they are, as messages name it: `layers/web`, or an address such as `s3://bucket/layers/web`.
    """

    name: str
    tables: Tables
    content: Mapping[str, bytes] = field(repr=False)
    folder: str = ""

    def __post_init__(self) -> None:
        if not self.folder:
            object.__setattr__(self, "folder", place_of(self.name))


class Refusal(Model):
    """A definition that cannot be used, and why."""

    layer: str
    message: str


def place_of(name: str) -> str:
    """Where a definition is, unless it is said otherwise."""
    return f"layers/{name}"


def load_definitions(
    folders: Mapping[str, Mapping[str, bytes]], places: Mapping[str, str] | None = None
) -> tuple[tuple[Definition, ...], tuple[Refusal, ...]]:
    """Parse each folder; a folder that is refused takes no other along.

    Args:
        folders: folder name → its files, by path relative to the folder.
        places: folder name → where it is, for those that are not in `layers/`.

    Returns:
        The usable definitions and the refusals, both by name. Two definitions that would publish under the same
        layer name cannot both be used: the one that is not in `layers/`, else the one whose name sorts later, is
        refused.
    """
    where = places or {}
    definitions: list[Definition] = []
    refusals: list[Refusal] = []
    taken: dict[str, str] = {}
    for name, content in sorted(folders.items(), key=lambda item: (item[0] in where, item[0])):
        try:
            definition = parse_definition(name, content, where.get(name, ""))
            names = [variant.variant for variant in variants(definition)]
            for clash in (variant for variant in names if variant in taken):
                raise DefinitionRefused(
                    f"{definition.folder}/{DEFINITION}: its layer would be called {clash}, which {taken[clash]} "
                    f"already publishes; rename the folder {definition.folder} or its environment"
                )
        except DefinitionRefused as refused:
            refusals.append(Refusal(layer=name, message=str(refused)))
        else:
            definitions.append(definition)
            taken |= dict.fromkeys(names, definition.folder)
    return (
        tuple(sorted(definitions, key=lambda definition: definition.name)),
        tuple(sorted(refusals, key=lambda refusal: refusal.layer)),
    )


def parse_definition(name: str, content: Mapping[str, bytes], folder: str = "") -> Definition:
    """Parse one folder.

    Args:
        name: the folder's name.
        content: its files by relative path; `layer.toml` among them.
        folder: where it is, as messages name it; `layers/<name>` if empty.

    Raises:
        DefinitionRefused: with one message that names file, key and remedy.
    """
    where = f"{folder or place_of(name)}/{DEFINITION}"
    if name in RESERVED:
        raise DefinitionRefused(
            f"{where}: a layer cannot be called {name!r}, a name that Lambda itself uses in /opt; rename the folder"
        )
    if not re.fullmatch(_NAME, name):
        raise DefinitionRefused(
            f"{where}: {name!r} cannot be a layer's name; use up to 40 lower-case letters, digits, '-' and '_'"
        )
    if DEFINITION not in content:
        raise DefinitionRefused(f"{where}: there is no such file; a layer definition begins with one")
    try:
        tables = parse_tables(content[DEFINITION])
    except ValueError as error:
        raise DefinitionRefused(f"{where}: {error}") from error
    definition = Definition(name, tables, content, folder)
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
            definition.content[_normal(file)].decode(errors="replace"), f"{definition.folder}/{file}"
        )
    )


def needs_python(definition: Definition, variant: Variant) -> bool:
    """Whether the variant's layer has Python packages: every variant of a definition holds all its sources."""
    return definition.tables.python is not None


def needs_nodejs(definition: Definition, variant: Variant) -> bool:
    """Whether the variant's layer has npm packages: every variant of a definition holds all its sources."""
    return definition.tables.nodejs is not None


def python_source(definition: Definition, variant: Variant) -> PythonTable:
    """The `[python]` table of a variant.

    Raises:
        DefinitionRefused: there is none.
    """
    if definition.tables.python is None:
        raise DefinitionRefused(
            f"{definition.folder}/{DEFINITION}: {variant.variant} has no [python] source; add it, with its requirements"
        )
    return definition.tables.python


def python_target(definition: Definition, variant: Variant) -> Variant:
    """The variant with the Python that its Python packages are chosen for.

    That is its own runtime, or the newest Python among the definition's where the variant is for another language.

    Raises:
        DefinitionRefused: the definition names no Python.
    """
    if is_python(variant.runtime):
        return variant
    newest = max(filter(is_python, definition.tables.layer.runtimes), key=RUNTIMES.index, default=None)
    if newest is None:
        raise DefinitionRefused(_unfit(definition, "python"))
    return variant.model_copy(update={"runtime": newest})


def _normal(path: str) -> str:
    return str(PurePosixPath(path))


def _check(definition: Definition, where: str) -> None:
    """What types alone cannot say: files that exist and stay inside, sources that fit the runtimes."""
    tables = definition.tables
    if tables.python is None and tables.nodejs is None and tables.files is None:
        raise DefinitionRefused(
            f"{where}: has no source; add one of [python], [nodejs] and [files], so that there is something to build"
        )
    for language in ("python", "nodejs"):
        listed = [runtime for runtime in tables.layer.runtimes if runtime.startswith(language)]
        if getattr(tables, language) is not None and not listed:
            raise DefinitionRefused(_unfit(definition, language))
        if getattr(tables, language) is None and listed and tables.files is None:
            raise DefinitionRefused(
                f"{where}: layer.runtimes names {listed[0]}, but there is no [{language}] to build for it; remove it "
                f"from layer.runtimes or add [{language}]"
            )
    if tables.environments and tables.python is None:
        raise DefinitionRefused(f"{where}: [environments] adds to [python], which is missing; add it")
    for environment in tables.environments:
        if not re.fullmatch(ENVIRONMENT_NAME, environment):
            raise DefinitionRefused(
                f"{where}: environments.{environment}: an environment's name becomes part of the layer's name; "
                "use up to 16 lower-case letters and digits"
            )
    if tables.rollout.max_minutes < tables.rollout.min_minutes:
        raise DefinitionRefused(
            f"{where}: rollout.max-minutes ({tables.rollout.max_minutes}) is less than rollout.min-minutes "
            f"({tables.rollout.min_minutes}); raise it or lower the other"
        )
    smoke = tables.verify.smoke
    if smoke is not None and PurePosixPath(smoke).suffix not in SMOKE_TESTS:
        raise DefinitionRefused(
            f"{where}: verify.smoke: {smoke!r} is in no language that a probe runs; "
            f"use a file that ends in one of {', '.join(SMOKE_TESTS)}"
        )
    for key, path in _paths(tables):
        _check_path(definition, f"{where}: {key}", path, folder=key == "files.from")
    for environment_name in (None, *tables.environments):
        wanted = requirements(definition, environment_name)
        if tables.python is not None and environment_name is None and not wanted:
            raise DefinitionRefused(
                f"{definition.folder}/{tables.python.requirements}: holds no requirement; name at least one"
            )
    if tables.nodejs is not None:
        read_package_json(definition)


def _unfit(definition: Definition, language: str) -> str:
    runtimes = [runtime for runtime in RUNTIMES if runtime.startswith(language)]
    return (
        f"{definition.folder}/{DEFINITION}: [{language}] needs a {language} runtime, but layer.runtimes is "
        f"{list(definition.tables.layer.runtimes)}; add one of {', '.join(runtimes)}"
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
            f"{at}: {path!r} leaves the folder {definition.folder}; give a path inside it, with '/' between parts"
        )
    plain = _normal(path)
    there = any(name.startswith(plain + "/") for name in definition.content) if folder else plain in definition.content
    if not there:
        kind = "folder with files" if folder else "file"
        beside = ", ".join(sorted(name for name in definition.content if name != DEFINITION)[:10]) or "nothing"
        raise DefinitionRefused(
            f"{at}: there is no {kind} {path!r} in {definition.folder} (there is: {beside}); add it or correct the path"
        )
