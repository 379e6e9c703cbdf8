"""Proceed: whether the rest of an update deserves an attempt of its own, without what did harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamina.culprit import canonical
from lamina.model import LayerOutcome, Model, Outcome
from lamina.rollout import Rollout, RolloutStatus

if TYPE_CHECKING:
    from lamina.gateways.rollouts import Rollouts


class ProceedEvent(Model):
    """What the update state machine hands to Proceed: what an attempt came to, as its branch knows it.

    `packages` are the exact versions that the update was asked for.
    """

    run: str
    attempt: int
    outcome: LayerOutcome
    packages: dict[str, str] = {}


class Proceeded(Model):
    """Whether to go on, `without` which package versions, and why not otherwise."""

    again: bool
    without: dict[str, str] = {}
    why: str = ""


@dataclass(frozen=True)
class Gateways:
    """What Proceed reaches."""

    rollouts: Rollouts


def run(event: ProceedEvent, reach: Gateways) -> Proceeded:
    """Look at what the registry says of the attempt; changes nothing."""
    said = event.outcome
    rollout = reach.rollouts.get(said.rollout) if said.rollout else None
    why = _obstacle(event, rollout)
    without = rollout.held_back if rollout else said.held_back
    return Proceeded(again=not why, without={} if why else without, why=why)


def _obstacle(event: ProceedEvent, rollout: Rollout | None) -> str:
    """What speaks against a second attempt; nothing if it is empty."""
    if event.attempt > 1:
        return "this was the second attempt, and there is no third"
    said = event.outcome
    if rollout is None:
        if said.outcome is not Outcome.REJECTED:
            return "its rollout never began"
        return _unhelpful(said.held_back, event.packages)
    if rollout.status is not RolloutStatus.ROLLED_BACK:
        return f"its rollout is {rollout.status.value.replace('_', ' ')}, not rolled back"
    if rollout.cause_kind != "harmful":
        return f"it was not put back for the harm that it did: {rollout.cause}"
    if not rollout.culprits and not rollout.policy.bisect:
        return "no package in particular is suspected"
    return _unhelpful(rollout.held_back, event.packages)


def _unhelpful(held_back: Mapping[str, str], asked: Mapping[str, str]) -> str:
    if not held_back:
        return "nothing is held back because of it, so the same candidate would come again"
    insisted = [name for name, version in held_back.items() if asked.get(canonical(name)) == version]
    if insisted:
        return f"the update was asked for exactly this version of {', '.join(sorted(insisted))}"
    return ""
