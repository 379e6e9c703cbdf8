"""The explanation of a check: what moves and how far, what was held and why, for people and for later steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field

from lamina.lock import Lock, diff
from lamina.model import Advice, Change, Ecosystem, Model
from lamina.versions import kind_of_change

if TYPE_CHECKING:
    from lamina.resolution import Resolved

HeldKind: TypeAlias = Literal[
    "cooldown", "allow", "ignore", "held-back", "requirement", "conflict", "platform", "runtime", "withdrawn", "other"
]

_SHOWN = 4


class ExplainedChange(Model):
    """One package that moves. `kind` is the size of the step; `uploaded` is when the new version was.

    `age_days` is how many whole days that was before the moment whose index counted.
    """

    ecosystem: Ecosystem = "PyPI"
    package: str
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    direct: bool = False
    kind: Literal["patch", "minor", "major", "new", "removed"]
    uploaded: datetime | None = None
    age_days: int | None = None

    def change(self) -> Change:
        """The move alone."""
        return Change(ecosystem=self.ecosystem, package=self.package, from_=self.from_, to=self.to, direct=self.direct)


class Held(Model):
    """A version that exists and was not taken, or a package that stays where it is, and why.

    Attributes:
        kind: `cooldown`, `allow`, `ignore`, `held-back`, `requirement` (what the definition itself asks for),
            `conflict` (what other packages ask for), `platform`, `runtime`, `withdrawn`, or `other`.
        until: the moment from which the version may be taken, for `cooldown`.
        more: how many older versions are held for the same reason.
    """

    ecosystem: Ecosystem = "PyPI"
    package: str
    version: str
    kind: HeldKind = "other"
    why: str
    until: datetime | None = None
    more: int = 0


class Explanation(Model):
    """Why a variant's lock is what it is.

    Attributes:
        as_of: the moment whose package index counted.
        cutoff: releases uploaded from then on were too young to be taken.
        requirements: what the definition wanted, so that a later check can tell whether that changed.
        packages: the resulting lock, package to version.
        direct: packages that the definition itself requires.
        advice: the advisories that the current lock has, and what becomes of them.
        notes: what a reader should know of how the answer came about.
        sources: what it is built from beside packages, see `lamina.ingredients`.
        node_requirements, node_packages, node_direct: the same for npm.
    """

    variant: str
    run: str
    as_of: datetime
    cutoff: datetime
    requirements: tuple[str, ...]
    exclude: tuple[str, ...]
    direct: tuple[str, ...]
    packages: dict[str, str]
    node_requirements: tuple[str, ...] = ()
    node_direct: tuple[str, ...] = ()
    node_packages: dict[str, str] = {}
    changes: tuple[ExplainedChange, ...]
    held: tuple[Held, ...]
    advice: Advice = Advice()
    notes: tuple[str, ...] = ()
    sources: dict[str, str] = {}
    summary: str


def explained(
    ecosystem: Ecosystem, old: Lock | None, new: Lock, direct: Collection[str], as_of: datetime
) -> tuple[ExplainedChange, ...]:
    """What moves between two locks, by name.

    Args:
        old: the promoted release's lock; None before the first.
        direct: packages that the definition itself requires.
        as_of: the moment that ages are counted to.
    """
    return tuple(
        ExplainedChange(
            ecosystem=ecosystem,
            package=change.package,
            from_=change.from_,
            to=change.to,
            direct=change.direct,
            kind=_kind(ecosystem, change),
            uploaded=(uploaded := new.pins[change.package].uploaded if change.to is not None else None),
            age_days=None if uploaded is None else max((as_of - uploaded).days, 0),
        )
        for change in diff(old.packages if old else {}, new.packages, direct)
    )


def explain(
    variant: str,
    answers: Sequence[Resolved],
    advice: Advice,
    *,
    run: str,
    as_of: datetime,
    exclude: tuple[str, ...] = (),
    first: bool = False,
    sources: Mapping[str, str] | None = None,
    also: tuple[str, ...] = (),
) -> Explanation:
    """One explanation of what every package manager answered.

    Args:
        answers: one for each ecosystem that the definition has.
        advice: what was known of the current lock, settled against the new one.
        exclude: packages that were left to the runtime.
        first: whether there is no promoted release yet.
        sources: what it is built from beside packages.
        also: what changed beside packages, as phrases.
    """
    python = next((answer for answer in answers if answer.ecosystem == "PyPI"), None)
    node = next((answer for answer in answers if answer.ecosystem == "npm"), None)
    changes = tuple(change for answer in answers for change in answer.changes)
    return Explanation(
        variant=variant,
        run=run,
        as_of=as_of,
        cutoff=answers[0].cutoff if answers else as_of,
        requirements=python.wanted if python else (),
        exclude=exclude,
        direct=tuple(sorted(python.direct)) if python else (),
        packages=python.lock.packages if python else {},
        node_requirements=node.wanted if node else (),
        node_direct=tuple(sorted(node.direct)) if node else (),
        node_packages=node.lock.packages if node else {},
        changes=changes,
        held=tuple(held for answer in answers for held in answer.held),
        advice=advice,
        notes=tuple(note for answer in answers for note in answer.notes),
        sources=dict(sources or {}),
        summary=summarize(tuple(change.change() for change in changes), first=first, also=also),
    )


def in_words(explanation: Explanation, limit: int = 20) -> tuple[str, ...]:
    """The explanation in lines for a message: advisories first, then what moves, then what was not taken.

    Args:
        limit: the most lines of each kind; how many there are besides is said.
    """
    advice = explanation.advice
    return (
        *((f"  advisories unknown: {advice.unknown}",) if advice.unknown else ()),
        *_first(
            [
                f"  {finding.id} in {finding.package} {finding.version}: "
                + ("fixed by this update" if finding.resolved else f"remains, {finding.why}")
                for finding in advice.findings
            ],
            limit,
        ),
        *_first([_moved(change) for change in explanation.changes], limit),
        *_first([_left(held) for held in explanation.held], limit),
        *(f"  {note}" for note in explanation.notes),
    )


def _moved(change: ExplainedChange) -> str:
    facts = [change.kind, "asked for by the layer" if change.direct else "asked for by another package"]
    if change.uploaded is not None:
        facts.append(f"released {change.uploaded:%Y-%m-%d}, {change.age_days} days old")
    return f"  {_phrase(change.change())} ({', '.join(facts)})"


def _left(held: Held) -> str:
    older = f" and {held.more} older" if held.more else ""
    until = f"; it may be taken from {held.until:%Y-%m-%d %H:%M} UTC" if held.until else ""
    return f"  not taken: {held.package} {held.version}{older}: {held.why}{until}"


def _first(lines: list[str], limit: int) -> list[str]:
    more = len(lines) - limit
    return [*lines[:limit], *((f"  and {more} more",) if more > 0 else ())]


def summarize(changes: tuple[Change, ...], *, first: bool, also: tuple[str, ...] = ()) -> str:
    """One line on what changed, direct requirements first: it becomes part of the layer version's description.

    Args:
        also: what changed beside packages, as phrases.
    """
    if first and not changes:
        return "first release, without packages"
    if first:
        return f"first release, {len(changes)} package{'s' if len(changes) != 1 else ''}: " + _some(
            [f"{change.package} {change.to}" for change in _by_weight(changes)]
        )
    packages = (_some([_phrase(change) for change in _by_weight(changes)]),) if changes else ()
    return ", ".join((*packages, *also)) or "nothing new"


def _some(phrases: list[str]) -> str:
    more = len(phrases) - _SHOWN
    return ", ".join(phrases[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _by_weight(changes: tuple[Change, ...]) -> list[Change]:
    return sorted(changes, key=lambda change: (not change.direct, change.package))


def _phrase(change: Change) -> str:
    if change.from_ is None:
        return f"{change.package} {change.to} is new"
    return f"{change.package} {change.from_} " + ("is gone" if change.to is None else f"to {change.to}")


def _kind(ecosystem: Ecosystem, change: Change) -> Literal["patch", "minor", "major", "new", "removed"]:
    if change.from_ is None:
        return "new"
    return "removed" if change.to is None else kind_of_change(ecosystem, change.from_, change.to)
