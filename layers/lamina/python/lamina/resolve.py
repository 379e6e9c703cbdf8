"""Resolving: what is asked of the resolver, and what of its answers is accepted.

`basis` reads an order once; `ask` turns it and an `Approach` into a `Question`; `accept` refuses an answer that a
resolver may well give without an error, but that no update may bring: anything older, a package gone for no reason, a
pre-release or a withdrawn version that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from lamina import policy
from lamina.definition import python_source, python_target, requirements
from lamina.errors import ResolutionFailed
from lamina.lock import Lock, Pin
from lamina.model import HeldBack
from lamina.resolution import Access, Order
from lamina.runtimes import Target, target
from lamina.tables import UpdateTable


@dataclass(frozen=True)
class Basis:
    """An order as far as Python packages go, with every name normalized.

    Attributes:
        wanted: the definition's own requirements.
        direct: the packages of `wanted`.
        exclude: packages that are left to the runtime, with everything that only they need.
        from_source: packages that may be built from source.
        pins: the current lock without what is left to the runtime; empty before the first release.
        ignored: packages of the lock that policy never updates.
        exact: package of the layer to the version that was asked for by name.
        elsewhere: the same for packages that the layer does not have.
        cutoff: uploads from this moment on are too young.
    """

    variant: str
    target: Target
    wanted: tuple[Requirement, ...]
    direct: frozenset[str]
    exclude: tuple[str, ...]
    from_source: tuple[str, ...]
    pins: Mapping[str, Pin]
    ignored: frozenset[str]
    exact: Mapping[str, str]
    elsewhere: Mapping[str, str]
    rules: UpdateTable
    as_of: datetime
    cutoff: datetime
    held_back: tuple[HeldBack, ...]
    access: Access | None

    @property
    def specifiers(self) -> dict[str, SpecifierSet]:
        """What the definition itself asks of each of its packages."""
        found: dict[str, SpecifierSet] = {}
        for wish in self.wanted:
            name = canonicalize_name(wish.name)
            found[name] = found.get(name, SpecifierSet()) & wish.specifier
        return found

    @property
    def prereleases(self) -> frozenset[str]:
        """Packages that the definition wants with a pre-release in its conditions."""
        return frozenset(canonicalize_name(wish.name) for wish in self.wanted if wish.specifier.prereleases)

    def ceiling(self, name: str) -> str | None:
        """How far `update.allow` lets a package go; None for no limit."""
        pin = self.pins.get(name)
        return policy.ceiling(pin.version, self.rules.allow) if pin is not None and name in self.direct else None


@dataclass(frozen=True)
class Approach:
    """How a question is put, beside what the order says.

    Attributes:
        fixes: package to the condition that its fix puts on it, `==2.31.0` or `>=2.31.0`.
        at_once: packages that are taken without waiting for the cooldown.
        along: package to the young version that a fix needs.
        stay: packages that stay exactly where they are, such as withdrawn ones that nothing follows yet.
        keep: change no pin that need not change.
        hurry: let no package wait for its cooldown.
        unseen: package to versions that are left out, such as those that were first seen too short a time ago.
        timeless: packages that the index gives no upload times for.
        forced: packages that are built from source, since their newest version has no wheel.
    """

    fixes: Mapping[str, str] = field(default_factory=dict)
    at_once: frozenset[str] = frozenset()
    along: Mapping[str, str] = field(default_factory=dict)
    stay: frozenset[str] = frozenset()
    keep: bool = False
    hurry: bool = False
    unseen: Mapping[str, Collection[str]] = field(default_factory=dict)
    timeless: frozenset[str] = frozenset()
    forced: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Question:
    """What the resolver is asked.

    Attributes:
        asked: the definition's requirements, then fixes and exact versions.
        constraints: floors, ceilings and exclusions of versions.
        preferred: pins that stay unless something forces them to move.
        exclude: packages that are left to the runtime.
        forced: packages that are built from source; of all others wheels alone count.
        cutoff: uploads from this moment on do not count.
        cutoffs: packages with a cutoff of their own; None for one without upload times.
        prereleases, exact, wanted: what `accept` must know.
    """

    variant: str
    target: Target
    wanted: tuple[str, ...]
    asked: tuple[str, ...]
    constraints: tuple[str, ...]
    preferred: Mapping[str, str]
    exclude: tuple[str, ...]
    forced: tuple[str, ...]
    cutoff: datetime
    cutoffs: Mapping[str, datetime | None]
    prereleases: frozenset[str]
    exact: Mapping[str, str]
    access: Access | None = None


@dataclass(frozen=True)
class Answer:
    """What the resolver answered.

    Attributes:
        yanked: packages whose chosen version its authors have withdrawn.
        untimed: packages of which it left files out because the index does not say when they came.
    """

    lock: Lock
    yanked: frozenset[str] = frozenset()
    untimed: frozenset[str] = frozenset()


def basis(order: Order) -> Basis:
    """Read an order.

    Raises:
        DefinitionRefused: the variant has no Python packages.
        ResolutionFailed: an exact version that was asked for is older than what is there.
    """
    definition, variant = order.definition, order.variant
    source, rules = python_source(definition, variant), definition.tables.update
    wanted = requirements(definition, variant.environment)
    direct = frozenset(canonicalize_name(requirement.name) for requirement in wanted)
    exclude = tuple(sorted(canonicalize_name(name) for name in source.exclude))
    pins = {name: pin for name, pin in (order.current.pins if order.current else {}).items() if name not in exclude}
    exact = {name: version for name, version in order.packages.items() if name in direct or name in pins}
    for name, version in sorted(exact.items()):
        if name in pins and Version(version) < Version(pins[name].version):
            raise ResolutionFailed(
                f"{variant.variant}: {name} {version} was asked for, but the promoted release has "
                f"{pins[name].version}, and an update never goes back. To return to an older release, start the "
                "rollback state machine"
            )
    return Basis(
        variant=variant.variant,
        target=target(python_target(definition, variant)),
        wanted=wanted,
        direct=direct,
        exclude=exclude,
        from_source=tuple(sorted(canonicalize_name(name) for name in source.build_from_source)),
        pins=pins,
        ignored=frozenset(canonicalize_name(name) for name in rules.ignore) & pins.keys(),
        exact=exact,
        elsewhere={name: version for name, version in order.packages.items() if name not in exact},
        rules=rules,
        as_of=order.as_of,
        cutoff=policy.cutoff(order.as_of, rules.cooldown_days),
        held_back=order.held_back,
        access=order.access,
    )


def ask(basis: Basis, approach: Approach) -> Question:
    """What to ask the resolver."""
    pins = basis.pins
    moving = basis.exact.keys() | approach.fixes.keys() | approach.along.keys()
    young = policy.young(pins, basis.cutoff) - moving
    frozen = ((basis.ignored | young | approach.stay) & pins.keys()) - moving
    at_once = (set(basis.exact) | set(basis.elsewhere) | approach.at_once | approach.along.keys()) - frozen
    cutoffs: dict[str, datetime | None] = dict.fromkeys(at_once, basis.as_of)
    cutoffs |= {name: max(basis.as_of, _just_after(pins[name], basis.as_of)) for name in young}
    cutoffs |= dict.fromkeys(approach.timeless, None)
    return Question(
        variant=basis.variant,
        target=basis.target,
        wanted=tuple(str(requirement) for requirement in basis.wanted),
        asked=(
            *(str(requirement) for requirement in basis.wanted),
            *(f"{name}{condition}" for name, condition in sorted(approach.fixes.items())),
            *(f"{name}=={version}" for name, version in sorted(basis.exact.items())),
        ),
        constraints=(
            *policy.constraints(
                pins,
                direct=basis.direct,
                allow=basis.rules.allow,
                frozen=frozen,
                free=basis.exact.keys(),
                held_back=basis.held_back,
            ),
            *(f"{name}=={version}" for name, version in sorted((*basis.elsewhere.items(), *approach.along.items()))),
            *(
                f"{name}!={version}"
                for name, versions in sorted(approach.unseen.items())
                for version in sorted(versions)
                if name not in moving and (name not in pins or pins[name].version != version)
            ),
        ),
        preferred={name: pin.version for name, pin in pins.items()} if approach.keep else {},
        exclude=basis.exclude,
        forced=tuple(sorted(approach.forced)),
        cutoff=basis.as_of if approach.hurry else basis.cutoff,
        cutoffs={name: cutoffs[name] for name in sorted(cutoffs)},
        prereleases=basis.prereleases,
        exact=basis.exact,
        access=basis.access,
    )


def accept(
    question: Question,
    answer: Answer,
    current: Lock | None,
    previously_wanted: Collection[str] = (),
    unfinished: Collection[str] = (),
) -> Lock:
    """The answer's lock, if an update may bring it.

    Args:
        current: the promoted release's lock; None before the first release.
        previously_wanted: the requirements that the current lock was made from.
        unfinished: packages that have nothing but pre-releases, so that whoever asks for them asks for one.

    Raises:
        ResolutionFailed: naming the packages and what is wrong with them.
    """
    old = current.packages if current else {}
    new = answer.lock.packages
    moved = {name for name in new if old.get(name) != new[name]}
    older = [name for name in moved & old.keys() if Version(new[name]) < Version(old[name])]
    if older:
        raise _refused(question, "would go back", (f"{name} {old[name]} to {new[name]}" for name in sorted(older)))
    gone = old.keys() - new.keys() - set(question.exclude)
    if gone and not moved and set(previously_wanted) == set(question.wanted):
        raise _refused(question, "would vanish although nothing else moves", sorted(gone))
    asked = question.prereleases | question.exact.keys() | set(unfinished)
    early = [name for name in moved - asked if Version(new[name]).is_prerelease]
    if early:
        raise _refused(
            question,
            "would be a pre-release that nobody asked for (name the package with a pre-release in requirements to ask)",
            (f"{name} {new[name]}" for name in sorted(early)),
        )
    withdrawn = moved & answer.yanked
    if withdrawn:
        raise _refused(question, "was withdrawn by its authors", (f"{name} {new[name]}" for name in sorted(withdrawn)))
    return answer.lock


def _just_after(pin: Pin, otherwise: datetime) -> datetime:
    return otherwise if pin.uploaded is None else pin.uploaded + timedelta(seconds=1)


def _refused(question: Question, problem: str, packages: Iterable[str]) -> ResolutionFailed:
    return ResolutionFailed(
        f"{question.variant}: refused what the resolver found, nothing was changed: {', '.join(packages)} {problem}"
    )
