"""The source bundle of a build, and the machine that it runs on."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from lamina.definition import Definition, python_source
from lamina.model import Model, Variant
from lamina.runtimes import ARCHITECTURES, BUILD_IMAGES, DEFAULT_BUILD_IMAGE, target

BUILDER_FILES = ("buildspec.yml", "build.py", "requirements.txt")
COMPUTE = "BUILD_LAMBDA_4GB"


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
    """One package as it was installed: its top-level modules, bytes, and which of the others it requires."""

    version: str
    modules: tuple[str, ...] = ()
    size: int = 0
    requires: tuple[str, ...] = ()


class Manifest(Model):
    """What a build leaves beside its zip. `digest` covers paths, modes and contents; `sha256` is the zip's, hex."""

    variant: str
    digest: str = Field(min_length=64, max_length=64)
    sha256: str = Field(min_length=64, max_length=64)
    sizes: Sizes
    packages: dict[str, BuiltPackage]


def machine(variant: Variant) -> Machine:
    """Where a variant is built: on the runtime's own operating system, on the processor it is for."""
    image = variant.runtime if variant.runtime in BUILD_IMAGES else DEFAULT_BUILD_IMAGE
    return Machine(
        image=f"aws/codebuild/amazonlinux-{ARCHITECTURES[variant.architecture]}-lambda-standard:{image}",
        environment_type="ARM_LAMBDA_CONTAINER" if variant.architecture == "arm64" else "LINUX_LAMBDA_CONTAINER",
        compute_type=COMPUTE,
    )


def build_settings(definition: Definition, variant: Variant) -> dict[str, object]:
    """What the build script is told (`build.json`).

    Raises:
        DefinitionRefused: the variant has a source that this version of Lamina cannot build.
    """
    source, wanted = python_source(definition, variant), target(variant)
    return {
        "variant": variant.variant,
        "python": wanted.python,
        "platform": wanted.platform,
        "machine": wanted.machine,
        "fromSource": list(source.build_from_source),
    }


def pack(builder: Mapping[str, bytes], lock: str, settings: Mapping[str, object]) -> bytes:
    """The source bundle as a zip, the same bytes for the same contents.

    Args:
        builder: the builder's files by name.
        lock: the lock's text.
        settings: see `build_settings`.
    """
    files = {name: builder[name] for name in BUILDER_FILES}
    files |= {"lock.txt": lock.encode(), "build.json": json.dumps(settings, indent=1, sort_keys=True).encode()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in sorted(files.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, body, zipfile.ZIP_DEFLATED, 6)
    return buffer.getvalue()
