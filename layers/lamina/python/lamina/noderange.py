"""Version ranges as npm writes them (`^1.2.3`, `1.x || >=2.5 <3`, `1.2 - 2.3`), by the grammar of node-semver.

A range is a choice of sets of comparators; a version is in it if one of the sets accepts it. A pre-release is only
accepted where a comparator of the set names a pre-release of the very same version, which is npm's own rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import semver

Version = semver.Version

_PARTIAL = (
    r"[v=\s]*(?P<{0}major>\d+|[xX*])(?:\.(?P<{0}minor>\d+|[xX*])(?:\.(?P<{0}patch>\d+|[xX*])"
    r"(?:-?(?P<{0}pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?)?)?"
)
_HYPHEN = re.compile(rf"\s*{_PARTIAL.format('a')}\s+-\s+{_PARTIAL.format('b')}\s*")
_SIMPLE = re.compile(rf"(?P<op>~>?|\^|>=?|<=?|)\s*{_PARTIAL.format('')}")


@dataclass(frozen=True)
class Comparator:
    """One condition; `op` is `>=`, `>`, `<`, `<=` or `=`."""

    op: str
    version: Version

    def __str__(self) -> str:
        return f"{'' if self.op == '=' else self.op}{self.version}"

    def accepts(self, version: Version) -> bool:
        """Whether the version's precedence meets the condition."""
        order = version.compare(self.version)
        return {">=": order >= 0, ">": order > 0, "<": order < 0, "<=": order <= 0, "=": order == 0}[self.op]


_FROM_THE_FIRST = Comparator(">=", Version(0, 0, 0))


@dataclass(frozen=True)
class Range:
    """A range of versions: any of these sets, each of which demands all of its comparators; none for an empty set."""

    sets: tuple[tuple[Comparator, ...], ...]

    def __str__(self) -> str:
        return " || ".join(" ".join(map(str, comparators)) or "*" for comparators in self.sets)

    def __contains__(self, version: str) -> bool:
        try:
            parsed = Version.parse(version.removeprefix("v"))
        except ValueError:
            return False
        return any(_accepts(comparators, parsed) for comparators in self.sets)

    @property
    def asks_prereleases(self) -> bool:
        """Whether it names a pre-release, by its own will and not as an upper bound that keeps them out."""
        return any(
            comparator.version.prerelease is not None and not comparator.op.startswith("<")
            for comparators in self.sets
            for comparator in comparators
        )

    def below(self, limit: str) -> Range:
        """The part of it that comes before a version and before that version's pre-releases."""
        bound = Comparator("<", Version.parse(f"{limit}-0"))
        return Range(tuple((*comparators, bound) for comparators in self.sets))


def parse_range(text: str) -> Range:
    """Read a range.

    Raises:
        ValueError: it is not one: a tag (`latest`), a path or an address.
    """
    # npm takes "from the very first" for no condition at all.
    sets = tuple(
        tuple(comparator for comparator in _set(part, text) if comparator != _FROM_THE_FIRST)
        for part in text.split("||")
    )
    # One that takes everything makes the others void, with the pre-releases that they name.
    return Range(((),) if () in sets else sets)


def contains(text: str, version: str) -> bool | None:
    """Whether the range has the version; None where the text is no range, so that nobody can say."""
    try:
        return version in parse_range(text)
    except ValueError:
        return None


@cache
def needs_newer_node(engines: str, major: int) -> bool:
    """Whether a package's `engines.node` excludes a major version of Node.js because it wants a later one.

    Any minor version counts as there. Ranges that merely end earlier, as those of old packages do, exclude nothing:
    such packages work on, and npm itself only warns.
    """
    try:
        wanted = parse_range(engines)
    except ValueError:
        return False
    return f"{major}.999.0" not in wanted and any(
        f"{later}.{minor}.0" in wanted for later in range(major + 1, 60) for minor in (0, 999)
    )


def _accepts(comparators: tuple[Comparator, ...], version: Version) -> bool:
    if not all(comparator.accepts(version) for comparator in comparators):
        return False
    if version.prerelease is None:
        return True
    return any(
        comparator.version.prerelease is not None and comparator.version.to_tuple()[:3] == version.to_tuple()[:3]
        for comparator in comparators
    )


def _set(part: str, text: str) -> tuple[Comparator, ...]:
    if (match := _HYPHEN.fullmatch(part)) is not None:
        return (*_simple(">=", *_groups(match, "a")), *_simple("<=", *_groups(match, "b")))
    found: list[Comparator] = []
    rest = part.strip()
    while rest:
        if (match := _SIMPLE.match(rest)) is None or (tail := rest[match.end() :])[:1].strip(" \t\n<>=~^"):
            raise ValueError(f"{text!r} is not a range of versions")
        found += _simple(match["op"], *_groups(match, ""))
        rest = tail.strip()
    return tuple(found)


def _groups(match: re.Match[str], prefix: str) -> tuple[int | None, int | None, int | None, str | None]:
    numbers: list[int | None] = []
    for name in ("major", "minor", "patch"):
        number = match[prefix + name]
        if None in numbers and number is not None and number not in "xX*":
            raise ValueError(f"{match[0]!r} has a number after a wildcard")
        numbers.append(None if number is None or number in "xX*" else int(number))
    return numbers[0], numbers[1], numbers[2], match[f"{prefix}pre"] if None not in numbers else None


def _simple(
    op: str, major: int | None, minor: int | None, patch: int | None, pre: str | None
) -> tuple[Comparator, ...]:
    if major is None:
        return () if op not in ("<", ">") else (Comparator("<", Version(0, 0, 0, "0")),)
    whole = minor is not None and patch is not None
    low = Version(major, minor or 0, patch or 0, pre)
    after = Version(major + 1, 0, 0) if minor is None else Version(major, minor + 1, 0)
    if op == "^":
        return _from(low, _caret(major, minor, patch))
    if op in ("~", "~>") or (op == "" and not whole):
        return _from(low, after)
    if op == "" or whole:
        return (Comparator(op or "=", low),)
    if op == ">":
        return (Comparator(">=", after),)
    if op == "<=":
        return (Comparator("<", _early(after)),)
    return (Comparator(op, _early(low) if op == "<" else low),)


def _caret(major: int, minor: int | None, patch: int | None) -> Version:
    """The first version that a caret leaves out: that which raises the leftmost number that is not zero."""
    if major or minor is None:
        return Version(major + 1, 0, 0)
    if minor or patch is None:
        return Version(0, minor + 1, 0)
    return Version(0, 0, patch + 1)


def _from(low: Version, end: Version) -> tuple[Comparator, ...]:
    return Comparator(">=", low), Comparator("<", _early(end))


def _early(version: Version) -> Version:
    """Where the pre-releases of a version begin."""
    return Version(version.major, version.minor, version.patch, "0")
