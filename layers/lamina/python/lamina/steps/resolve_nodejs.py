"""Resolving one variant's npm packages: what is asked of npm, and what of its answers is accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.errors import ResolutionFailed
from lamina.explain import explained
from lamina.model import HeldBack
from lamina.nodeanswer import (
    Trouble,
    accept_npm,
    dependents,
    gives_way,
    needed_by_a_fix,
    parents_with_fixes,
    plain,
    refused,
    setbacks,
    unfixed,
    young_others,
)
from lamina.nodeheld import no_version, why_held, why_unfixed
from lamina.nodejs import NodeQuestion, ask_npm, fix_cutoff
from lamina.npmlock import NodeLock, package_of, places_of, versions_of, with_uploads
from lamina.offer import Packument, Source
from lamina.policy import withheld
from lamina.purity import universal_modules
from lamina.resolution import Order, Resolved

if TYPE_CHECKING:
    from lamina.gateways.npm import Npm
    from lamina.gateways.packuments import Packuments
    from lamina.gateways.registry import Sightings

_ROUNDS = 25
"""How often npm is asked, with fewer versions each time, before Lamina gives up."""
_EXTENDED = 10
"""How many packages may be taken before their cooldown because a fix needs them; npm's are small and move together."""
_THREADS = 8


@dataclass(frozen=True)
class NodeGateways:
    """What a resolution of npm packages reaches.

    Attributes:
        sightings: when versions were first seen, for a registry that does not say when they came; None where nothing
            is remembered.
    """

    npm: Npm
    packuments: Packuments
    sightings: Sightings | None = None


@dataclass
class _Attempt:
    """A question on its way to an answer.

    Attributes:
        extended: how many packages were let in before their cooldown because a fix needs them.
        left_out: versions that were hidden on the way, with the reason.
    """

    question: NodeQuestion
    extended: int = 0
    left_out: dict[tuple[str, str], str] = field(default_factory=dict)


def resolve_nodejs(order: Order, reach: NodeGateways, *, dry_run: bool, now: datetime) -> Resolved:
    """Resolve the variant's npm packages as of the order's moment.

    `order.current` is what `lamina.npmlock.parse_npm_lock` made of the promoted release's lock.

    Args:
        dry_run: leave no trace, not even of what was seen.
        now: the moment of the check.

    Raises:
        DefinitionRefused: the package.json asks for something that a lock cannot be made of.
        ResolutionFailed: nothing acceptable was found.
        IndexUnavailable: the registry, or npm itself, could not be asked.
    """
    source = Source(
        read=lambda name: _read(name, order, reach, remember=not dry_run, now=now),
        fetch=lambda url, name: reach.packuments.fetch(url, name, order.access),
    )
    order = replace(order, held_back=_withheld(order, source))
    attempt = _Attempt(_with_fixes(order, ask_npm(order), source))
    if order.security and attempt.question.current is not None:
        lock = _fixes_alone(order, attempt, attempt.question.current, reach.npm, source)
    else:
        lock = _all(order, attempt, reach.npm, source)
    lock = accept_npm(attempt.question, lock, order.previously_wanted)
    return _explained(order, attempt, lock, source)


def _read(name: str, order: Order, reach: NodeGateways, *, remember: bool, now: datetime) -> Packument | None:
    """A package as its registry has it; where that does not say when versions came, with when they were first seen."""
    packument = reach.packuments.read(name, order.access)
    if packument is None or packument.uploaded or reach.sightings is None:
        return packument
    registry = order.access.url if order.access is not None else "npm"
    seen = reach.sightings.look(registry, {name: packument.versions}, now, remember=remember)
    return replace(packument, first_seen=seen[name])


def _withheld(order: Order, source: Source) -> tuple[HeldBack, ...]:
    there = versions_of(order.current).keys() & {held.package for held in order.held_back}
    packuments = {name: source.packument(name) for name in there}
    versions = {
        name: [(version, packument.came(version)) for version in packument.versions]
        for name, packument in packuments.items()
        if packument is not None
    }
    return withheld(order.held_back, versions)


def _with_fixes(order: Order, question: NodeQuestion, source: Source) -> NodeQuestion:
    """The question with each fix let in from the moment that it was there."""
    if order.definition.tables.update.security != "immediate":
        return question
    for name, fixes in question.fixes.items():
        packument = None if name in question.rules.still else source.packument(name)
        moments = [fix_cutoff(packument, fixed, question.rules, order.as_of) for fixed in fixes] if packument else []
        limit = max((moment for moment in moments if moment is not None), default=question.rules.cutoff)
        if limit > question.rules.cutoff:
            question = question.early(name, limit)
    return question


def _all(order: Order, attempt: _Attempt, npm: Npm, source: Source) -> NodeLock:
    """Everything moves that may; and what stands in the way of a fix, as far as that is bounded."""
    lock = _solve(order, attempt, npm, source)
    early = _early_parents(order, attempt.question, lock, source)
    if not early:
        return lock
    other = _Attempt(early)
    try:
        fixed = _solve(order, other, npm, source)
    except ResolutionFailed:
        return lock
    if len(unfixed(early, fixed)) < len(unfixed(attempt.question, lock)) and _bounded(early, fixed, source):
        attempt.question, attempt.left_out = other.question, other.left_out
        return fixed
    return lock


