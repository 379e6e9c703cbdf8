"""The source bundle of a build, the machine that it runs on, and what a build leaves behind."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import Field

from lamina.definition import Definition, python_source, python_target
from lamina.errors import BuildRefused
from lamina.model import Model, Variant
from lamina.packagejson import node_major, read_package_json
from lamina.runtimes import ARCHITECTURES, BUILD_IMAGES, DEFAULT_BUILD_IMAGE, ELF_MACHINES, target

BUILDSPEC = "buildspec.yml"
BUILDER_FILES = (
    BUILDSPEC, "archive.py", "build.py", "bytecode.py", "compiling.py", "credentials.py", "elf.py", "licenses.py",
    "mentions.py", "native.py", "npm.py", "npm.txt", "own.py", "prune.toml", "pruning.py", "refusal.py",
    "requirements.txt", "sbom.py", "settings.py", "tree.py", "wheels.py",
)  # fmt: skip
"""The builder's files. In a bundle they are in the folder `builder`, but for the buildspec."""

COMPUTE = "BUILD_LAMBDA_4GB"
MAXIMUM_BYTES = 262_144_000
"""Lambda's limit for a function's code and all its layers, unzipped."""

_NODE_CPUS = {"x86_64": "x64", "arm64": "arm64"}


@dataclass(frozen=True)
class Machine:
    """A CodeBuild environment on Lambda compute, in CodeBuild's own words."""

    image: str
    environment_type: str
    compute_type: str


class Sizes(Model):
    """Bytes of a layer, as a zip and unzipped."""

    zipped: int
    unzipped: int


class BuiltPackage(Model):
    """One Python package as installed: its top-level modules, bytes, license, and which of the others it requires."""

    version: str
    modules: tuple[str, ...] = ()
    size: int = 0
    license: str = ""
    requires: tuple[str, ...] = ()


class BuiltNodePackage(Model):
    """One copy of an npm package as it was installed: bytes, license, and which of the others it requires."""

    version: str
    size: int = 0
    license: str = ""
    requires: tuple[str, ...] = ()


class LeftOut(Model):
    """How much was left out of a layer for one reason."""

    files: int
    bytes: int


class Manifest(Model):
    """What a build leaves beside its zip.

    Attributes:
        digest: SHA-256 over paths, modes and contents, hex.
        sha256: the zip's, hex.
        packages: Python packages by normalized name.
        node_packages: npm packages by their place, as in the lock: `qs`, `express/node_modules/qs`.
        own_modules: top-level Python modules of the definition's own files.
        removed: reason to what was left out for it.
        bytecode: whether Python sources have bytecode; `bytecode_why` says what has none, and why.
        pure: whether nothing depends on architecture or Python version, apart from bytecode.
        extensions: names of the extensions that Lambda starts.
        bootstrap: whether the layer is a runtime of its own.
        notes: what else a reader should know of the build, in whole sentences.
    """

    variant: str
    digest: str = Field(min_length=64, max_length=64)
    sha256: str = Field(min_length=64, max_length=64)
    sizes: Sizes
    packages: dict[str, BuiltPackage] = {}
    node_packages: dict[str, BuiltNodePackage] = {}
    own_modules: tuple[str, ...] = ()
    removed: dict[str, LeftOut] = {}
    bytecode: bool = False
    bytecode_why: str = ""
    pure: bool = False
    extensions: tuple[str, ...] = ()
    bootstrap: bool = False
    notes: tuple[str, ...] = ()


def machine(definition: Definition, variant: Variant) -> Machine:
    """Where a variant is built: on the runtime's own operating system, on the processor it is for.

    What is not for Python is built on the default image too: npm brings its own Node.js.

    Raises:
        DefinitionRefused: the variant has Python packages, but the definition names no Python.
    """
    runtime = variant.runtime if definition.tables.python is None else python_target(definition, variant).runtime
    image = runtime if runtime in BUILD_IMAGES else DEFAULT_BUILD_IMAGE
    return Machine(
        image=f"aws/codebuild/amazonlinux-{ARCHITECTURES[variant.architecture]}-lambda-standard:{image}",
        environment_type="ARM_LAMBDA_CONTAINER" if variant.architecture == "arm64" else "LINUX_LAMBDA_CONTAINER",
        compute_type=COMPUTE,
    )


def build_settings(definition: Definition, variant: Variant) -> dict[str, object]:
    """What the build is told (`build.json`).

    Raises:
        DefinitionRefused: the definition names no runtime of a language that it has packages for.
    """
    return {
        "variant": variant.variant,
        "runtimes": [variant.runtime],
        "architecture": variant.architecture,
        "machine": ELF_MACHINES[variant.architecture],
        "python": _python(definition, variant),
        "nodejs": _nodejs(definition, variant),
        "files": definition.tables.files is not None,
        **definition.tables.build.model_dump(),
        "maximumBytes": MAXIMUM_BYTES,
    }


def sources(definition: Definition, variant: Variant, lock: str, node_lock: str | None) -> dict[str, bytes]:
    """What a variant is built from, by path in the bundle.

    Args:
        lock: the Python lock's text; not looked at without `[python]`.
        node_lock: the package-lock.json; None without `[nodejs]`.

    Raises:
        BuildRefused: the definition has a `[nodejs]` source for which there is no lock.
        DefinitionRefused: the package.json cannot be used.
    """
    found: dict[str, bytes] = {}
    tables = definition.tables
    if tables.python is not None:
        found["lock.txt"] = lock.encode()
    if tables.nodejs is not None:
        if node_lock is None:
            raise BuildRefused(
                f"{variant.variant}: [nodejs] was added to {definition.folder} after this update was checked, so there "
                "is no lock of its packages; nothing was changed. Start the update again"
            )
        # npm installs nothing where lock and package.json disagree: both say what the check made of the definition's.
        found["package.json"] = json.dumps(read_package_json(definition).document(), indent=1).encode()
        found["package-lock.json"] = node_lock.encode()
    if tables.files is not None:
        folder = str(PurePosixPath(tables.files.from_)) + "/"
        found |= {
            f"files/{path.removeprefix(folder)}": body
            for path, body in definition.content.items()
            if path.startswith(folder)
        }
    return found


def pack(builder: Mapping[str, bytes], settings: Mapping[str, object], files: Mapping[str, bytes]) -> bytes:
    """The source bundle as a zip, the same bytes for the same contents.

    Args:
        builder: the builder's files by name.
        settings: see `build_settings`.
        files: see `sources`; what is from the definition's own indexes is in `wheels/` and `npm/`.
    """
    contents = {name if name == BUILDSPEC else f"builder/{name}": builder[name] for name in BUILDER_FILES}
    contents |= {"build.json": json.dumps(settings, indent=1, sort_keys=True).encode(), **files}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in sorted(contents.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            packed = name.startswith(("wheels/", "npm/"))
            archive.writestr(info, body, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED, 6)
    return buffer.getvalue()


def _python(definition: Definition, variant: Variant) -> dict[str, object] | None:
    if definition.tables.python is None:
        return None
    wanted = target(python_target(definition, variant))
    allowed = python_source(definition, variant).build_from_source
    return {"version": wanted.python, "platform": wanted.platform, "fromSource": list(allowed)}


def _nodejs(definition: Definition, variant: Variant) -> dict[str, object] | None:
    if definition.tables.nodejs is None:
        return None
    return {
        "version": str(node_major(definition, variant)),
        "cpu": _NODE_CPUS[variant.architecture],
        "withoutScripts": list(definition.tables.nodejs.without_scripts),
    }
