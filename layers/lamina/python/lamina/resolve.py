"""Resolving: what is asked of the resolver, and what of its answers is accepted.

`ask` turns definition, policy and current lock into a `Question`; `command` into uv's command line; a gateway runs
it; `accept` refuses an answer that a resolver may well give without an error, but that no update may bring: anything
older, a package gone for no reason, a pre-release or a withdrawn version that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from lamina import policy
from lamina.definition import Definition, python_source, requirements
from lamina.errors import ResolutionFailed
from lamina.lock import Lock, Pin
from lamina.model import Advisory, HeldBack, Variant
from lamina.runtimes import Target, target

REQUIREMENTS, CONSTRAINTS, EXCLUDES, OUTPUT = "layer.in", "floor.txt", "exclude.txt", "pylock.toml"


@dataclass(frozen=True)
class Held:
    """A package that an update leaves where it is, or a version that it does not offer, and why."""

    package: str
    version: str
    why: str


@dataclass(frozen=True)
class Question:
    """What the resolver is asked.

    Attributes:
        wanted: the definition's own requirements, as it writes them.
        asked: `wanted`, then fixes and exact versions.
        constraints: floors, ceilings and exclusions of versions.
        exclude: packages that are left to the runtime, with everything that only they need.
        from_source: packages that may be built from source.
        cutoff: uploads from this moment on do not count.
        prereleases: packages that the definition wants with a pre-release in its conditions.
        cutoffs: packages with a cutoff of their own.
        direct: normalized names of `wanted`.
        exact: package to the version that was asked for by name.
        held: what is held by name, for the explanation.
    """

    variant: str
    target: Target
    wanted: tuple[str, ...]
    asked: tuple[str, ...]
    constraints: tuple[str, ...]
    exclude: tuple[str, ...]
    from_source: tuple[str, ...]
    cutoff: datetime
    cutoffs: Mapping[str, datetime]
    direct: frozenset[str]
    prereleases: frozenset[str]
    exact: Mapping[str, str]
    held: tuple[Held, ...]

    def files(self) -> dict[str, str]:
        """The files that `command` names, by name."""
        return {
            REQUIREMENTS: "".join(f"{line}\n" for line in self.asked),
            CONSTRAINTS: "".join(f"{line}\n" for line in self.constraints),
            EXCLUDES: "".join(f"{name}\n" for name in self.exclude),
        }


@dataclass(frozen=True)
class Answer:
    """What the resolver answered: a lock, and packages whose chosen version its authors have withdrawn (yanked)."""

    lock: Lock
    yanked: frozenset[str] = frozenset()


def ask(
    definition: Definition,
    variant: Variant,
    current: Lock | None,
    *,
    as_of: datetime,
    packages: Mapping[str, str],
    advisories: Sequence[Advisory],
    held_back: Sequence[HeldBack],
) -> Question:
    """What to ask the resolver for an update of one variant.

    Args:
        current: the promoted release's lock; None before the first release.
        as_of: the moment whose package index counts.
        packages: normalized name to the exact version to take, whatever the policy says but never a downgrade.
        advisories: fixes to take; with `security = "immediate"` without waiting for the cooldown.
        held_back: versions that broke functions before.

    Raises:
        DefinitionRefused: the variant has a source that this version of Lamina cannot build.
        ResolutionFailed: what is asked for contradicts itself or the policy.
    """
    source, rules = python_source(definition, variant), definition.tables.update
    wanted = requirements(definition, variant.environment)
    direct = frozenset(canonicalize_name(requirement.name) for requirement in wanted)
    exclude = tuple(sorted(canonicalize_name(name) for name in source.exclude))
    pins = {name: pin for name, pin in (current.pins if current else {}).items() if name not in exclude}
    ignored = frozenset(canonicalize_name(name) for name in rules.ignore) & pins.keys()
    exact = {name: version for name, version in packages.items() if name in direct or name in pins}
    elsewhere = {name: version for name, version in packages.items() if name not in exact}
    _no_older(variant, pins, exact)
    fixes = {
        advisory.package: advisory
        for advisory in advisories
        if advisory.fixed is not None
        and advisory.package in pins
        and advisory.package not in exact
        and Version(pins[advisory.package].version) < Version(advisory.fixed)
    }
    blocked = {name: fixes.pop(name) for name in sorted(fixes.keys() & ignored)}
    _within_allow(variant, pins, fixes, direct, rules.allow)
    limit = policy.cutoff(as_of, rules.cooldown_days)
    young = policy.young(pins, limit) - exact.keys() - fixes.keys()
    at_once = set(packages) | young | (set(fixes) if rules.security == "immediate" else set())
    return Question(
        variant=variant.variant,
        target=target(variant),
        wanted=tuple(str(requirement) for requirement in wanted),
        asked=(
            *(str(requirement) for requirement in wanted),
            *(f"{name}>={fixes[name].fixed}" for name in sorted(fixes)),
            *(f"{name}=={exact[name]}" for name in sorted(exact)),
        ),
        constraints=(
            *policy.constraints(
                pins,
                direct=direct,
                allow=rules.allow,
                frozen=(ignored - exact.keys()) | young,
                free=exact.keys(),
                held_back=held_back,
            ),
            *(f"{name}=={elsewhere[name]}" for name in sorted(elsewhere)),
        ),
        exclude=exclude,
        from_source=tuple(sorted(canonicalize_name(name) for name in source.build_from_source)),
        cutoff=limit,
        cutoffs=dict.fromkeys(sorted(at_once), as_of),
        direct=direct,
        prereleases=frozenset(canonicalize_name(wish.name) for wish in wanted if wish.specifier.prereleases),
        exact=exact,
        held=(
            *(Held(name, pins[name].version, "ignored by update.ignore in layer.toml") for name in sorted(ignored)),
            *(
                Held(name, str(fix.fixed), f"fixes {fix.id}, but update.ignore in layer.toml keeps {name} where it is")
                for name, fix in blocked.items()
            ),
            *(
                Held(held.package, held.version, f"held back since {held.since:%Y-%m-%d}: {held.reason}")
                for held in sorted(held_back, key=lambda held: (held.package, Version(held.version)))
            ),
            *(
                Held(name, pins[name].version, "its pin is younger than the cooldown, so that nothing newer is due")
                for name in sorted(young)
            ),
            *(
                Held(name, version, "asked for exactly, but not a package of the promoted release")
                for name, version in sorted(elsewhere.items())
                if pins
            ),
        ),
    )


def command(question: Question, uv: str, python: str) -> tuple[str, ...]:
    """The command that answers the question, run in a folder that holds `question.files()`.

    Args:
        uv: path of the uv binary.
        python: path of an interpreter; it need not be the target's, since markers follow the target.
    """
    options = [
        *("--python", python),
        *("--python-version", question.target.python),
        *("--python-platform", question.target.platform),
        *("--only-binary", ":all:"),
        *(part for name in question.from_source for part in ("--no-binary", name)),
        *("--constraints", CONSTRAINTS),
        *("--excludes", EXCLUDES),
        *("--exclude-newer", _rfc3339(question.cutoff)),
        *(
            part
            for name, moment in question.cutoffs.items()
            for part in ("--exclude-newer-package", f"{name}={_rfc3339(moment)}")
        ),
        *("--format", "pylock.toml"),
        *("--no-header", "--no-progress", "--color", "never"),
        *("--output-file", OUTPUT),
    ]
    return (uv, "pip", "compile", REQUIREMENTS, *options)


def accept(question: Question, answer: Answer, current: Lock | None, previously_wanted: Collection[str] = ()) -> Lock:
    """The answer's lock, if an update may bring it.

    Args:
        current: the promoted release's lock; None before the first release.
        previously_wanted: the requirements that the current lock was made from.

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
    asked = question.prereleases | question.exact.keys()
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


