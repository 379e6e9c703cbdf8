"""Hold: what did the harm is not offered again, and the rollout that met it is closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field, RootModel

from lamina.errors import NothingToRestore, RolloutClosed
from lamina.model import Change, HeldBack, Model, Release
from lamina.rollout import ENDED, Rollout, RolloutStatus

if TYPE_CHECKING:
    from lamina.gateways.registry import Layers
    from lamina.gateways.rollouts import Rollouts


class RejectionEvent(Model):
    """A candidate that was rejected before any function saw it."""

    run: str
    variant: str
    version: int
    culprits: tuple[str, ...] = ()
    reason: str = ""
    now: datetime


class Cause(Model):
    """Why a rollback was started."""

    kind: str = "error"
    text: str = ""


class RollbackEvent(Model):
    """A rollout that was put back; `unrestored` functions could not be."""

    rollout: str
    cause: Cause = Field(default_factory=Cause)
    unrestored: int = 0
    now: datetime


class HoldEvent(RootModel[RejectionEvent | RollbackEvent]):
    """What the state machines hand to Hold."""


class Held(Model):
    """Package versions that are held back from now on."""

    held_back: dict[str, str]


@dataclass(frozen=True)
class Gateways:
    """What Hold reaches."""

    layers: Layers
    rollouts: Rollouts


def run(event: RejectionEvent | RollbackEvent, reach: Gateways) -> Held:
    """Hold back what did harm; doing it again changes nothing."""
    return reject(event, reach) if isinstance(event, RejectionEvent) else close(event, reach)


def reject(event: RejectionEvent, reach: Gateways) -> Held:
    """Hold back what made a candidate fail its proof."""
    release = reach.layers.release(event.variant, event.version)
    held = _hold(event.culprits, release, event.reason, event.run, event.now)
    reach.layers.hold_back(event.variant, held)
    return Held(held_back={entry.package: entry.version for entry in held})


def close(event: RollbackEvent, reach: Gateways) -> Held:
    """Close a rollout that was put back, hold back its culprits and free the variant's lock."""
    rollout = reach.rollouts.get(event.rollout)
    if rollout is None:
        raise NothingToRestore(f"rollout {event.rollout} is not in the registry")
    if rollout.status in ENDED:
        return Held(held_back=rollout.held_back)
    release = reach.layers.release(rollout.variant, rollout.candidate.version)
    held = _hold(culprits_of(rollout, release), release, rollout.cause, rollout.run, event.now)
    reach.layers.hold_back(rollout.variant, held)
    if release is not None and rollout.kind == "update":
        reach.layers.record(release.model_copy(update={"status": "rolled_back"}))
    ending = {
        "status": RolloutStatus.FAILED if event.unrestored else RolloutStatus.ROLLED_BACK,
        "closed": event.now,
        "held_back": {entry.package: entry.version for entry in held},
    }
    # Two rollbacks of one rollout may run at once; the first to come here closes it.
    with suppress(RolloutClosed):
        reach.rollouts.save(rollout.model_copy(update=ending), rollout.status)
    reach.rollouts.release(rollout.variant, rollout.rollout)
    return Held(held_back={entry.package: entry.version for entry in held})


def culprits_of(rollout: Rollout, release: Release | None) -> tuple[str, ...]:
    """The packages to hold back after a rollback.

    Named suspects, if the verdict was harm. Harm that a live control attributes to the release, with nobody to
    blame in particular, holds back the whole update; harm seen against history alone, an error, or a person's wish
    holds back nothing.
    """
    if rollout.cause_kind != "harmful":
        return ()
    if rollout.culprits:
        return rollout.culprits
    unattributed = bool((rollout.verdict or {}).get("unattributed", True))
    return () if unattributed or release is None else tuple(change.package for change in release.changes)


def _hold(
    culprits: Iterable[str], release: Release | None, reason: str, run: str, now: datetime
) -> tuple[HeldBack, ...]:
    changes: Sequence[Change] = release.changes if release else ()
    versions = {change.package: change.to for change in changes if change.to}
    return tuple(
        HeldBack(package=name, version=versions[name] or "", since=now, reason=reason[:500], run=run)
        for name in culprits
        if name in versions
    )
