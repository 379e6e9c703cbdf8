"""Check: what is new for one variant and what policy takes of it; writes the lock and its explanation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lamina.definition import Definition
from lamina.errors import ResolutionFailed
from lamina.explain import Explanation
from lamina.ingredients import ingredients, moved
from lamina.lock import parse_lock
from lamina.model import Advice, Advisory, Change, Coverage, LayerVersion, Model, ObjectKey, Release, Variant
from lamina.npmlock import parse_npm_lock
from lamina.sharing import coverage, in_words
from lamina.steps.circle import Circle, find_circle, together
from lamina.steps.resolving import CheckOrder, Current, Outcome, Sources, check_variant, resolve_variant

if TYPE_CHECKING:
    from lamina.gateways.registry import Layers
    from lamina.gateways.store import Store


class CheckEvent(Model):
    """What the update state machine hands to Check, all but `variant` and `now` as Plan returned it."""

    run: str
    variant: Variant
    as_of: datetime
    now: datetime
    force: bool = False
    dry_run: bool = False
    security: bool = False
    packages: dict[str, str] = Field(default_factory=dict)
    advisories: tuple[Advisory, ...] = ()


class Checked(Model):
    """What was found.

    Attributes:
        lock: key of the lock of the Python packages; the promoted release's own where nothing changed.
        node_lock: key of the lock of the npm packages; None for a layer without any.
        explanation: key of the explanation, written whatever the outcome.
        summary: one line on what changed.
        current: the promoted release, None before the first.
        coverage: which functions a release of these locks is for.
    """

    outcome: Literal["changed", "up_to_date"]
    lock: ObjectKey
    node_lock: ObjectKey | None
    explanation: ObjectKey
    changes: tuple[Change, ...]
    summary: str
    current: LayerVersion | None
    coverage: Coverage


@dataclass(frozen=True)
class Gateways:
    """What Check reaches."""

    sources: Sources
    layers: Layers
    store: Store


def run(event: CheckEvent, definition: Definition, reach: Gateways) -> Checked:
    """Resolve the variant as of the event's moment and compare the result with the promoted release.

    A variant for which another variant's release does publishes nothing: it is up to date, and says whose it is.

    Raises:
        DefinitionRefused: the definition has nothing for this variant.
        ResolutionFailed: nothing acceptable was found.
        IndexUnavailable: a package index could not be asked.
    """
    variant = event.variant
    state = reach.layers.state(variant.variant)
    circle = find_circle(variant, definition, state, reach.layers)
    # What its functions have: its own release, or the one that it shares.
    release = circle.release
    promoted = release if state.promoted is not None else None
    order = CheckOrder(
        run=event.run,
        as_of=event.as_of,
        now=event.now,
        packages=event.packages,
        advisories=event.advisories,
        security=event.security,
        dry_run=event.dry_run,
        held_back=circle.held_back,
    )
    also = () if release is None else moved(release.sources, ingredients(definition))
    current = _current(release, variant.architecture, reach.store)
    found = check_variant(variant, definition, current, order, reach.sources, also)
    changed = bool(found.explanation.changes) or event.force or promoted is None
    if not changed and also and not event.security:
        tried = _tried(promoted, found.explanation, reach.layers)
        changed = tried is None
        found = found if tried is None else _not_again(found, tried)
    group: tuple[Variant, ...] = (variant,)
    if changed:
        group = together(
            variant,
            circle,
            definition,
            (found.python, found.nodejs),
            lambda one: resolve_variant(one, definition, current, order, reach.sources, found.fixes),
        )
    leader = circle.leader if circle.leader is not None and circle.leader in group else group[0]
    covered = coverage(group, leader, _replaced(variant, circle))
    if leader != variant:
        found, changed = _followed(found, leader, covered), False
    elif changed:
        found = _named(found, covered, release, first=promoted is None)
    lock, node_lock = (
        (release.lock, release.node_lock)
        if release is not None and not changed
        else _write_locks(variant.variant, event.run, found, reach.store)
    )
    explained = found.explanation
    return Checked(
        outcome="changed" if changed else "up_to_date",
        lock=lock,
        node_lock=node_lock,
        explanation=reach.store.write_json(f"explanations/{variant.variant}/{event.run}.json", explained.to_json()),
        changes=tuple(change.change() for change in explained.changes),
        summary=explained.summary,
        current=promoted and LayerVersion(version=promoted.version, arn=promoted.arn, digest=promoted.digest),
        coverage=covered,
    )


def _tried(promoted: Release | None, found: Explanation, layers: Layers) -> Release | None:
    """A release of just this after the promoted one that came to nothing: trying it daily would do harm daily."""
    if promoted is None:
        return None
    return next(
        (
            release
            for release in reversed(layers.releases(promoted.variant))
            if release.version > promoted.version
            and release.status in ("rejected", "rolled_back")
            and release.sources == found.sources
            and (release.packages, release.node_packages) == (found.packages, found.node_packages)
        ),
        None,
    )


def _not_again(found: Outcome, tried: Release) -> Outcome:
    how = "rejected" if tried.status == "rejected" else "rolled back"
    said = (
        f"{found.explanation.summary}; version {tried.version}, which was built of the same, was {how} and is not "
        "tried again: change them, or update with force"
    )
    return _explained(found, summary=said)


def _replaced(variant: Variant, circle: Circle) -> tuple[str, ...]:
    """The layers of others that the variant's functions may have: from a time when it had none of its own."""
    if circle.left:
        return (circle.left,)
    if circle.leader is None or circle.release is None:
        return ()
    return circle.release.replaces if circle.leader == variant else (circle.leader.variant,)


