"""Versions, in the order and in the words of their ecosystem: PEP 440 for PyPI, Semantic Versioning for npm."""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

import semver
from packaging.version import InvalidVersion, Version

from lamina.model import Ecosystem

Kind: TypeAlias = Literal["patch", "minor", "major"]
Parsed: TypeAlias = Version | semver.Version

_FIRST_YEAR = 1990
"""A first number from here on is a year: calendar versions carry no promise in it."""


@cache
def parse(ecosystem: Ecosystem, version: str) -> Parsed:
    """The version as a value that compares with others of its ecosystem.

    Raises:
        ValueError: it is not a version there.
    """
    try:
        return Version(version) if ecosystem == "PyPI" else semver.Version.parse(version.removeprefix("v"))
    except (InvalidVersion, TypeError, ValueError) as error:
        raise ValueError(f"{version!r} is not a version of {ecosystem}") from error


def valid(ecosystem: Ecosystem, version: str) -> bool:
    """Whether it is a version there."""
    try:
        parse(ecosystem, version)
    except ValueError:
        return False
    return True


def older(ecosystem: Ecosystem, version: str, than: str) -> bool:
    """Whether `version` comes before `than`."""
    return bool(parse(ecosystem, version) < parse(ecosystem, than))  # type: ignore[operator]


def is_prerelease(ecosystem: Ecosystem, version: str) -> bool:
    """Whether it is published for trying, not for use."""
    parsed = parse(ecosystem, version)
    return parsed.is_prerelease if isinstance(parsed, Version) else parsed.prerelease is not None


def kind_of_change(ecosystem: Ecosystem, old: str, new: str) -> Kind:
    """How big a step is, by the first number that differs: major, minor, or patch for anything smaller.

    A calendar version's year is a minor step, since it says when, not what broke.
    """
    before, after = parse(ecosystem, old), parse(ecosystem, new)
    if (_epoch(before), before.major) != (_epoch(after), after.major):
        years = is_calendar(before) and is_calendar(after) and _epoch(before) == _epoch(after)
        return "minor" if years else "major"
    return "minor" if before.minor != after.minor else "patch"


def is_calendar(version: Parsed) -> bool:
    """Whether the version's first number is a year."""
    return version.major >= _FIRST_YEAR


def _epoch(version: Parsed) -> int:
    return version.epoch if isinstance(version, Version) else 0
