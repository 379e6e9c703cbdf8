"""Hold: what did the harm is not offered again, and the rollout that met it is closed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field, RootModel

from lamina.errors import NothingToRestore, RolloutClosed
from lamina.model import HeldBack, Model, Release
from lamina.npmlock import package_of
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
        # Whoever closed it may have died before the lock was free.
        reach.rollouts.release(rollout.variant, rollout.rollout)
        return Held(held_back=rollout.held_back)
    release = reach.layers.release(rollout.variant, rollout.candidate.version)
    again = (
        release is not None
        and unattributed(rollout)
        and reach.layers.doubted(rollout.variant, release.changes, rollout.rollout, event.now)
    )
    held = _hold(culprits_of(rollout, release, again=again), release, rollout.cause, rollout.run, event.now)
    if held and not rollout.culprits and rollout.policy.bisect:
        held = reach.layers.bisect(rollout.variant, held, rollout.rollout)
    else:
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


def unattributed(rollout: Rollout) -> bool:
    """Whether a rollout was put back on evidence that cannot tell the release from whatever else happened then.

    That is harm seen against history alone, with no error that points at a change, and a user's alarm.
    """
    if rollout.cause_kind == "alarm":
        return True
    weak = bool((rollout.verdict or {}).get("unattributed", True))
    return rollout.cause_kind == "harmful" and not rollout.culprits and weak


def culprits_of(rollout: Rollout, release: Release | None, *, again: bool) -> tuple[str, ...]:
    """The packages that may have made a rollback necessary.

    Named suspects, if the verdict was harm; with nobody to blame in particular, the whole update. What is unattributed
    holds back nothing at first, since bad luck may have met a good release; the second time is no luck. An error, or a
    person's wish, holds back nothing.

    Args:
        again: whether the same changes were put back before, and that was unattributed as well.
    """
    if rollout.cause_kind not in ("harmful", "alarm") or (unattributed(rollout) and not again):
        return ()
    return rollout.culprits or _whole(rollout, release)


def _whole(rollout: Rollout, release: Release | None) -> tuple[str, ...]:
    """All packages that moved, or that are new where none did; none of a first release, which is new altogether."""
    if release is None or rollout.baseline is None:
        return ()
    moved = tuple(change.package for change in release.changes if change.from_ and change.to)
    return moved or tuple(change.package for change in release.changes if change.to)


def _hold(
    culprits: Iterable[str], release: Release | None, reason: str, run: str, now: datetime
) -> tuple[HeldBack, ...]:
    blamed = set(culprits)
    if release is None:
        return ()
    return tuple(
        HeldBack(
            ecosystem=change.ecosystem,
            # A copy of an npm package is named by its place, and all copies of that version are meant.
            package=package_of(change.package) if change.ecosystem == "npm" else change.package,
            version=change.to,
            above=change.from_,
            as_of=release.as_of,
            since=now,
            reason=reason[:500],
            run=run,
        )
        for change in release.changes
        if change.to and change.package in blamed
    )
