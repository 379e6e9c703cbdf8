"""Which of a version's files run on a target: wheel tags and interpreter versions."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from lamina.explain import HeldKind
from lamina.listing import Listed
from lamina.runtimes import Target

_LEGACY = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
"""The names that wheels of these C library versions had before they were called by number (PEP 600)."""


def has_wheel(entry: Listed, target: Target) -> bool:
    """Whether a version has a wheel that runs on the target."""
    tags = target_tags(target)
    return any(not tags.isdisjoint(_tags(file)) for file in entry.wheels)


def misfit(entry: Listed, target: Target, *, from_source: bool) -> tuple[HeldKind, str] | None:
    """Why a version does not run on the target; None if it does, or if the index does not say enough to tell."""
    try:
        wanted = SpecifierSet(entry.requires)
    except InvalidSpecifier:
        wanted = SpecifierSet()
    # What is asked of the interpreter is about its minor version: the newest patch release of it is what Lambda runs.
    if not any(wanted.contains(f"{target.python}.{patch}") for patch in (0, 99)):
        return "runtime", f"it needs Python {entry.requires}"
    if has_wheel(entry, target) or (from_source and entry.source):
        return None
    return "platform", f"it has no wheel for Python {target.python} on {target.platform}"


def arrival(entry: Listed, target: Target, *, from_source: bool) -> datetime | None:
    """When a version could first be taken on the target: its wheel for that may have come later than its source.

    None where the index does not say.
    """
    if from_source and entry.source:
        return entry.uploaded
    tags = target_tags(target)
    fitting = (
        moment for wheel, moment in zip(entry.wheels, entry.arrivals, strict=False) if not tags.isdisjoint(_tags(wheel))
    )
    return min(fitting, default=entry.uploaded)


@cache
def target_tags(target: Target) -> frozenset[Tag]:
    """The tags of wheels that run on the target (PEP 425, PEP 600)."""
    machine, _, libc = target.platform.partition("-manylinux_")
    major, minor = (int(part) for part in libc.split("_"))
    platforms: list[str] = []
    for number in range(minor, 4, -1):
        platforms.append(f"manylinux_{major}_{number}_{machine}")
        if (major, number) in _LEGACY:
            platforms.append(f"{_LEGACY[major, number]}_{machine}")
    platforms.append(f"linux_{machine}")
    version = tuple(int(part) for part in target.python.split("."))
    interpreter = f"cp{version[0]}{version[1]}"
    return frozenset(cpython_tags(version, platforms=platforms)) | frozenset(
        compatible_tags(version, interpreter=interpreter, platforms=platforms)
    )


def _tags(file: str) -> frozenset[Tag]:
    try:
        return parse_wheel_filename(file)[3]
    except InvalidWheelFilename:
        return frozenset()
