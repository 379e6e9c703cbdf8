"""What becomes of npm's answers: what they lack, whose doing it is that something went back, what is accepted.

npm never tries an older version of a package because something that a newer one needs is not there: `gives_way` names
the versions to hide before it is asked again. `setbacks` finds what an update may not bring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lamina.errors import ResolutionFailed
from lamina.nodejs import NodeQuestion, Shown
from lamina.noderange import contains, parse_range
from lamina.npmlock import NodeLock, located, needs, package_of, pin_name, versions_of
from lamina.offer import Packument, npm_order
from lamina.versions import is_prerelease, older

_NAMED = re.compile(r"(?:^|\s)((?:@[\w.~-]+/)?[\w.~-]+)@(\d+\.\d+\.\d+[\w.+-]*)")


@dataclass(frozen=True)
class Trouble:
    """Why npm found nothing: `package` at `wanted` is not there, or versions that it names do not go together."""

    words: str
    package: str = ""
    wanted: str = ""
    versions: tuple[Shown, ...] = ()


def unfixed(question: NodeQuestion, lock: NodeLock) -> dict[str, tuple[str, str]]:
    """Fixes that a lock does not have: package to the version it keeps and the one that would fix it.

    A fix is for the copies of its own major version that are older; where there is none, for the newest older one.
    """
    found = {}
    have = versions_of(lock)
    for name, fixes in question.fixes.items():
        for fixed in fixes:
            for version in sorted(
                _meant(question.rules.pins[name], fixed) & have.get(name, frozenset()), key=npm_order
            ):
                found[name] = (version, fixed)
    return found


def dependents(lock: NodeLock, names: frozenset[str]) -> frozenset[str]:
    """The packages that need one of these, and those that need them, without the layer itself."""
    found = set(names)
    while True:
        more = {
            package_of(pin_name(path, entry))
            for path, entry in lock.entries.items()
            if path and needs(entry).keys() & found
        } - found
        if not more:
            return frozenset(found - names)
        found |= more


def parents_with_fixes(question: NodeQuestion, lock: NodeLock, seen: Mapping[str, Packument]) -> dict[str, datetime]:
    """Cutoffs for packages that must move before a fix can come in, because they ask for the version without it.

    Each is let in up to its first release that admits the fix. Only those that need the package themselves count:
    anything further away waits for its cooldown.
    """
    found: dict[str, datetime] = {}
    for name, (_, fixed) in unfixed(question, lock).items():
        for parent in _parents(lock, name):
            packument, pins = seen.get(parent), question.rules.pins.get(parent, frozenset())
            moments = [
                came
                for version, metadata in (packument.versions if packument else {}).items()
                if packument is not None
                and (came := packument.came(version)) is not None
                and (wanted := needs(metadata).get(name)) is not None
                and contains(wanted, fixed)
                and not is_prerelease("npm", version)
                and all(older("npm", pin, version) for pin in pins)
                and (parent, version) not in question.rules.hidden
            ]
            if moments and min(moments) >= question.rules.cutoff:
                found[parent] = min(moments) + timedelta(seconds=1)
    return found


def young_others(question: NodeQuestion, lock: NodeLock, seen: Mapping[str, Packument]) -> tuple[Shown, ...]:
    """Versions taken before their cooldown that neither are fixes nor were asked for by name."""
    asked = question.fixes.keys() | question.rules.exact.keys()
    return tuple(
        sorted(
            (name, version)
            for name, versions in versions_of(lock).items()
            if name in seen and name not in asked
            for version in versions - question.rules.pins.get(name, frozenset())
            if (moment := seen[name].came(version)) is not None and moment >= question.rules.cutoff
        )
    )


def gives_way(question: NodeQuestion, trouble: Trouble, seen: Mapping[str, Packument]) -> frozenset[Shown]:
    """The versions to hide before npm is asked again; none where nothing can be done.

    Args:
        seen: the packuments that npm has asked for.
    """

    def can_go(package: str, version: str) -> bool:
        pinned = version in question.rules.pins.get(package, ())
        return package in seen and not pinned and (package, version) not in question.rules.hidden

    if not trouble.package:
        return frozenset([shown for shown in trouble.versions if can_go(*shown)][:1])
    return frozenset(
        (name, version)
        for name, packument in seen.items()
        for version, metadata in packument.versions.items()
        if can_go(name, version) and _asks(metadata, trouble)
    )


def needed_by_a_fix(question: NodeQuestion, trouble: Trouble, seen: Mapping[str, Packument]) -> bool:
    """Whether it is a version that fixes an advisory, or what such a version needs, that cannot be had otherwise."""
    sources = {name for name in question.rules.cutoffs if name in seen and name not in question.rules.exact}
    return any(
        _asks(metadata, trouble)
        for name in sources
        for version, metadata in seen[name].versions.items()
        if version not in question.rules.pins.get(name, ())
    )


def setbacks(question: NodeQuestion, lock: NodeLock) -> tuple[tuple[str, ...], frozenset[Shown]]:
    """What went back to an older version, in words, and the versions whose doing it is.

    What lies at each place, and what the layer and each package that stayed find of what they need, is compared with
    the current lock. A version that merely lies elsewhere now has not gone back for those who need it.
    """
    words: list[str] = []
    blamed: set[Shown] = set()
    for place, name, before, after in _moved(question.current, lock):
        if older("npm", after, before):
            words.append(f"{place} {before} to {after}")
            blamed |= set(_wishing(question, lock, name, before))
    return tuple(sorted(set(words))), frozenset(blamed)


def accept_npm(question: NodeQuestion, lock: NodeLock, previously_wanted: tuple[str, ...] = ()) -> NodeLock:
    """The lock, if an update may bring it.

    Raises:
        ResolutionFailed: naming the packages and what is wrong with them.
    """
    words, _ = setbacks(question, lock)
    if words:
        raise refused(question, f"{', '.join(words)} would go back")
    old, new = (question.current.packages if question.current else {}), lock.packages
    moved = {key for key in new if old.get(key) != new[key]}
    gone = sorted(old.keys() - new.keys())
    if gone and not moved and set(previously_wanted) == set(question.package_json.wanted):
        raise refused(question, f"{', '.join(gone)} would vanish although nothing else moves")
    early = [
        f"{name} {new[name]}"
        for name, wanted in sorted(question.package_json.ranges.items())
        if name in moved
        and is_prerelease("npm", new[name])
        and name not in question.rules.exact
        and not parse_range(wanted).asks_prereleases
    ]
    if early:
        raise refused(question, f"{', '.join(early)} would be a pre-release that nobody asked for")
    have = versions_of(lock)
    missed = [
        f"{name} {version}"
        for name, version in sorted(question.rules.exact.items())
        if name in question.direct | question.rules.pins.keys() and version not in have.get(name, ())
    ]
    if missed:
        raise refused(
            question, f"{', '.join(missed)} was asked for exactly, but does not fit what package.json and others ask"
        )
    return lock


def refused(question: NodeQuestion, problem: str) -> ResolutionFailed:
    """The error for an answer that no update may bring."""
    return ResolutionFailed(f"{question.variant}: refused what npm found, nothing was changed: {problem}")


def parse_trouble(code: str, words: str) -> Trouble | None:
    """What npm's own error says; None for an error that no other choice of versions would mend."""
    if code == "ETARGET" and (match := re.search(r"version found for (@?[^@\s]+)@(.*?)\.?\s*$", words, re.MULTILINE)):
        return Trouble(words, match[1], match[2].strip())
    if code == "ENOVERSIONS" and (match := re.search(r"versions available for (@?[^@\s]+)", words)):
        return Trouble(words, match[1])
    if code == "ERESOLVE":
        # The one whose wish cannot be met comes first, then those that stand in its way.
        found, _, missing = words.partition("Could not resolve dependency")
        return Trouble(words, versions=tuple(dict.fromkeys((*_NAMED.findall(missing), *_NAMED.findall(found)))))
    return None


