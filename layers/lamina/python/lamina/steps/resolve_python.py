"""Resolving Python packages: what is asked of uv, what of its answers is taken, and what was left and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from packaging.version import Version

from lamina.answers import Answers, Found, Resolves
from lamina.errors import IndexUnavailable, ResolutionFailed
from lamina.explain import Held, explained
from lamina.fixing import Choice, choose, newest, remedy
from lamina.held import held
from lamina.listing import Listed, Listing
from lamina.lock import Lock, Pin
from lamina.origin import check_origins, own
from lamina.policy import withheld
from lamina.purity import universal_wheels
from lamina.resolution import Access, Order, Resolved
from lamina.resolve import Approach, Basis, Question, ask, basis
from lamina.wheels import arrival, has_wheel

if TYPE_CHECKING:
    from lamina.gateways.registry import Sightings


class Resolver(Resolves, Protocol):
    """A resolver that also knows where packages come from."""

    def origins(self, question: Question, lock: Lock) -> Mapping[str, str]:
        """Package to the URL of the index that it is taken from."""


class Lists(Protocol):
    """Whoever can say what an index lists."""

    def of(self, names: Iterable[str], access: Access | None) -> Mapping[str, Listing | None]:
        """What each package has; None for one that could not be asked about."""


@dataclass(frozen=True)
class PythonGateways:
    """What a resolution reaches.

    Attributes:
        sightings: when versions were first seen, for an index that does not say when they came; None where nothing is
            remembered.
    """

    index: Resolver
    listings: Lists
    sightings: Sightings | None = None


def resolve_python(order: Order, reach: PythonGateways, *, dry_run: bool, now: datetime) -> Resolved:
    """Resolve the Python packages of one variant.

    Args:
        dry_run: leave no trace, not even of what was seen.
        now: the moment of the check.

    Raises:
        DefinitionRefused: the variant has no Python packages.
        ResolutionFailed: no acceptable set of packages was found.
        IndexUnavailable: an index could not be asked.
    """
    shelf = _Shelf(order, basis(order), reach, remember=not dry_run, now=now)
    facts = shelf.facts
    choice = choose(facts, order.fixes, shelf.listings)
    gone = shelf.withdrawn()
    stuck = frozenset(name for name in gone if shelf.newest(name) is None)
    answers = Answers(
        order,
        facts,
        reach.index,
        approach=Approach(
            stay=stuck,
            timeless=shelf.timeless(),
            unseen={**shelf.early(), **shelf.unseen(shelf.timeless())},
            forced=shelf.forced(),
        ),
        learn=shelf.learn,
        has_wheel=shelf.has_wheel,
        unfinished=shelf.unfinished,
        withdrawn=frozenset(gone),
    )
    found = _find(order, facts, choice, answers)
    if order.access is not None and order.access.packages and found.lock is not order.current:
        asked = ask(facts, Approach(forced=shelf.built(found.lock)))
        check_origins(facts.variant, order.access, reach.index.origins(asked, found.lock))
    shelf.fetch(found.lock.pins.keys())
    return Resolved(
        ecosystem="PyPI",
        lock=found.lock,
        text=found.lock.render(),
        wanted=tuple(str(wish) for wish in facts.wanted),
        direct=facts.direct,
        cutoff=facts.cutoff,
        changes=explained("PyPI", order.current, found.lock, facts.direct, order.as_of),
        held=shelf.held(found.lock, (*choice.untaken, *found.held), gone),
        notes=(*found.notes, *shelf.notes(found.lock, answers.timeless)),
        universal=shelf.universal(found.lock),
    )


def _find(order: Order, facts: Basis, choice: Choice, answers: Answers) -> Found:
    if not order.security or order.current is None:
        return answers.ordinary(choice.fixes)
    if choice.fixes:
        return answers.security(choice.fixes)
    if choice.forbidden:
        raise ResolutionFailed(
            f"{facts.variant}: no fix may be taken, nothing was changed: "
            + "; ".join(
                f"{entry.package} {entry.version} {entry.why}; {remedy(facts, entry)}"
                for entry in choice.untaken
                if entry.kind != "cooldown"
            )
        )
    return Found(order.current)


class _Shelf:
    """What the index has of the packages in question, fetched once each."""

    def __init__(self, order: Order, facts: Basis, reach: PythonGateways, *, remember: bool, now: datetime) -> None:
        self._order = order
        self._reach = reach
        self._remember = remember
        self._now = now
        self.facts = facts
        self.seen: dict[str, dict[str, datetime]] = {}
        self.listings: dict[str, Listing | None] = {}
        self.fetch(facts.pins.keys() | facts.direct | set(facts.from_source))
        # A lock that Lamina did not write has no upload times, and a resolver would not see its young pins.
        self.facts = replace(
            facts,
            pins={name: self._dated(pin) for name, pin in facts.pins.items()},
            held_back=withheld(facts.held_back, self._versions()),
        )

    def fetch(self, names: Iterable[str]) -> None:
        """Get what is not there yet."""
        missing = sorted(set(names) - self.listings.keys() - set(self.facts.exclude))
        if not missing:
            return
        self.listings |= self._reach.listings.of(missing, self._order.access)
        access = self._order.access
        silent = [name for name in missing if own(access, name) and self.listings.get(name) is None]
        if access is not None and silent:
            raise IndexUnavailable(
                f"{self.facts.variant}: the index {access.url} of [python.index] in layer.toml gave no answer about "
                f"{', '.join(silent)}; nothing was changed, what is new is unknown. Check its address and credentials; "
                "the next run asks again"
            )
        mine = {name: listing for name in missing if own(access, name) and (listing := self.listings[name]) is not None}
        bare = [name for name, listing in mine.items() if not listing.versions]
        if access is not None and access.packages and bare:
            # Asked further, a resolver would look for them in the default index, where anybody may own these names.
            raise ResolutionFailed(
                f"{self.facts.variant}: the index {access.url} of [python.index] in layer.toml has no "
                f"{', '.join(bare)}, which `packages` there says are its own; they were looked for nowhere else, and "
                "nothing was changed. Publish them there, or correct `packages`"
            )

    def has_wheel(self, name: str, version: str) -> bool:
        """Whether a version has a wheel for the target."""
        entry = self._entry(name, version)
        return entry is not None and has_wheel(entry, self.facts.target)

    def withdrawn(self) -> dict[str, str]:
        """Packages whose current version its authors have withdrawn, and why."""
        entries = {name: self._entry(name, pin.version) for name, pin in self.facts.pins.items()}
        return {name: entry.yanked for name, entry in entries.items() if entry is not None and entry.yanked is not None}

    def newest(self, name: str) -> Listed | None:
        """The newest version above a package's current one that may be taken."""
        listing = self.listings.get(name)
        return None if listing is None else newest(self.facts, name, listing)

    def forced(self) -> frozenset[str]:
        """Packages that may be built from source and whose newest version that may be taken has no wheel."""
        found = set()
        for name in self.facts.from_source:
            pin = self.facts.pins.get(name)
            entry = self.newest(name) or (self._entry(name, pin.version) if pin else None)
            if entry is None or not has_wheel(entry, self.facts.target):
                found.add(name)
        return frozenset(found)

    def built(self, lock: Lock) -> frozenset[str]:
        """Packages of a lock that are built from source."""
        here = [lock.pins[name] for name in self.facts.from_source if name in lock.pins]
        return frozenset(pin.name for pin in here if not self.has_wheel(pin.name, pin.version))

    def universal(self, lock: Lock) -> bool:
        """Whether every package of a lock is the same for all targets, and none may be built from source."""
        return not lock.pins.keys() & set(self.facts.from_source) and all(
            universal_wheels(self._entry(pin.name, pin.version), self.facts.target) for pin in lock.pins.values()
        )

    def timeless(self) -> frozenset[str]:
        """Packages of which the index does not say when all their files were uploaded."""
        return frozenset(
            name
            for name, listing in self.listings.items()
            if listing is not None and any(entry.uploaded is None for entry in listing.versions)
        )

    def early(self) -> dict[str, frozenset[str]]:
        """Pre-releases of packages that are on one which the definition does not ask for: a resolver would go on."""
        bare = self.unfinished(self.facts.pins)
        return {
            name: frozenset(entry.version for entry in listing.versions if Version(entry.version).is_prerelease)
            for name, pin in self.facts.pins.items()
            if Version(pin.version).is_prerelease
            and name not in self.facts.prereleases
            and name not in bare
            and (listing := self.listings.get(name)) is not None
        }

    def unfinished(self, names: Collection[str]) -> frozenset[str]:
        """Those of some packages that have nothing but pre-releases for the target, as of the order's moment."""
        self.fetch(names)
        return frozenset(
            name
            for name in names
            if (listing := self.listings.get(name)) is not None
            and not any(
                not Version(entry.version).is_prerelease
                and entry.yanked is None
                and (name in self.facts.from_source or has_wheel(entry, self.facts.target))
                for entry in listing.before(self._order.as_of).versions
            )
        )

    def learn(self, names: frozenset[str]) -> dict[str, frozenset[str]]:
        """Versions to leave out of packages that turned out to have no upload times."""
        self.fetch(names)
        return self.unseen(names)

    def unseen(self, names: frozenset[str]) -> dict[str, frozenset[str]]:
        """Their versions that came, or were first seen, too short a time ago."""
        early = self.early()
        listed = {name: listing for name in sorted(names) if (listing := self.listings.get(name)) is not None}
        if self._reach.sightings is not None:
            for index, of in self._by_index(listed).items():
                versions = {
                    name: [entry.version for entry in listed[name].versions if not entry.uploaded] for name in of
                }
                self.seen |= self._reach.sightings.look(index, versions, self._now, remember=self._remember)
        return {
            name: early.get(name, frozenset())
            | {entry.version for entry in listing.versions if self._is_fresh(name, entry)}
            for name, listing in listed.items()
        }

    def held(self, lock: Lock, own: tuple[Held, ...], gone: Mapping[str, str]) -> tuple[Held, ...]:
        """What was not taken, and why: fixes first, then what stays although it was withdrawn, then all the rest."""
        facts, pins = self.facts, self.facts.pins
        special = (
            *own,
            *(
                Held(
                    package=name,
                    version=pins[name].version,
                    kind="withdrawn",
                    why="its authors have withdrawn it"
                    + (f" ({why})" if why else "")
                    + ", and nothing newer may be taken yet",
                )
                for name, why in sorted(gone.items())
                if name in lock.pins and lock.pins[name].version == pins[name].version
            ),
            *(
                Held(package=name, version=version, why="asked for exactly, but not a package of the promoted release")
                for name, version in sorted(facts.elsewhere.items())
                if pins and name not in lock.pins
            ),
        )
        if self._order.security and self._order.current is not None:
            # All the rest was left alone on purpose.
            return special
        said = {(entry.package, entry.version) for entry in special}
        others = held(facts, lock, self.listings, self.seen)
        return (*special, *(entry for entry in others if (entry.package, entry.version) not in said))

    def notes(self, lock: Lock, timeless: frozenset[str]) -> tuple[str, ...]:
        """What is not known."""
        notes = []
        unknown = sorted(name for name in lock.pins if self.listings.get(name) is None)
        if unknown:
            notes.append(f"Which other versions there are is unknown for {', '.join(unknown)}: the index did not say.")
        undated = sorted(timeless & lock.pins.keys())
        if undated and self.facts.rules.cooldown_days:
            how = (
                "their cooldown cannot be told, and is not waited for"
                if self._reach.sightings is None
                else "their cooldown counts from when Lamina first saw each version"
            )
            notes.append(f"The index does not say when files of {', '.join(undated)} were uploaded: {how}.")
        return tuple(notes)

    def _entry(self, name: str, version: str) -> Listed | None:
        listing = self.listings.get(name)
        return None if listing is None else listing.find(version)

    def _versions(self) -> dict[str, list[tuple[str, datetime | None]]]:
        """What has been fetched: package to its versions, and when each came."""
        return {
            name: [(entry.version, entry.uploaded) for entry in listing.versions]
            for name, listing in self.listings.items()
            if listing is not None
        }

    def _dated(self, pin: Pin) -> Pin:
        entry = self._entry(pin.name, pin.version)
        return (
            pin if pin.uploaded is not None or entry is None else replace(pin, uploaded=self._arrival(pin.name, entry))
        )

    def _arrival(self, name: str, entry: Listed) -> datetime | None:
        return arrival(entry, self.facts.target, from_source=name in self.facts.from_source)

    def _is_fresh(self, name: str, entry: Listed) -> bool:
        since = self._arrival(name, entry) or self.seen.get(name, {}).get(entry.version)
        return since is not None and since >= self.facts.cutoff

    def _by_index(self, names: Iterable[str]) -> dict[str, list[str]]:
        access = self._order.access
        found: dict[str, list[str]] = {}
        for name in names:
            index = access.url if access is not None and own(access, name) else "default"
            found.setdefault(index, []).append(name)
        return found
