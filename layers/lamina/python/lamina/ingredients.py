"""What a layer is built from beside its packages, so that a change of it counts as one although no package moves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from lamina.definition import Definition

OWN_FILES = "own files"
BUILD_OPTIONS = "build options"
SIGNING_PROFILE = "signing profile"


def own_files(definition: Definition) -> dict[str, bytes]:
    """The contents of the folder of `[files]`, by path in it; empty without `[files]`."""
    if definition.tables.files is None:
        return {}
    folder = str(PurePosixPath(definition.tables.files.from_)) + "/"
    return {path.removeprefix(folder): body for path, body in definition.content.items() if path.startswith(folder)}


def ingredients(definition: Definition) -> dict[str, str]:
    """What a definition builds from, in the words for people, each with what is the same as long as it is.

    Own files and build options are given as SHA-256 in hex; what a definition does not have is left out.
    """
    tables = definition.tables
    options = {
        **tables.build.model_dump(),
        "build-from-source": sorted(tables.python.build_from_source) if tables.python else [],
        "without-scripts": sorted(tables.nodejs.without_scripts) if tables.nodejs else [],
    }
    found = {BUILD_OPTIONS: _digest(options)}
    if tables.files is not None:
        found[OWN_FILES] = _digest(
            {path: hashlib.sha256(body).hexdigest() for path, body in own_files(definition).items()}
        )
    if tables.layer.signing_profile:
        found[SIGNING_PROFILE] = tables.layer.signing_profile
    return found


def moved(before: Mapping[str, str] | None, now: Mapping[str, str]) -> tuple[str, ...]:
    """What is no longer as it was, as phrases.

    Args:
        before: of the promoted release; None where that was not recorded, and then nothing is known of its files.
    """
    if before is None:
        unknown = (f"{OWN_FILES} may have changed",) if OWN_FILES in now else ()
        return (*unknown, f"{SIGNING_PROFILE} changed") if SIGNING_PROFILE in now else unknown
    return tuple(f"{part} changed" for part in sorted(before.keys() | now.keys()) if before.get(part) != now.get(part))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
