"""Which functions get a candidate first, and why.

Canaries are the smallest set of functions whose own traffic lets the watch conclude in time, and whose code uses every
changed package that the fleet uses. The evidence for *safe* needs about ``4 / tolerance`` invocations on the candidate
(some 200 for a tolerance of 0.02), and an alias sends only its weight's share to it.

The set is found greedily: first those that cover most of what changed, each counted for no more than its traffic can
show, then the busiest, and in the end whoever turns out not to be needed is left out again. Functions that fail so
often by themselves that they would drown the signal come after all others, and those that their teams call critical are
taken only where there is nobody else.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lamina.model import FunctionName
from lamina.rollout import RolloutPolicy

_IN_TIME = 0.8
"""The part of `max_minutes` that the canaries' traffic has to suffice in; the rest is for minutes that close late."""

_MOST = 0.5
"""At most this part of a fleet are canaries, however little traffic it has."""

_NAMED = 5
"""How many names a sentence holds at most."""


@dataclass(frozen=True)
class Member:
    """A function of the fleet before the rollout.

    Attributes:
        per_minute: invocations.
        error_rate: 0 to 1.
        uses: the changed packages that its code uses; None where that is unknown, for the reason `unread`.
        critical: whether its team wants it to go last; None where that is unknown, which counts as if it did.
    """

    function: FunctionName
    strategy: Literal["alias", "latest"]
    per_minute: float
    error_rate: float
    uses: frozenset[str] | None = None
    unread: str = ""
    critical: bool | None = False


def exposed(member: Member, policy: RolloutPolicy) -> float:
    """Invocations per minute that the candidate would get from this function."""
    return member.per_minute * (policy.weight if member.strategy == "alias" else 1.0)


def noisy(member: Member, policy: RolloutPolicy) -> bool:
    """Whether its own failures would drown the signal."""
    return member.error_rate > policy.tolerance / 2


def choose_canaries(
    members: Sequence[Member], policy: RolloutPolicy, changed: Collection[str] = ()
) -> tuple[tuple[FunctionName, ...], str]:
    """The canaries in the order of their choice, and in whole sentences why it is these.

    Args:
        members: the fleet, at least one function.
        changed: names of the packages that changed and that functions can use.
    """
    members = sorted(members, key=lambda member: member.function)
    missing = ""
    if policy.canary != "auto":
        there = {member.function: member for member in members}
        named = [there[name] for name in policy.canary if name in there]
        if named:
            role = "is named as the canary" if len(named) == 1 else "are named as canaries"
            said = f"{names(_functions(named))} {role} in the layer's definition."
            return _functions(named), " ".join([said, *_uses(named, members, changed)])
        missing = f"None of the functions that the definition names as canaries is here: {names(policy.canary)}."
    chosen = _Search(members, policy).run()
    sentences = [missing, *_size(chosen, members, policy), *_uses(chosen, members, changed), *_last(chosen, members)]
    return _functions(chosen), " ".join(filter(None, sentences))


def names(found: Iterable[str], most: int = _NAMED) -> str:
    """Names as a part of a sentence: `a, b and 3 more`."""
    every = list(dict.fromkeys(found))
    shown = every[:most]
    if len(every) > most:
        return f"{', '.join(shown)} and {len(every) - most} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


