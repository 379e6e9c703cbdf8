"""Advisories in the OSV format (https://ossf.github.io/osv-schema/), held against what a lock has.

A version is affected if a record lists it, or if it lies in one of the record's ranges; ranges of commits say nothing
of versions and are left out. What a record says is evaluated here, whatever the database answered: a range that
cannot be read is *unknown*, which is neither affected nor clean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias, get_args

from packaging.utils import canonicalize_name

from lamina.model import Advice, Ecosystem, Finding
from lamina.npmlock import package_of
from lamina.versions import Parsed, older, parse

Record: TypeAlias = Mapping[str, Any]
"""One advisory as the database has it."""

_EVALUATED = ("ECOSYSTEM", "SEMVER")
# At the same version a fix is read before what breaks it again, and a last affected version after both, so that a
# version about which events disagree counts as affected.
_ORDER = {"fixed": 0, "introduced": 1, "last_affected": 2}
_SUMMARY = 200


class Pin(NamedTuple):
    """One locked package; `package` is the name that the ecosystem knows it by."""

    ecosystem: Ecosystem
    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True)
class Affected:
    """A version that a record is about; `fixed` is the lowest later version that the record calls fixed."""

    fixed: str | None


class Unreadable(ValueError):
    """A record does not say, in a form that can be read, which versions it is about."""


def pins_of(lock: Mapping[Ecosystem, Mapping[str, str]]) -> tuple[Pin, ...]:
    """The packages of a lock, sorted, each version of a package once.

    A copy of an npm package further down the tree is locked under its path (`a/node_modules/b`) and is known as `b`.
    """
    return tuple(
        sorted(
            {
                Pin(ecosystem, name_in(ecosystem, package_of(name) if ecosystem == "npm" else name), version)
                for ecosystem, packages in lock.items()
                for name, version in packages.items()
            }
        )
    )


def name_in(ecosystem: Ecosystem, name: str) -> str:
    """The name as the ecosystem compares it: normalized for PyPI, as it is for npm."""
    return canonicalize_name(name) if ecosystem == "PyPI" else name


def in_force(record: Record, as_of: datetime) -> bool:
    """Whether the record was published by `as_of` and is not withdrawn; one without a readable date always counts."""
    if record.get("withdrawn"):
        return False
    try:
        published = datetime.fromisoformat(str(record.get("published")))
    except ValueError:
        return True
    return (published if published.tzinfo else published.replace(tzinfo=UTC)) <= as_of


def affected(record: Record, pin: Pin) -> Affected | None:
    """What the record says of a locked version; None if it is not about it.

    Of several branches the fix of the pin's own counts: the lowest fixed version above it that the record does not
    call affected in turn.

    Raises:
        Unreadable: it is about the package, but not in a way that can be read.
    """
    try:
        version = parse(pin.ecosystem, pin.version)
    except ValueError as error:
        raise Unreadable(str(error)) from error
    said = _said(record, pin.ecosystem, pin.package)
    if said is None:
        return None
    if not said.about(version):
        if said.problem:
            raise Unreadable(said.problem)
        return None
    above = sorted({fix for events in said.ranges for fix in events.fixes() if version < fix})
    fixed = None if said.problem else next((fix for fix in above if not said.about(fix)), None)
    return Affected(None if fixed is None else str(fixed))


def judge(records: Iterable[object], pins: Iterable[Pin], as_of: datetime) -> Advice:
    """What the records say of a lock as of a moment.

    Records that are aliases of each other are one finding. It has the name of one of them, the advisory of the GitHub
    database where there is one, and the highest of the fixed versions that they name, so that taking it ends them all.

    Args:
        records: as the database has them, in any order.
        pins: what is locked.
        as_of: records published later are left out (aware UTC).
    """
    by_name: dict[tuple[str, str], list[Pin]] = {}
    for pin in sorted(set(pins)):
        by_name.setdefault((pin.ecosystem, pin.package), []).append(pin)
    found: dict[Pin, list[tuple[Record, Affected]]] = {}
    unknown: dict[str, None] = {}
    for record in records:
        if not isinstance(record, Mapping) or not isinstance(record.get("id"), str):
            unknown["an advisory that is not a record was left out"] = None
            continue
        if not in_force(record, as_of):
            continue
        for pin in (pin for name in _packages(record) for pin in by_name.get(name, ())):
            try:
                hit = affected(record, pin)
            except Unreadable as problem:
                unknown[f"{record['id']} could not be held against {pin}: {problem}"] = None
                continue
            if hit is not None:
                found.setdefault(pin, []).append((record, hit))
    findings = [
        _merged(pin, group)
        for pin, hits in found.items()
        for group in _groups(sorted(hits, key=lambda hit: _id(hit[0])))
    ]
    return Advice(
        findings=tuple(sorted(findings, key=lambda one: (one.ecosystem, one.package, one.version, one.id))),
        unknown="; ".join(sorted(unknown)),
    )


@dataclass(frozen=True)
class _Range:
    """The events of one range, in the order of their versions; None stands for before every version."""

    events: tuple[tuple[Parsed | None, str], ...]
    limits: tuple[Parsed, ...]

    def has(self, version: Parsed) -> bool:
        if self.limits and not any(version < limit for limit in self.limits):
            return False
        inside = False
        for at, kind in self.events:
            if kind == "introduced":
                inside = inside or at is None or at <= version
            elif at is None or at < version or (at == version and kind == "fixed"):
                inside = False
        return inside

    def fixes(self) -> list[Parsed]:
        return [at for at, kind in self.events if kind == "fixed" and at is not None]


@dataclass(frozen=True)
class _Said:
    """What a record says of one package; `problem` is why a part of it could not be read."""

    ranges: tuple[_Range, ...]
    versions: frozenset[Parsed]
    problem: str

    def about(self, version: Parsed) -> bool:
        return version in self.versions or any(one.has(version) for one in self.ranges)


def _said(record: Record, ecosystem: Ecosystem, package: str) -> _Said | None:
    entries = [entry for entry in _list(record, "affected") if _package(entry) == (ecosystem, package)]
    if not entries:
        return None
    ranges: list[_Range] = []
    versions: set[Parsed] = set()
    problem = ""
    for entry in entries:
        for text in _list(entry, "versions"):
            try:
                versions.add(parse(ecosystem, str(text)))
            except ValueError:
                # What is not a version there cannot have been locked either.
                continue
        for one in _list(entry, "ranges"):
            if isinstance(one, Mapping) and one.get("type") == "GIT":
                continue
            try:
                ranges.append(_range(one, ecosystem))
            except ValueError as error:
                problem = str(error)
    if not ranges and not versions:
        problem = problem or "it names no versions"
    return _Said(tuple(ranges), frozenset(versions), problem)


def _range(given: object, ecosystem: Ecosystem) -> _Range:
    if not isinstance(given, Mapping) or given.get("type") not in _EVALUATED:
        raise ValueError("one of its ranges is of no known type")
    events: list[tuple[Parsed | None, str]] = []
    limits: list[Parsed] = []
    for event in _list(given, "events"):
        if not isinstance(event, Mapping):
            raise ValueError("one of its ranges has an event that is none")
        for kind, text in event.items():
            if kind == "limit":
                limits += [] if text == "*" else [parse(ecosystem, str(text))]
            elif kind in _ORDER:
                start = kind == "introduced" and text == "0"
                events.append((None if start else parse(ecosystem, str(text)), kind))
            else:
                raise ValueError(f"one of its ranges has an event {kind!r}, which is not known")
    if not any(kind == "introduced" for _, kind in events):
        raise ValueError("one of its ranges does not say where it begins")
    first = [event for event in events if event[0] is None]
    rest = [event for event in events if event[0] is not None]
    rest.sort(key=lambda event: (event[0], _ORDER[event[1]]))
    return _Range((*first, *rest), tuple(limits))


def _packages(record: Record) -> list[tuple[str, str]]:
    return list(dict.fromkeys(found for entry in _list(record, "affected") if (found := _package(entry)) is not None))


def _package(entry: object) -> tuple[Ecosystem, str] | None:
    package = entry.get("package") if isinstance(entry, Mapping) else None
    if not isinstance(package, Mapping) or not isinstance(package.get("name"), str):
        return None
    for ecosystem in get_args(Ecosystem):
        if package.get("ecosystem") == ecosystem:
            return ecosystem, name_in(ecosystem, package["name"])
    return None


def _list(value: object, key: str) -> Sequence[Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, list) else ()


def _id(record: Record) -> str:
    return str(record["id"])


def _names(record: Record) -> set[str]:
    return {_id(record), *(name for name in _list(record, "aliases") if isinstance(name, str))}


def _groups(hits: Sequence[tuple[Record, Affected]]) -> list[list[tuple[Record, Affected]]]:
    """Records with a name in common, directly or by way of others."""
    groups: list[tuple[set[str], list[tuple[Record, Affected]]]] = []
    for hit in hits:
        names, members = _names(hit[0]), [hit]
        for known in [group for group in groups if group[0] & names]:
            groups.remove(known)
            names |= known[0]
            members = known[1] + members
        groups.append((names, members))
    return [members for _, members in groups]


def _merged(pin: Pin, group: Sequence[tuple[Record, Affected]]) -> Finding:
    records = sorted((record for record, _ in group), key=lambda one: (_rank(_id(one)), _id(one)))
    identity = _id(records[0])
    fixed = [hit.fixed for _, hit in group if hit.fixed is not None]
    highest = None
    for one in fixed:
        if highest is None or older(pin.ecosystem, highest, one):
            highest = one
    return Finding(
        id=identity,
        aliases=tuple(sorted({name for record in records for name in _names(record)} - {identity})),
        ecosystem=pin.ecosystem,
        package=pin.package,
        version=pin.version,
        fixed=highest,
        summary=next((text for record in records if (text := _summary(record))), ""),
    )


def _rank(identity: str) -> int:
    return 0 if identity.startswith("GHSA-") else 2 if identity.startswith("CVE-") else 1


def _summary(record: Record) -> str:
    text = record.get("summary") or record.get("details") or ""
    line = " ".join(text.split()) if isinstance(text, str) else ""
    return line if len(line) <= _SUMMARY else line[: _SUMMARY - 1].rstrip() + "…"
