"""Resolving one variant with every package manager that it needs: what it is on, what is asked, what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from packaging.utils import canonicalize_name

from lamina.advice import fixes, settle
from lamina.advisory import affecting
from lamina.definition import Definition, needs_nodejs, needs_python
from lamina.explain import Explanation, explain
from lamina.ingredients import ingredients
from lamina.lock import Lock
from lamina.model import Advice, Advisory, Ecosystem, HeldBack, Variant
from lamina.resolution import Access, Order, Resolved
from lamina.steps.resolve_nodejs import NodeGateways, resolve_nodejs
from lamina.steps.resolve_python import PythonGateways, resolve_python
from lamina.tables import IndexTable, RegistryTable


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
    """A variant's locks, explained; `fixes` are the advisories that were to be fixed."""

    explanation: Explanation
    python: Resolved | None
    nodejs: Resolved | None
    fixes: tuple[Advisory, ...] = ()


def check_variant(
    variant: Variant,
    definition: Definition,
    current: Current,
    order: CheckOrder,
    sources: Sources,
    also: tuple[str, ...] = (),
) -> Outcome:
    """What an update would do to one variant, and why.

    Args:
        current: what the variant is on.
        also: what changed beside packages, as phrases.

    Raises:
        DefinitionRefused: the definition has nothing for this variant.
        ResolutionFailed: nothing acceptable was found.
        IndexUnavailable: a package index could not be asked.
    """
    pins = _pins(current.python, current.nodejs)
    before = sources.advisories.look_up(pins, order.as_of)
    wanted = fixes(before, affecting(order.advisories, pins), only_named=order.security)
    python, nodejs = resolve_variant(variant, definition, current, order, sources, wanted)
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
    tables = definition.tables
    explanation = explain(
        variant.variant,
        answers,
        settle(before, after, {answer.ecosystem: answer.lock.packages for answer in answers}, held),
        run=order.run,
        as_of=order.as_of,
        exclude=tuple(sorted(canonicalize_name(name) for name in tables.python.exclude)) if tables.python else (),
        first=current == Current(),
        sources=ingredients(definition),
        also=also,
    )
    return Outcome(explanation=explanation, python=python, nodejs=nodejs, fixes=wanted)


def resolve_variant(
    variant: Variant,
    definition: Definition,
    current: Current,
    order: CheckOrder,
    sources: Sources,
    wanted: tuple[Advisory, ...],
) -> tuple[Resolved | None, Resolved | None]:
    """The variant's packages for Python and for Node.js, as far as it has any.

    Args:
        wanted: advisories that are to be fixed.

    Raises:
        See `check_variant`.
    """
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
    return python, nodejs


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