class _Search:
    """The greedy search; the same fleet in any order gives the same answer."""

    def __init__(self, members: Sequence[Member], policy: RolloutPolicy) -> None:
        self._policy = policy
        pool = [member for member in members if member.critical is False] or members
        self._pool = sorted(pool, key=self._rank)
        self._most = max(1, math.ceil(len(members) * _MOST))
        self._needed = needed(policy)

    def run(self) -> list[Member]:
        """The canaries."""
        chosen = self._cover()
        for member in self._pool:
            if len(chosen) >= self._most or self._seen(chosen) >= self._needed:
                break
            if member not in chosen and self._seen([member]) > 0:
                chosen.append(member)
        return self._without_spare(chosen or self._pool[:1])

    def _rank(self, member: Member) -> tuple[bool, int, float, str]:
        # Unknown use is no use that anybody knows of, but more than none.
        use = 1 if member.uses is None else 0 if member.uses else 2
        return noisy(member, self._policy), use, -exposed(member, self._policy), member.function

    def _seen(self, members: Iterable[Member]) -> float:
        """Invocations on the candidate that these functions bring about in time."""
        per_minute = math.fsum(exposed(member, self._policy) for member in members)
        return per_minute * self._policy.max_minutes * _IN_TIME

    def _cover(self) -> list[Member]:
        chosen: list[Member] = []
        for loud in (False, True):
            able = [m for m in self._pool if noisy(m, self._policy) is loud and m.uses and self._seen([m]) > 0]
            while len(chosen) < self._most:
                open_ = covered(able) - covered(chosen)
                if not open_:
                    break
                chosen.append(max(able, key=lambda member: self._gain(member, open_)))
        return chosen

    def _gain(self, member: Member, open_: frozenset[str]) -> tuple[float, float]:
        fresh = len((member.uses or frozenset()) & open_)
        return fresh * min(1.0, self._seen([member]) / self._needed), exposed(member, self._policy) if fresh else 0.0

    def _without_spare(self, chosen: list[Member]) -> list[Member]:
        for member in reversed(chosen):
            rest = [other for other in chosen if other is not member]
            if rest and covered(rest) == covered(chosen) and self._seen(rest) >= self._needed:
                chosen = rest
        return chosen


def needed(policy: RolloutPolicy) -> float:
    """Invocations on the candidate that the evidence for *safe* takes."""
    return 4 / policy.tolerance


def covered(members: Iterable[Member]) -> frozenset[str]:
    """The changed packages that some of them use."""
    return frozenset().union(*(member.uses or () for member in members))


def _functions(members: Iterable[Member]) -> tuple[FunctionName, ...]:
    return tuple(member.function for member in members)


def _size(chosen: Sequence[Member], members: Sequence[Member], policy: RolloutPolicy) -> list[str]:
    per_minute = math.fsum(exposed(member, policy) for member in chosen)
    text = f"{'It sends' if len(chosen) == 1 else 'They send'} the candidate {per_minute:.3g} invocations a minute"
    if per_minute * policy.max_minutes * _IN_TIME >= needed(policy):
        text += f", enough to conclude within {policy.max_minutes} minutes."
    else:
        text += f"; {needed(policy):.0f} are needed in all, so the watch may go on beyond {policy.max_minutes} minutes."
    return [f"{len(chosen)} of {len(members)} functions {_go(chosen)} first: {names(_functions(chosen))}.", text]


def _uses(chosen: Sequence[Member], members: Sequence[Member], changed: Collection[str]) -> list[str]:
    """What the canaries use of what changed, what others use, what nobody uses, and what is unknown."""
    here, anywhere = covered(chosen), covered(members)
    unknown = [member for member in members if member.uses is None]
    said = []
    if here:
        whose = "Its" if len(chosen) == 1 else "Their"
        said.append(f"{whose} code uses {names(sorted(here))}, which changed.")
    for package in sorted(anywhere - here)[:_NAMED]:
        users = [member.function for member in members if package in (member.uses or ())]
        said.append(f"{package} changed too, and is used by {names(users)} only.")
    if (nobody := sorted(set(changed) - anywhere)) and len(unknown) < len(members):
        said.append(f"{names(nobody)} changed, and no function uses {_it(nobody)} as far as code was read.")
    if unknown and changed:
        why = next((f" ({member.unread})" for member in unknown if member.unread), "")
        said.append(f"What {names(member.function for member in unknown)} {_use(unknown)} is unknown{why}.")
    return said


def _last(chosen: Sequence[Member], members: Sequence[Member]) -> list[str]:
    tagged = [member.function for member in members if member.critical]
    untold = [member.function for member in members if member.critical is None]
    if not tagged and not untold:
        return []
    if any(member.critical is not False for member in chosen):
        return ["Every function is tagged as critical, or may be, so that some of them have to go first."]
    said = [f"{names(tagged)} {_is(tagged)} tagged as critical and {_go(tagged)} last."] if tagged else []
    if untold:
        said.append(f"What {names(untold)} {_is(untold)} tagged with is unknown, which counts as critical.")
    return said


def _is(found: Sequence[object]) -> str:
    return "is" if len(found) == 1 else "are"


def _go(found: Sequence[object]) -> str:
    return "goes" if len(found) == 1 else "go"


def _use(found: Sequence[object]) -> str:
    return "uses" if len(found) == 1 else "use"


def _it(found: Sequence[object]) -> str:
    return "it" if len(found) == 1 else "them"
