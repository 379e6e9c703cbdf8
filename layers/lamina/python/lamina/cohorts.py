"""Who goes when: the canaries, and the waves that follow them, the critical functions last."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lamina.canaries import Member, choose_canaries, exposed, noisy
from lamina.model import FunctionName
from lamina.rollout import RolloutPolicy, Wave


@dataclass(frozen=True)
class Cohorts:
    """The waves, each function's wave by number, and why the canaries are the ones they are, in sentences."""

    waves: tuple[Wave, ...]
    wave_of: Mapping[FunctionName, int]
    reason: str


def choose(members: Sequence[Member], policy: RolloutPolicy, changed: Collection[str] = ()) -> Cohorts:
    """Deal the fleet out into a canary wave, the waves of the policy and, where aliases are used, a completing one.

    Wave 0 is the canary. A wave that would attach nothing new is left out; the last that attaches leaves nobody out.
    The completing wave attaches nothing: it moves aliases wholly to their new versions.

    Args:
        changed: names of the packages that changed and that functions can use.
    """
    if not members:
        return Cohorts((), {}, "No function can get this release.")
    canaries, reason = choose_canaries(members, policy, changed)
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


def _in_order(members: Sequence[Member], policy: RolloutPolicy) -> list[Member]:
    def rank(member: Member) -> tuple[bool, bool, float, str]:
        return member.critical is not False, noisy(member, policy), -exposed(member, policy), member.function

    return sorted(members, key=rank)


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole)
