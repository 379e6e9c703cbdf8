"""The explanation of a check: what moves and how far, what was held and why, for people and for later steps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field

from lamina.lock import Lock, diff
from lamina.model import Change, Model
from lamina.policy import kind_of_change
from lamina.resolve import Held, Question

_SHOWN = 4


class ExplainedChange(Model):
    """One package that moves. `kind` is the size of the step; `uploaded` is when the new version was."""

    package: str
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    direct: bool = False
    kind: Literal["patch", "minor", "major", "new", "removed"]
    uploaded: datetime | None = None

    def change(self) -> Change:
        """The move alone."""
        return Change(package=self.package, from_=self.from_, to=self.to, direct=self.direct)


class HeldPackage(Model):
    """A package or version that the update leaves alone, and why."""

    package: str
    version: str
    why: str


class Explanation(Model):
    """Why a variant's lock is what it is.

    Attributes:
        as_of: the moment whose package index counted.
        cutoff: releases uploaded from then on were too young to be taken.
        requirements: what the definition wanted, so that a later check can tell whether that changed.
        packages: the resulting lock, package to version.
        direct: packages that the definition itself requires.
    """

    variant: str
    run: str
    as_of: datetime
    cutoff: datetime
    requirements: tuple[str, ...]
    exclude: tuple[str, ...]
    direct: tuple[str, ...]
    packages: dict[str, str]
    changes: tuple[ExplainedChange, ...]
    held: tuple[HeldPackage, ...]
    summary: str


def explain(
    question: Question, lock: Lock, current: Mapping[str, str] | None, *, run: str, as_of: datetime
) -> Explanation:
    """Explain a lock.

    Args:
        question: what the resolver was asked.
        lock: the accepted answer.
        current: the promoted release's packages; None before the first release.
    """
    changes = tuple(
        ExplainedChange(
            package=change.package,
            from_=change.from_,
            to=change.to,
            direct=change.direct,
            kind=_kind(change),
            uploaded=lock.pins[change.package].uploaded if change.package in lock.pins else None,
        )
        for change in diff(current or {}, lock.packages, question.direct)
    )
    return Explanation(
        variant=question.variant,
        run=run,
        as_of=as_of,
        cutoff=question.cutoff,
        requirements=question.wanted,
        exclude=question.exclude,
        direct=tuple(sorted(question.direct)),
        packages=lock.packages,
        changes=changes,
        held=tuple(_held(held) for held in question.held),
        summary=summarize(tuple(change.change() for change in changes), first=current is None),
    )


def summarize(changes: tuple[Change, ...], *, first: bool) -> str:
    """One line on what changed, direct requirements first: it becomes part of the layer version's description."""
    if first:
        return f"first release, {len(changes)} package{'s' if len(changes) != 1 else ''}: " + _some(
            [f"{change.package} {change.to}" for change in _by_weight(changes)]
        )
    return _some([_phrase(change) for change in _by_weight(changes)]) if changes else "nothing new"


def _some(phrases: list[str]) -> str:
    more = len(phrases) - _SHOWN
    return ", ".join(phrases[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _by_weight(changes: tuple[Change, ...]) -> list[Change]:
    return sorted(changes, key=lambda change: (not change.direct, change.package))


def _phrase(change: Change) -> str:
    if change.from_ is None:
        return f"{change.package} {change.to} is new"
    return f"{change.package} {change.from_} " + ("is gone" if change.to is None else f"to {change.to}")


def _kind(change: Change) -> Literal["patch", "minor", "major", "new", "removed"]:
    if change.from_ is None:
        return "new"
    return "removed" if change.to is None else kind_of_change(change.from_, change.to)


def _held(held: Held) -> HeldPackage:
    return HeldPackage(package=held.package, version=held.version, why=held.why)
