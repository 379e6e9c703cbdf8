"""Which runtimes and architectures there are, and what each means to a resolver, an installer and a linker."""

from __future__ import annotations

from dataclasses import dataclass

from lamina.model import Variant

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Lambda's name of an architecture → the name that wheels and build images use."""

ELF_MACHINES = {"x86_64": 62, "arm64": 183}
"""Lambda's name of an architecture → `e_machine` in the header of its shared objects (ELF specification)."""

PYTHONS = {
    "python3.9": "manylinux_2_17",
    "python3.10": "manylinux_2_17",
    "python3.11": "manylinux_2_17",
    "python3.12": "manylinux_2_28",
    "python3.13": "manylinux_2_28",
    "python3.14": "manylinux_2_28",
}
"""Python runtime → newest wheel platform that its C library can load: Amazon Linux 2 up to 3.11, 2023 from 3.12 on."""

OTHER_RUNTIMES = ("nodejs20.x", "nodejs22.x", "nodejs24.x", "provided.al2", "provided.al2023")
RUNTIMES = (*PYTHONS, *OTHER_RUNTIMES)

BUILD_IMAGES = frozenset({"python3.11", "python3.12", "python3.13"})
"""Runtimes that CodeBuild has a Lambda compute image of; wheels for the others are installed on the default image."""

DEFAULT_BUILD_IMAGE = "python3.13"


SMOKE_TESTS = {".py": "python", ".mjs": "nodejs", ".cjs": "nodejs", ".js": "nodejs", ".sh": "provided"}
"""Suffix of a smoke test → the language whose probe runs it."""


@dataclass(frozen=True)
class Target:
    """What a Python variant is resolved and built for.

    Attributes:
        python: the interpreter's version, `3.13`.
        platform: as uv names it, `aarch64-manylinux_2_28`.
        machine: `e_machine` of shared objects that load there.
    """

    python: str
    platform: str
    machine: int


def is_python(runtime: str) -> bool:
    """Whether the runtime is one of Lambda's Pythons."""
    return runtime in PYTHONS


def target(variant: Variant) -> Target:
    """What the variant is resolved and built for.

    Raises:
        KeyError: the variant's runtime is not a Python, or its architecture is unknown.
    """
    return Target(
        python=variant.runtime.removeprefix("python"),
        platform=f"{ARCHITECTURES[variant.architecture]}-{PYTHONS[variant.runtime]}",
        machine=ELF_MACHINES[variant.architecture],
    )
