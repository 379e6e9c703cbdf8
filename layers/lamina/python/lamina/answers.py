"""The resolver's answers to one order: asked in one way after the other until one of them may be taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from packaging.version import Version

from lamina.errors import ResolutionFailed
from lamina.explain import Held
from lamina.fixing import Fix
from lamina.lock import Lock
from lamina.resolution import Order
from lamina.resolve import Answer, Approach, Basis, Question, accept, ask

ALONG = 3
"""How many young packages a fix may bring along before their cooldown, beside its own."""

_ROUNDS = 16
"""How often a question is put again because the answer shows packages without upload times; each finds some more."""


class Resolves(Protocol):
    """A resolver."""

    def resolve(self, question: Question) -> Answer:
        """The newest set of packages that fits."""


Learn = Callable[[frozenset[str]], Mapping[str, frozenset[str]]]
"""Packages without upload times to their versions that were first seen too short a time ago."""


@dataclass(frozen=True)
class Found:
    """A lock that may be taken, with what was left out and how it came about."""

    lock: Lock
    held: tuple[Held, ...] = ()
    notes: tuple[str, ...] = ()


class Answers:
    """Asks for one order.

    Args:
        approach: what holds for every question.
        learn: what to leave out of packages that have no upload times.
        has_wheel: whether a package's version has a wheel for the target.
        unfinished: which of some packages have nothing but pre-releases.
        withdrawn: packages whose current version its authors have withdrawn.
    """

    def __init__(
        self,
        order: Order,
        basis: Basis,
        resolver: Resolves,
        *,
        approach: Approach,
        learn: Learn,
        has_wheel: Callable[[str, str], bool],
        unfinished: Callable[[Collection[str]], frozenset[str]],
        withdrawn: frozenset[str] = frozenset(),
    ) -> None:
        self._order = order
        self._basis = basis
        self._resolver = resolver
        self._approach = approach
        self._learn = learn
        self._has_wheel = has_wheel
        self._unfinished = unfinished
        self._withdrawn = withdrawn

    @property
    def timeless(self) -> frozenset[str]:
        """Packages that turned out to have no upload times."""
        return self._approach.timeless

    @property
    def unseen(self) -> Mapping[str, frozenset[str]]:
        """Their versions that were left out because they were first seen too short a time ago."""
        return {name: frozenset(versions) for name, versions in self._approach.unseen.items()}

    def ordinary(self, fixes: tuple[Fix, ...]) -> Found:
        """Everything that policy lets in, and the fixes as far as they go together with it.

        Raises:
            ResolutionFailed: there is nothing acceptable even without the fixes.
        """
        if not fixes:
            return Found(self._patiently(Approach()))
        try:
            return Found(self._patiently(_with(Approach(), fixes)), notes=_notes(fixes))
        except ResolutionFailed:
            without = self._patiently(Approach())
        taken, held, notes, least = self._one_by_one(fixes)
        if least is None:
            return Found(without, held)
        try:
            return Found(self._patiently(taken), held, notes)
        except ResolutionFailed:
            return Found(least, held, (*notes, "Only what the fixes need was updated; the rest did not go with them."))

    def security(self, fixes: tuple[Fix, ...]) -> Found:
        """The fixes, and nothing else that does not have to move for them.

        Raises:
            ResolutionFailed: none of the fixes can be taken.
        """
        try:
            lowest = {fix.package: fix.lowest for fix in fixes}
            return Found(self.lock(_with(self._still(fixes), fixes, lowest)), notes=_notes(fixes))
        except ResolutionFailed:
            _, held, notes, least = self._one_by_one(fixes)
        if least is None:
            raise ResolutionFailed(
                f"{self._basis.variant}: none of the fixes can be taken, nothing was changed: "
                + "; ".join(f"{entry.package} {entry.version} {entry.why}" for entry in held)
            )
        return Found(least, held, notes)

    def lock(self, approach: Approach) -> Lock:
        """The accepted answer to one question.

        Raises:
            ResolutionFailed: there is none, or it may not be taken.
        """
        for _ in range(_ROUNDS):
            question = ask(self._basis, self._combined(approach))
            try:
                answer = self._wheels_first(question, self._resolver.resolve(question))
            except ResolutionFailed as failed:
                if self._learned(getattr(failed, "untimed", frozenset())):
                    continue
                raise ResolutionFailed(str(failed)) from failed
            if not self._learned(answer.untimed):
                early = [pin.name for pin in answer.lock.pins.values() if Version(pin.version).is_prerelease]
                bare = self._unfinished(early)
                return accept(question, answer, self._order.current, self._order.previously_wanted, bare)
        raise ResolutionFailed(
            f"{self._basis.variant}: the index gives no upload times, and every answer showed more packages without "
            "them; nothing was changed. Set update.cooldown-days = 0 in layer.toml if that index needs no cooldown"
        )

    def _wheels_first(self, question: Question, answer: Answer) -> Answer:
        """The same versions, with wheels of those packages that were to come from source and have wheels after all."""
        packages = answer.lock.packages
        built = {name: packages[name] for name in question.forced if name in packages}
        wheels = {name: version for name, version in built.items() if self._has_wheel(name, version)}
        if not wheels:
            return answer
        pins = tuple(f"{name}=={version}" for name, version in wheels.items())
        forced = tuple(name for name in question.forced if name not in wheels)
        return self._resolver.resolve(replace(question, forced=forced, constraints=(*question.constraints, *pins)))

    def _patiently(self, approach: Approach) -> Lock:
        """The answer, with withdrawn versions that stay where nothing else fits."""
        try:
            return self.lock(approach)
        except ResolutionFailed:
            if not self._withdrawn - approach.stay - approach.fixes.keys() - self._approach.stay:
                raise
            return self.lock(replace(approach, stay=approach.stay | self._withdrawn))

    def _one_by_one(self, fixes: tuple[Fix, ...]) -> tuple[Approach, tuple[Held, ...], tuple[str, ...], Lock | None]:
        """The fixes that work, each on top of those before it; the lock has them and as little else as possible."""
        taken = self._still(fixes)
        lock: Lock | None = None
        held: list[Held] = []
        notes: list[str] = []
        for fix in fixes:
            found = self._least(taken, fix)
            if isinstance(found, Held):
                held.append(found)
                continue
            lock, taken, along = found
            notes += [
                *_notes((fix,)),
                *(
                    f"{name} {version} was taken before its cooldown ended: the fix of {fix.advisory.id} in "
                    f"{fix.package} needs it."
                    for name, version in along.items()
                ),
            ]
        free = {fix.package: fix.most for fix in fixes if not fix.early and fix.package in taken.fixes}
        ordinary = replace(taken, keep=False, stay=frozenset(), fixes={**taken.fixes, **free})
        return ordinary, tuple(held), tuple(notes), lock

    def _least(self, taken: Approach, fix: Fix) -> tuple[Lock, Approach, dict[str, str]] | Held:
        """One more fix with as little else as possible, or why not."""
        conditions = dict.fromkeys((fix.lowest, fix.most))
        version = fix.versions[0] if fix.versions else str(fix.advisory.fixed)
        hurries = (False, True) if self._basis.rules.security == "immediate" else (False,)
        why = ""
        for hurry in hurries:
            for condition in conditions:
                approach = replace(_with(taken, (fix,), {fix.package: condition}), hurry=hurry)
                try:
                    lock = self.lock(approach)
                except ResolutionFailed as failed:
                    why = why or str(failed)
                    continue
                along = self._young(lock, approach)
                if len(along) > ALONG:
                    needs = ", ".join(f"{name} {version}" for name, version in along.items())
                    why = f"it needs more than {ALONG} other packages before their cooldown ended: {needs}"
                    continue
                fixed = {**approach.fixes, fix.package: f"=={lock.pins[fix.package].version}"}
                return lock, replace(approach, hurry=False, fixes=fixed, along={**taken.along, **along}), along
        why = why.removeprefix(f"{self._basis.variant}: ")
        return Held(package=fix.package, version=version, kind="conflict", why=f"fixes {fix.advisory.id}, but {why}")

    def _young(self, lock: Lock, approach: Approach) -> dict[str, str]:
        """Packages that moved to a version whose cooldown has not ended, beside those that a fix is about."""
        return {
            pin.name: pin.version
            for pin in lock.pins.values()
            if pin.name not in approach.fixes
            and pin.name not in approach.along
            and pin.name not in self._basis.exact
            and (pin.name not in self._basis.pins or self._basis.pins[pin.name].version != pin.version)
            and (
                (pin.uploaded is not None and pin.uploaded >= self._basis.cutoff)
                or pin.version in self._approach.unseen.get(pin.name, ())
            )
        }

    def _still(self, fixes: tuple[Fix, ...]) -> Approach:
        return Approach(keep=True, stay=self._withdrawn - {fix.package for fix in fixes})

    def _combined(self, approach: Approach) -> Approach:
        base = self._approach
        return replace(
            approach,
            stay=(approach.stay | base.stay) - approach.fixes.keys(),
            timeless=base.timeless,
            unseen={} if approach.hurry else base.unseen,
            forced=base.forced,
        )

    def _learned(self, untimed: frozenset[str]) -> bool:
        fresh = untimed - self._approach.timeless
        if fresh:
            self._approach = replace(
                self._approach,
                timeless=self._approach.timeless | fresh,
                unseen={**self._approach.unseen, **self._learn(fresh)},
            )
        return bool(fresh)


def _with(approach: Approach, fixes: tuple[Fix, ...], conditions: Mapping[str, str] | None = None) -> Approach:
    return replace(
        approach,
        fixes={**approach.fixes, **(conditions or {fix.package: fix.least for fix in fixes})},
        at_once=approach.at_once | {fix.package for fix in fixes if fix.early},
    )


def _notes(fixes: tuple[Fix, ...]) -> tuple[str, ...]:
    return tuple(
        f"{fix.package} did not wait for its cooldown to end: the update fixes {fix.advisory.id}."
        for fix in fixes
        if fix.early
    )
