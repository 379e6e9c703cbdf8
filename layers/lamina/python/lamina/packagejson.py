"""The package.json of a `[nodejs]` source: what a team wants of npm, as far as a layer can have it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lamina.errors import DefinitionRefused
from lamina.model import Variant
from lamina.noderange import Range, parse_range

if TYPE_CHECKING:
    from lamina.definition import Definition

_NAME = re.compile(r"(@[a-z0-9~][a-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*")
_NODE = re.compile(r"nodejs(\d+)\.x")


@dataclass(frozen=True)
class PackageJson:
    """What is used of a package.json.

    Attributes:
        name: the layer's.
        dependencies: package to range.
        optional: the same for what may be missing on a platform.
        overrides: ranges that replace those of other packages, as npm writes them.
        engines: as written; it does not change what is taken.
    """

    name: str
    dependencies: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)

    @property
    def ranges(self) -> dict[str, str]:
        """All that is wanted: package to range."""
        return {**self.dependencies, **self.optional}

    @property
    def wanted(self) -> tuple[str, ...]:
        """All that is wanted, a line each: `express@^5.0.0`."""
        return tuple(f"{name}@{wanted}" for name, wanted in sorted(self.ranges.items()))

    def document(self, instead: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The package.json for npm: the same for the same wishes.

        Args:
            instead: ranges that take the place of the written ones, by package.
        """
        changed = instead or {}
        overrides = _following(self.overrides, {name: self.ranges[name] for name in changed})
        parts: dict[str, Mapping[str, Any]] = {
            "dependencies": {name: changed.get(name, wanted) for name, wanted in sorted(self.dependencies.items())},
            "optionalDependencies": {name: changed.get(name, wanted) for name, wanted in sorted(self.optional.items())},
            "overrides": overrides,
            "engines": self.engines,
        }
        kept = {key: value for key, value in parts.items() if value}
        return {"name": self.name, "version": "0.0.0", "private": True, **kept}

    def root(self) -> dict[str, Any]:
        """What a lock says of the layer itself."""
        kept = ("name", "version", "dependencies", "optionalDependencies", "engines")
        return {key: value for key, value in self.document().items() if key in kept}


def read_package_json(definition: Definition) -> PackageJson:
    """Read the definition's package.json. `devDependencies` are left out: a layer is not a place of work.

    Raises:
        DefinitionRefused: it asks for something that has no newer versions to look for, or cannot be read.
    """
    table = definition.tables.nodejs
    if table is None:
        raise DefinitionRefused(f"{definition.folder}/layer.toml: there is no [nodejs]; add it, with its package")
    where = f"{definition.folder}/{table.package}"
    body = definition.content.get(str(PurePosixPath(table.package)))
    if body is None:
        raise DefinitionRefused(f"{where}: there is no such file; add it or correct nodejs.package in layer.toml")
    try:
        document = json.loads(body)
    except ValueError as error:
        raise DefinitionRefused(f"{where}: is not JSON ({error}); correct it") from error
    if not isinstance(document, dict):
        raise DefinitionRefused(f'{where}: must be an object, such as {{"dependencies": {{"express": "^5.0.0"}}}}')
    if document.get("workspaces"):
        raise DefinitionRefused(
            f"{where}: workspaces: a layer is made of packages from a registry; name them under dependencies"
        )
    optional = _ranges(document, "optionalDependencies", where)
    required = _ranges(document, "dependencies", where)
    found = PackageJson(
        name=definition.name,
        # npm itself lets the second mention win.
        dependencies={name: wanted for name, wanted in required.items() if name not in optional},
        optional=optional,
        overrides=_overrides(document.get("overrides", {}), {**required, **optional}, f"{where}: overrides"),
        engines=_engines(document.get("engines", {}), where),
    )
    if not found.ranges:
        raise DefinitionRefused(f"{where}: names no package; add at least one under dependencies")
    return found


def node_major(definition: Definition, variant: Variant) -> int:
    """The major version of Node.js that the variant's packages must do with.

    That is the variant's runtime, or the newest Node.js among the definition's if the variant is for another language.

    Raises:
        DefinitionRefused: the definition names no Node.js.
    """
    runtimes = (variant.runtime,) if _NODE.fullmatch(variant.runtime) else definition.tables.layer.runtimes
    majors = [int(match[1]) for runtime in runtimes if (match := _NODE.fullmatch(runtime))]
    if not majors:
        raise DefinitionRefused(
            f"{definition.folder}/layer.toml: {variant.variant} has a [nodejs] source, but layer.runtimes names "
            "no Node.js to choose its packages for; add one, such as nodejs22.x"
        )
    return max(majors)


def _ranges(document: Mapping[str, Any], key: str, where: str) -> dict[str, str]:
    table = document.get(key, {})
    if not isinstance(table, dict):
        raise DefinitionRefused(
            f'{where}: {key} must be an object of names and ranges, such as {{"express": "^5.0.0"}}'
        )
    for name, wanted in table.items():
        if not _NAME.fullmatch(name):
            raise DefinitionRefused(f"{where}: {key}: {name!r} is not the name of an npm package; correct it")
        _range(wanted, f"{where}: {key}.{name}")
    return dict(table)


def _range(wanted: object, at: str) -> Range:
    if not isinstance(wanted, str):
        raise DefinitionRefused(f'{at}: must be a range of versions in quotes, such as "^5.0.0"')
    if wanted.startswith("npm:"):
        raise DefinitionRefused(
            f"{at}: {wanted!r} puts a package under another name, which advisories and updates would miss; "
            "name the package itself"
        )
    try:
        return parse_range(wanted)
    except ValueError as error:
        raise DefinitionRefused(
            f"{at}: {wanted!r} is not a range of versions. A tag, a file, a repository or an address cannot be locked "
            'and kept current; write for example "^5.0.0"'
        ) from error


def _overrides(table: object, ranges: Mapping[str, str], at: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise DefinitionRefused(f'{at}: must be an object of names and ranges, such as {{"qs": "^6.13.0"}}')
    for name, value in table.items():
        if isinstance(value, dict):
            _overrides(value, ranges, f"{at}.{name}")
        elif isinstance(value, str) and value.startswith("$"):
            if value[1:] not in ranges:
                raise DefinitionRefused(f"{at}.{name}: {value!r} refers to a package that dependencies does not name")
        else:
            _range(value, f"{at}.{name}")
    return dict(table)


def _engines(table: object, where: str) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise DefinitionRefused(f'{where}: engines must be an object of names and ranges, such as {{"node": ">=20"}}')
    return dict(table)


def _following(overrides: Mapping[str, Any], written: Mapping[str, str]) -> dict[str, Any]:
    """Overrides that repeat a dependency's range follow it: npm refuses the two to differ."""
    result: dict[str, Any] = {}
    for name, value in overrides.items():
        if isinstance(value, dict) and value.get("."):
            result[name] = {**value, ".": f"${name}"} if value["."] == written.get(name) else value
        else:
            result[name] = f"${name}" if value == written.get(name) else value
    return result