def plain(words: str) -> str:
    """npm's explanation as one paragraph, without what it says of its own logs and options."""
    lines = [line.strip() for line in words.splitlines()]
    kept = [
        line
        for line in lines
        if line and not re.search(r"complete log|full report|^/|--force|--legacy-peer-deps|npm help", line)
    ]
    return " ".join(kept)[:1000]


def _parents(lock: NodeLock, name: str) -> set[str]:
    return {package_of(pin_name(path, entry)) for path, entry in lock.entries.items() if path and name in needs(entry)}


def _asks(metadata: Mapping[str, Any], trouble: Trouble) -> bool:
    return any(
        (name == trouble.package and (not trouble.wanted or _same(wanted, trouble.wanted)))
        or (wanted.startswith("npm:") and wanted == f"npm:{trouble.package}@{trouble.wanted}")
        for name, wanted in needs(metadata).items()
    )


def _same(one: str, other: str) -> bool:
    return (one.split() or ["*"]) == (other.split() or ["*"])


def _meant(pins: frozenset[str], fixed: str) -> set[str]:
    before = {pin for pin in pins if older("npm", pin, fixed)}
    near = {pin for pin in before if npm_order(pin).major == npm_order(fixed).major}
    return near or set(sorted(before, key=npm_order)[-1:])


def _moved(old: NodeLock | None, new: NodeLock) -> Iterator[tuple[str, str, str, str]]:
    """Where something finds another version than before: place, package, version before and after."""
    have = versions_of(new)
    for path, entry in new.entries.items():
        before = old.entries.get(path) if old is not None else None
        if old is None or before is None:
            continue
        name = package_of(pin_name(path, entry))
        if path and all(older("npm", version, before["version"]) for version in have.get(name, ())):
            yield pin_name(path, entry), name, before["version"], entry["version"]
        if path and before["version"] != entry["version"]:
            continue
        for name in sorted(needs(entry).keys() & needs(before).keys()):
            places = located(old.entries, path, name), located(new.entries, path, name)
            if places[0] is not None and places[1] is not None:
                was, now = old.entries[places[0]], new.entries[places[1]]
                yield pin_name(places[1], now), name, was["version"], now["version"]


def _wishing(question: NodeQuestion, lock: NodeLock, name: str, before: str) -> Iterator[Shown]:
    """Versions that are new in the lock and want `name` older than it was."""
    for path, entry in lock.entries.items():
        wanted = needs(entry).get(name)
        if path and wanted is not None and contains(wanted, before) is False:
            package, version = package_of(pin_name(path, entry)), str(entry["version"])
            if version not in question.rules.pins.get(package, ()):
                yield package, version