def _followed(found: Outcome, leader: Variant, covered: Coverage) -> Outcome:
    """The outcome of a variant without a layer of its own; what changes is told where it is published."""
    said = f"pure: published as {leader.variant}, for {in_words(covered)}"
    note = f"What changes, what was held and which advisories there are is told of {leader.variant}."
    return _explained(found, summary=said, changes=(), held=(), advice=Advice(), notes=(note,))


def _named(found: Outcome, covered: Coverage, before: Release | None, *, first: bool) -> Outcome:
    """The outcome of a variant that publishes, with what it has to do with other variants.

    Args:
        before: the release that its functions have, which may be another variant's.
        first: whether it has no release of its own yet.
    """
    summary, notes = found.explanation.summary, list(found.explanation.notes)
    if first and covered.replaces:
        summary = f"a layer of its own, no longer that of {covered.replaces[0]}: {summary}"
    if covered.shared_by:
        notes.append(
            f"It is pure, and published once for {in_words(covered)}: {', '.join(covered.shared_by)} would be the same "
            "and publishes nothing."
        )
    gone = [] if first or before is None else [name for name in before.shared_by if name not in covered.shared_by]
    if gone:
        notes.append(f"It is not for {', '.join(gone)} any more, which gets a layer of its own.")
    return _explained(found, summary=summary, notes=tuple(notes))


def _explained(found: Outcome, **said: object) -> Outcome:
    return replace(found, explanation=found.explanation.model_copy(update=said))


def _write_locks(name: str, run: str, found: Outcome, store: Store) -> tuple[ObjectKey, ObjectKey | None]:
    python = store.write_text(f"locks/{name}/{run}.txt", found.python.text if found.python else "")
    if found.nodejs is None:
        return python, None
    return python, store.write_text(f"locks/{name}/{run}.package-lock.json", found.nodejs.text, "application/json")


def _current(promoted: Release | None, architecture: str, store: Store) -> Current:
    if promoted is None:
        return Current()
    explanation = store.read_json(promoted.explanation)
    before = None if explanation is None else Explanation.model_validate(explanation)
    node = (
        None if promoted.node_lock is None else parse_npm_lock(_lock(promoted, promoted.node_lock, store), architecture)
    )
    return Current(
        python=parse_lock(_lock(promoted, promoted.lock, store)),
        nodejs=node,
        wanted=before.requirements if before else (),
        node_wanted=before.node_requirements if before else (),
    )


def _lock(promoted: Release, key: ObjectKey, store: Store) -> str:
    text = store.read_text(key)
    if text is None:
        raise ResolutionFailed(
            f"{promoted.variant}: the lock of the promoted release {promoted.version} is gone from the artifacts "
            f"bucket ({key}), so an update could not be told from a downgrade; nothing was changed. "
            "Restore that object from the bucket's versions"
        )
    return text
