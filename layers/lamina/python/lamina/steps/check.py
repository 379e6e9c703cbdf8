"""Check: what is new for one variant and what policy takes of it; writes the lock and its explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from packaging.utils import canonicalize_name
from pydantic import Field

from lamina.advice import fixes, settle
from lamina.advisory import affecting
from lamina.definition import Definition, needs_nodejs, needs_python
from lamina.errors import ResolutionFailed
from lamina.explain import Explanation, explain
from lamina.lock import Lock, parse_lock
from lamina.model import Advice, Advisory, Change, Ecosystem, HeldBack, LayerVersion, Model, ObjectKey, Release, Variant
from lamina.npmlock import parse_npm_lock
from lamina.resolution import Access, Order, Resolved
from lamina.steps.resolve_nodejs import NodeGateways, resolve_nodejs
from lamina.steps.resolve_python import PythonGateways, resolve_python
from lamina.tables import IndexTable, RegistryTable

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
    """

    outcome: Literal["changed", "up_to_date"]
    lock: ObjectKey
    node_lock: ObjectKey | None
    explanation: ObjectKey
    changes: tuple[Change, ...]
    summary: str
    current: LayerVersion | None


class LooksUp(Protocol):
    """An advisory database."""

    def look_up(self, pins: Mapping[Ecosystem, Mapping[str, str]], as_of: datetime) -> Advice:
        """What is known of these packages and versions as of a moment."""


class Opens(Protocol):
    """Whoever has the credentials of private indexes."""

    def of(self, table: IndexTable | RegistryTable, variant: Variant) -> Access:
        """How to reach a definition's own index."""


@dataclass(frozen=True)
class Current:
    """What a variant is on now: locks and what they were made from; all empty before the first release."""

    python: Lock | None = None
    nodejs: Lock | None = None
    wanted: tuple[str, ...] = ()
    node_wanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckOrder:
    """What a check is asked for.

    Attributes:
        as_of: the moment whose package index counts (aware UTC).
        now: the moment of the check.
        packages: name to the exact version to take, whatever the policy says but never a downgrade.
        advisories: what made the update necessary.
        security: change nothing but what `advisories` are about, as far as that is possible.
        dry_run: leave no trace.
        held_back: versions that broke functions before.
    """

    run: str
    as_of: datetime
    now: datetime
    packages: Mapping[str, str] = field(default_factory=dict)
    advisories: tuple[Advisory, ...] = ()
    security: bool = False
    dry_run: bool = False
    held_back: tuple[HeldBack, ...] = ()


@dataclass(frozen=True)
class Sources:
    """Where packages and what is known of them come from."""

    python: PythonGateways
    nodejs: NodeGateways
    advisories: LooksUp
    credentials: Opens


@dataclass(frozen=True)
class Outcome:
    """A variant's locks, explained."""

    explanation: Explanation
    python: Resolved | None
    nodejs: Resolved | None


@dataclass(frozen=True)
class Gateways:
    """What Check reaches."""

    sources: Sources
    layers: Layers
    store: Store


def run(event: CheckEvent, definition: Definition, reach: Gateways) -> Checked:
    """Resolve the variant as of the event's moment and compare the result with the promoted release.

    Raises:
        DefinitionRefused: the definition has nothing for this variant.
        ResolutionFailed: nothing acceptable was found.
        IndexUnavailable: a package index could not be asked.
    """
    name = event.variant.variant
    state = reach.layers.state(name)
    promoted = None if state.promoted is None else reach.layers.release(name, state.promoted)
    order = CheckOrder(
        run=event.run,
        as_of=event.as_of,
        now=event.now,
        packages=event.packages,
        advisories=event.advisories,
        security=event.security,
        dry_run=event.dry_run,
        held_back=state.held_back,
    )
    found = check_variant(
        event.variant, definition, _current(promoted, event.variant.architecture, reach.store), order, reach.sources
    )
    explained = found.explanation
    changed = bool(explained.changes) or event.force or promoted is None
    lock, node_lock = (
        _write_locks(name, event.run, found, reach.store)
        if changed or promoted is None
        else (promoted.lock, promoted.node_lock)
    )
    return Checked(
        outcome="changed" if changed else "up_to_date",
        lock=lock,
        node_lock=node_lock,
        explanation=reach.store.write_json(f"explanations/{name}/{event.run}.json", explained.to_json()),
        changes=tuple(change.change() for change in explained.changes),
        summary=explained.summary,
        current=promoted and LayerVersion(version=promoted.version, arn=promoted.arn, digest=promoted.digest),
    )


