"""What to build: `build.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAXIMUM_BYTES = 262_144_000
"""Lambda's limit for a function's code and all its layers, unzipped."""

ARCHITECTURES = {62: "x86_64", 183: "arm64"}
"""`e_machine` in the header of a shared object (ELF specification) → Lambda's name of the architecture."""


@dataclass(frozen=True)
class PythonTarget:
    """The Python that the packages are for: version `3.13`, uv's platform, packages that may come as sources."""

    version: str
    platform: str
    from_source: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The version as it stands in the names of extension modules, `313`."""
        return self.version.replace(".", "")


@dataclass(frozen=True)
class NodeTarget:
    """The Node.js that the packages are for: version `22`, npm's name of the processor (`x64`, `arm64`).

    `without_scripts` are packages that work although their install scripts are not run.
    """

    version: str
    cpu: str
    without_scripts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All that a build is told.

    Attributes:
        machine: `e_machine` of the shared objects that load there.
        files: whether the bundle holds files that go into the layer as they are.
        prune: whether what a function never reads is left out (see prune.toml).
        strip: whether shared objects lose the symbols that only a debugger reads.
        bytecode: whether Python sources come with bytecode, if there is room for it.
        maximum_bytes: what the layer may have, unzipped.
    """

    variant: str
    runtimes: tuple[str, ...]
    architecture: str
    machine: int
    python: PythonTarget | None
    nodejs: NodeTarget | None
    files: bool
    prune: bool = True
    strip: bool = False
    bytecode: bool = True
    maximum_bytes: int = MAXIMUM_BYTES


def read_settings(path: Path) -> Settings:
    """Read a `build.json`.

    Raises:
        KeyError: something is missing.
    """
    told: dict[str, Any] = json.loads(path.read_text())
    python, nodejs = told["python"], told["nodejs"]
    return Settings(
        variant=told["variant"],
        runtimes=tuple(told["runtimes"]),
        architecture=told["architecture"],
        machine=told["machine"],
        python=python and PythonTarget(python["version"], python["platform"], tuple(python["fromSource"])),
        nodejs=nodejs and NodeTarget(nodejs["version"], nodejs["cpu"], tuple(nodejs["withoutScripts"])),
        files=told["files"],
        prune=told["prune"],
        strip=told["strip"],
        bytecode=told["bytecode"],
        maximum_bytes=told["maximumBytes"],
    )
