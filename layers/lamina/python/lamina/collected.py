"""Definitions from wherever they are kept: those deployed with the stack, and those of a place in S3."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lamina.definition import DEFINITION, Definition, Refusal, load_definitions, parse_definition
from lamina.errors import DefinitionRefused


@dataclass(frozen=True)
class Collected:
    """What was found.

    Attributes:
        folders: folder name → its files, by path relative to the folder.
        places: folder name → where it is, for those that are not deployed with the stack.
        refusals: folders that could not be read.
        location: the place in S3; empty where there is none.
        silent: why that place could not be read, so that nobody knows what is defined there; empty if it could.
    """

    folders: Mapping[str, Mapping[str, bytes]]
    places: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    location: str = ""
    silent: str = ""

    def load(self) -> tuple[tuple[Definition, ...], tuple[Refusal, ...]]:
        """The definitions that can be used, and a refusal for everything else, the place itself included."""
        definitions, refused = load_definitions(self.folders, self.places)
        lost = [Refusal(layer=self.location, message=self.silent)] if self.silent else []
        return definitions, tuple(
            sorted([*refused, *self.refusals, *lost], key=lambda refusal: (refusal.layer, refusal.message))
        )

    def missing(self, layers: Collection[str]) -> tuple[Refusal, ...]:
        """Refusals of layers that are asked for and not known, if they may be defined in a place that was not read."""
        if not self.silent:
            return ()
        known = self.folders.keys() | {refusal.layer for refusal in self.refusals} | {self.location}
        return tuple(Refusal(layer=name, message=self.silent) for name in layers if name not in known)


def merge(deployed: Mapping[str, Mapping[str, bytes]], other: Collected) -> Collected:
    """Both places together; a name that both have stays with the one deployed with the stack, and that is said."""
    clashes = tuple(
        Refusal(
            layer=name,
            message=f"{other.places[name]}/{DEFINITION}: a layer called {name} is deployed with the stack and goes on "
            "as it is defined there; this one was left out. Rename its folder",
        )
        for name in sorted(deployed.keys() & other.folders.keys())
    )
    folders = {**other.folders, **deployed}
    places = {name: place for name, place in other.places.items() if name not in deployed}
    return Collected(folders, places, (*other.refusals, *clashes), other.location, other.silent)


def snapshot(definition: Definition) -> bytes:
    """A definition as one object: the same bytes for the same files."""
    files = {path: base64.b64encode(body).decode() for path, body in definition.content.items()}
    return json.dumps(
        {"layer": definition.name, "folder": definition.folder, "files": files}, indent=1, sort_keys=True
    ).encode()


def from_snapshot(body: bytes) -> Definition:
    """The definition again.

    Raises:
        DefinitionRefused: it is no such object, or its definition cannot be used.
    """
    try:
        kept = json.loads(body)
        name, folder = str(kept["layer"]), str(kept["folder"])
        files = {str(path): base64.b64decode(text, validate=True) for path, text in kept["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DefinitionRefused(
            "the run's copy of a definition cannot be read; nothing was changed. Start the update again"
        ) from error
    return parse_definition(name, files, folder)