def check_variant(
    variant: Variant, definition: Definition, current: Current, order: CheckOrder, sources: Sources
) -> Outcome:
    """What an update would do to one variant, and why.

    Args:
        current: what the variant is on.

    Raises:
        DefinitionRefused: the definition has nothing for this variant.
        ResolutionFailed: nothing acceptable was found.
        IndexUnavailable: a package index could not be asked.
    """
    pins = _pins(current.python, current.nodejs)
    before = sources.advisories.look_up(pins, order.as_of)
    wanted = fixes(before, affecting(order.advisories, pins), only_named=order.security)
    tables = definition.tables
    asked = _Asked(variant, definition, order, wanted)
    python = nodejs = None
    if needs_python(definition, variant) and tables.python is not None:
        index = tables.python.index
        access = None if index is None else sources.credentials.of(index, variant)
        exact: dict[str, str] = {canonicalize_name(name): version for name, version in order.packages.items()}
        python = resolve_python(
            asked.of("PyPI", current.python, current.wanted, exact, access),
            sources.python,
            dry_run=order.dry_run,
            now=order.now,
        )
    if needs_nodejs(definition, variant) and tables.nodejs is not None:
        registry = tables.nodejs.registry
        access = None if registry is None else sources.credentials.of(registry, variant)
        nodejs = resolve_nodejs(
            asked.of("npm", current.nodejs, current.node_wanted, dict(order.packages), access),
            sources.nodejs,
            dry_run=order.dry_run,
            now=order.now,
        )
    answers = [answer for answer in (python, nodejs) if answer is not None]
    changes = tuple(change for answer in answers for change in answer.changes)
    moved = {(change.ecosystem, change.package) for change in changes}
    after = sources.advisories.look_up(
        {
            answer.ecosystem: {
                name: version for name, version in answer.lock.packages.items() if (answer.ecosystem, name) in moved
            }
            for answer in answers
        },
        order.as_of,
    )
    held = tuple(entry for answer in answers for entry in answer.held)
    explanation = explain(
        variant.variant,
        answers,
        settle(before, after, {answer.ecosystem: answer.lock.packages for answer in answers}, held),
        run=order.run,
        as_of=order.as_of,
        exclude=tuple(sorted(canonicalize_name(name) for name in tables.python.exclude)) if tables.python else (),
        first=current == Current(),
    )
    return Outcome(explanation=explanation, python=python, nodejs=nodejs)


def _pins(python: Lock | None, nodejs: Lock | None) -> dict[Ecosystem, dict[str, str]]:
    pins: dict[Ecosystem, dict[str, str]] = {}
    if python is not None:
        pins["PyPI"] = python.packages
    if nodejs is not None:
        pins["npm"] = nodejs.packages
    return pins


@dataclass(frozen=True)
class _Asked:
    """What is wanted of every ecosystem."""

    variant: Variant
    definition: Definition
    order: CheckOrder
    fixes: tuple[Advisory, ...]

    def of(
        self,
        ecosystem: Ecosystem,
        current: Lock | None,
        previously_wanted: tuple[str, ...],
        packages: dict[str, str],
        access: Access | None,
    ) -> Order:
        """What is wanted of one."""
        return Order(
            definition=self.definition,
            variant=self.variant,
            current=current,
            as_of=self.order.as_of,
            previously_wanted=previously_wanted,
            packages=packages,
            fixes=tuple(fix for fix in self.fixes if fix.ecosystem == ecosystem),
            security=self.order.security,
            held_back=tuple(held for held in self.order.held_back if held.ecosystem == ecosystem),
            access=access,
        )


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
