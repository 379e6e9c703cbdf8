"""Versions, in the order and in the words of their ecosystem: PEP 440 for PyPI, Semantic Versioning for npm."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, Protocol, TypeAlias

import semver
from packaging.version import InvalidVersion, Version

from lamina.model import Ecosystem

Kind: TypeAlias = Literal["patch", "minor", "major"]

_FIRST_YEAR = 1990
"""A first number from here on is a year: calendar versions carry no promise in it."""


class Parsed(Protocol):
    """A version as a value; it compares with those of its own ecosystem only."""

    @property
    def major(self) -> int: ...

    @property
    def minor(self) -> int: ...

    def __hash__(self) -> int: ...

    def __lt__(self, other: Any, /) -> bool: ...

    def __le__(self, other: Any, /) -> bool: ...


@cache
def parse(ecosystem: Ecosystem, version: str) -> Parsed:
    """The version as a value.

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
    return parse(ecosystem, version) < parse(ecosystem, than)


def is_prerelease(ecosystem: Ecosystem, version: str) -> bool:
    """Whether it is published for trying, not for use."""
    parsed = parse(ecosystem, version)
    if isinstance(parsed, semver.Version):
        return parsed.prerelease is not None
    return isinstance(parsed, Version) and parsed.is_prerelease


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
