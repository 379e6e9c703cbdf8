"""Who goes first: the canaries, and the waves that follow them.

Canaries are the smallest set of functions whose own traffic lets the watch conclude in time. The evidence for
*safe* needs about ``4 / tolerance`` invocations on the candidate (some 200 for a tolerance of 0.02), and an alias
sends only its weight's share to it. Functions whose own errors would drown the signal go last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lamina.model import FunctionName
from lamina.rollout import RolloutPolicy, Wave

_IN_TIME = 0.8
"""The part of `max_minutes` that the canaries' traffic has to suffice in; the rest is for minutes that close late."""

_MOST = 0.5
"""At most this part of a fleet are canaries, however little traffic it has."""


@dataclass(frozen=True)
class Member:
    """A function of the fleet: invocations per minute and error rate (0 to 1) before the rollout."""

    function: FunctionName
    strategy: Literal["alias", "latest"]
    per_minute: float
    error_rate: float


@dataclass(frozen=True)
class Cohorts:
    """The waves, each function's wave by number, and why the canaries are the ones they are."""

    waves: tuple[Wave, ...]
    wave_of: Mapping[FunctionName, int]
    reason: str


def choose(members: Sequence[Member], policy: RolloutPolicy) -> Cohorts:
    """Deal the fleet out into a canary wave, the waves of the policy and, where aliases are used, a completing one.

    Wave 0 is the canary. A wave that would attach nothing new is left out. The completing wave attaches nothing: it
    moves aliases wholly to their new versions.
    """
    if not members:
        return Cohorts((), {}, "no function has this layer")
    canaries, reason = _canaries(members, policy)
    rest = [member for member in _in_order(members, policy) if member.function not in canaries]
    waves = [Wave(name="canary", count=len(canaries), percent=_percent(len(canaries), len(members)))]
    wave_of = dict.fromkeys(canaries, 0)
    for percent in sorted({*policy.waves, 100}):
        target = math.ceil(len(members) * percent / 100)
        fresh, rest = rest[: max(0, target - len(wave_of))], rest[max(0, target - len(wave_of)) :]
        if fresh:
            wave_of.update(dict.fromkeys((member.function for member in fresh), len(waves)))
            waves.append(
                Wave(name=f"wave {len(waves)}", count=len(fresh), percent=_percent(len(wave_of), len(members)))
            )
    if any(member.strategy == "alias" for member in members):
        waves.append(Wave(name="complete", count=0, percent=100))
    return Cohorts(tuple(waves), wave_of, reason)


def exposed(member: Member, policy: RolloutPolicy) -> float:
    """Invocations per minute that the candidate would get from this function."""
    return member.per_minute * (policy.weight if member.strategy == "alias" else 1.0)


def _canaries(members: Sequence[Member], policy: RolloutPolicy) -> tuple[tuple[FunctionName, ...], str]:
    names = {member.function for member in members}
    if policy.canary != "auto":
        named = tuple(name for name in policy.canary if name in names)
        if named:
            return named, f"named in the layer's definition: {', '.join(named)}"
    needed = 4 / policy.tolerance
    most = max(1, math.ceil(len(members) * _MOST))
    chosen: list[Member] = []
    expected = 0.0
    for member in _in_order(members, policy):
        if len(chosen) == most or expected >= needed:
            break
        chosen.append(member)
        expected += exposed(member, policy) * policy.max_minutes * _IN_TIME
    per_minute = sum(exposed(member, policy) for member in chosen)
    text = f"{len(chosen)} of {len(members)} functions; they send the candidate {per_minute:.3g} invocations a minute"
    if expected >= needed:
        text += f", enough to conclude within {policy.max_minutes} minutes"
    else:
        text += f"; {needed:.0f} are needed, so the watch may be extended beyond {policy.max_minutes} minutes"
    if policy.canary != "auto":
        text += f". None of the functions named as canaries ({', '.join(policy.canary)}) has this layer"
    return tuple(member.function for member in chosen), text


def _in_order(members: Sequence[Member], policy: RolloutPolicy) -> list[Member]:
    def rank(member: Member) -> tuple[bool, float, str]:
        return member.error_rate > policy.tolerance / 2, -exposed(member, policy), member.function

    return sorted(members, key=rank)


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole)