def _no_older(variant: Variant, pins: Mapping[str, Pin], exact: Mapping[str, str]) -> None:
    for name, version in sorted(exact.items()):
        if name in pins and Version(version) < Version(pins[name].version):
            raise ResolutionFailed(
                f"{variant.variant}: {name} {version} was asked for, but the promoted release has "
                f"{pins[name].version}, and an update never goes back. To return to an older release, start the "
                "rollback state machine"
            )


def _within_allow(
    variant: Variant,
    pins: Mapping[str, Pin],
    fixes: Mapping[str, Advisory],
    direct: Collection[str],
    allow: policy.Kind,
) -> None:
    for name, fix in sorted(fixes.items()):
        limit = policy.ceiling(pins[name].version, allow) if name in direct else None
        if limit is not None and fix.fixed is not None and Version(fix.fixed) not in SpecifierSet(limit, True):
            raise ResolutionFailed(
                f"{variant.variant}: {fix.id} is fixed in {name} {fix.fixed}, but update.allow = {allow!r} keeps it "
                f"{limit} from {pins[name].version}; allow a larger step in layer.toml, or start an update with "
                f'"packages": {{"{name}": "{fix.fixed}"}}'
            )


def _refused(question: Question, problem: str, packages: Iterable[str]) -> ResolutionFailed:
    return ResolutionFailed(
        f"{question.variant}: refused what the resolver found, nothing was changed: {', '.join(packages)} {problem}"
    )


def _rfc3339(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z"
