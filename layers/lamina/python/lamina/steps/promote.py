"""Promote: the candidate becomes the promoted release, and the variant's lock is free again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.errors import RolloutClosed
from lamina.model import Model
from lamina.rollout import Rollout, RolloutStatus

if TYPE_CHECKING:
    from lamina.gateways.pointers import Pointers
    from lamina.gateways.registry import Layers
    from lamina.gateways.rollouts import Rollouts


class PromoteEvent(Model):
    """What the state machines hand to Promote."""

    rollout: str
    now: datetime


class Promoted(Model):
    """The release that is promoted now."""

    variant: str
    version: int


@dataclass(frozen=True)
class Gateways:
    """What Promote reaches."""

    layers: Layers
    rollouts: Rollouts
    pointers: Pointers


def run(event: PromoteEvent, reach: Gateways) -> Promoted:
    """Move the promoted pointer; a repeated step finds it moved and only makes sure that the rest is done, too.

    Raises:
        RolloutClosed: the rollout was put back meanwhile.
    """
    rollout = reach.rollouts.get(event.rollout)
    if rollout is None or rollout.status not in (RolloutStatus.OPEN, RolloutStatus.PROMOTED):
        raise RolloutClosed(f"rollout {event.rollout} is not open any more; nothing was promoted")
    if rollout.status is RolloutStatus.OPEN:
        # From here on the rollout cannot be put back: its functions are all on the candidate.
        ending = {"status": RolloutStatus.PROMOTED, "closed": event.now}
        reach.rollouts.promote(rollout.model_copy(update=ending), reach.layers)
    reach.pointers.publish(rollout.variant, rollout.candidate.arn)
    for follower in _followers(rollout, reach.layers):
        reach.pointers.publish(follower, rollout.candidate.arn)
    reach.rollouts.release(rollout.variant, rollout.rollout)
    return Promoted(variant=rollout.variant, version=rollout.candidate.version)


def _followers(rollout: Rollout, layers: Layers) -> tuple[str, ...]:
    """The variants that share the release; one that has got a release of its own keeps its pointer."""
    release = layers.release(rollout.variant, rollout.candidate.version)
    shared_by = () if release is None else release.shared_by
    return tuple(variant for variant in shared_by if layers.state(variant).promoted is None)