def _fixes_alone(order: Order, attempt: _Attempt, current: NodeLock, npm: Npm, source: Source) -> NodeLock:
    """Only the packages that have a fix move, and no more than it takes to let them."""
    question = attempt.question
    if not question.fixes:
        return current
    lock, problem = current, None
    for asked in _wider(order, question, current, source):
        other = _Attempt(asked)
        try:
            lock = _solve(order, other, npm, source)
        except ResolutionFailed as error:
            problem = error
            continue
        if not unfixed(asked, lock) and _bounded(asked, lock, source):
            attempt.question, attempt.left_out = other.question, other.left_out
            return lock
    why = "; ".join(held.why for held in why_unfixed(order, question, lock, source.seen)) or (
        f"the fix of {', '.join(question.fixes)} needs more than {_EXTENDED} other packages that are younger than the "
        "cooldown. The next check looks again"
    )
    raise ResolutionFailed(f"{question.variant}: nothing was changed: {why}") from problem


def _wider(order: Order, question: NodeQuestion, current: NodeLock, source: Source) -> Iterator[NodeQuestion]:
    """The packages with fixes alone; then those that need them as well; then those before their cooldown."""
    names = frozenset(question.fixes)
    yield replace(question, names=tuple(sorted(places_of(current, names))))
    wider = replace(question, names=tuple(sorted(places_of(current, names | dependents(current, names)))))
    yield wider
    if (early := _early_parents(order, wider, current, source)) is not None:
        yield early


def _early_parents(order: Order, question: NodeQuestion, lock: NodeLock, source: Source) -> NodeQuestion | None:
    """The question with what stands in the way of fixes let in early; None where that is nothing or not wanted."""
    if order.definition.tables.update.security != "immediate" or not unfixed(question, lock):
        return None
    _read_all({package_of(key) for key in lock.pins}, source)
    early = parents_with_fixes(question, lock, source.seen)
    for name, cutoff in early.items():
        question = question.early(name, cutoff)
    return question if early else None


def _bounded(question: NodeQuestion, lock: NodeLock, source: Source) -> bool:
    _read_all({package_of(key) for key in lock.pins}, source)
    return len(young_others(question, lock, source.seen)) <= _EXTENDED


def _solve(order: Order, attempt: _Attempt, npm: Npm, source: Source) -> NodeLock:
    """Ask npm, and ask again with fewer versions, until nothing is missing and nothing goes back."""
    for _ in range(_ROUNDS):
        question = attempt.question
        result = npm.resolve(question, source)
        if isinstance(result, Trouble):
            _give_way(order, attempt, result, source)
            continue
        words, blamed = setbacks(question, result)
        if not blamed:
            return result
        attempt.question = question.hiding(blamed)
        attempt.left_out |= dict.fromkeys(blamed, f"with it {', '.join(words[:3])} would go back")
    raise refused(attempt.question, f"after {_ROUNDS} attempts something that newer versions need is still missing")


def _give_way(order: Order, attempt: _Attempt, trouble: Trouble, source: Source) -> None:
    question = attempt.question
    wish = f"{trouble.package} {trouble.wanted}".strip()
    if trouble.package in question.direct and question.wants(trouble.package) == trouble.wanted:
        raise ResolutionFailed(no_version(order, question, trouble.package, source.seen.get(trouble.package)))
    late = question.rules.cutoffs.get(trouble.package, question.rules.cutoff) < order.as_of
    if late and attempt.extended < _EXTENDED and needed_by_a_fix(question, trouble, source.seen):
        attempt.question = question.early(trouble.package, order.as_of)
        attempt.extended += 1
        return
    hide = gives_way(question, trouble, source.seen)
    if not hide:
        raise ResolutionFailed(
            f"{question.variant}: no set of npm packages fits, nothing was changed. {plain(trouble.words)}"
        )
    attempt.question = question.hiding(hide)
    reason = f"it needs {wish}, of which nothing may be taken yet" if wish else "other packages of the layer exclude it"
    attempt.left_out |= dict.fromkeys(hide, reason)


def _explained(order: Order, attempt: _Attempt, lock: NodeLock, source: Source) -> Resolved:
    question = attempt.question
    names = {package_of(key) for locked in (lock, question.current) if locked for key in locked.pins}
    _read_all(names, source)
    dated = with_uploads(lock, {name: packument.uploaded for name, packument in source.seen.items()})
    return Resolved(
        ecosystem="npm",
        lock=dated,
        text=lock.render(),
        wanted=question.package_json.wanted,
        direct=question.direct,
        cutoff=question.rules.cutoff,
        changes=explained("npm", question.current, dated, question.direct, order.as_of),
        held=why_held(order, question, dated, source.seen, attempt.left_out),
        notes=tuple(_notes(order, attempt, dated, source)),
        universal=universal_modules(dated),
    )


def _notes(order: Order, attempt: _Attempt, lock: NodeLock, source: Source) -> Iterable[str]:
    question = attempt.question
    for name, version in young_others(question, lock, source.seen):
        yield f"{name} {version} was taken before its cooldown: the fix of {', '.join(question.fixes)} needs it."
    for name in sorted({package_of(key) for key in lock.pins} & source.missing):
        yield f"The npm registry has no {name} any more; what is locked stays as long as it can be had."
    undated = {name: packument for name, packument in source.seen.items() if not packument.uploaded}
    if undated and order.definition.tables.update.cooldown_days:
        remembered = all(packument.first_seen is not None for packument in undated.values())
        yield f"The npm registry does not say when versions of {', '.join(sorted(undated))} came: " + (
            "their cooldown counts from when Lamina first saw each version."
            if remembered
            else "their age cannot be judged, and what is locked stays; update.cooldown-days = 0 takes what is newer."
        )
    for name in sorted(question.direct & lock.pins.keys()):
        packument, version = source.seen.get(name), lock.pins[name].version
        notice = packument.versions.get(version, {}).get("deprecated") if packument else None
        if notice:
            yield f"{name} {version} is deprecated by its authors: {' '.join(str(notice).split())[:200]}"


def _read_all(names: Iterable[str], source: Source) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(source.packument, sorted(names)))
