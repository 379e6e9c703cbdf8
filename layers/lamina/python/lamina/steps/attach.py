"""Attach: give one wave's functions the candidate; the completing wave moves their aliases wholly to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.errors import RolloutClosed
from lamina.model import Model
from lamina.moves import Move
from lamina.rollout import Entry, EntryStatus, Rollout, RolloutStatus
from lamina.steps.changing import bring

if TYPE_CHECKING:
    from lamina.gateways.functions import Functions
    from lamina.gateways.rollouts import Rollouts


class AttachEvent(Model):
    """What the rollout state machine hands to Attach; `wave` counts from 0, the canary."""

    rollout: str
    wave: int
    now: datetime


class Attached(Model):
    """How far the wave is: `pending` functions are still to do; after the `last` wave comes the promotion."""

    wave: str
    attached: int
    left_alone: int
    pending: int
    last: bool


@dataclass(frozen=True)
class Gateways:
    """What Attach reaches."""

    functions: Functions
    rollouts: Rollouts


def run(event: AttachEvent, reach: Gateways, time_left: Callable[[], bool]) -> Attached:
    """Attach the wave's functions one after another until done or out of time.

    Raises:
        RolloutClosed: the rollout was ended meanwhile; nothing more is changed.
    """
    rollout = reach.rollouts.get(event.rollout)
    if rollout is None or rollout.status is not RolloutStatus.OPEN:
        raise RolloutClosed(f"rollout {event.rollout} is not open any more; nothing was changed")
    if event.wave >= len(rollout.waves):
        return Attached(wave="none", attached=0, left_alone=0, pending=0, last=True)
    completing = rollout.waves[event.wave].name == "complete"
    move = move_of(rollout, wholly=completing)
    mine = [entry for entry in reach.rollouts.entries(event.rollout) if _belongs(entry, event.wave, completing)]
    done: list[Entry] = []
    for entry in mine:
        if not time_left():
            break
        if _there(entry, completing) or entry.status is EntryStatus.LEFT_ALONE:
            done.append(entry)
            continue

        def note(changed: Entry) -> None:
            reach.rollouts.note(event.rollout, changed, RolloutStatus.OPEN)

        done.append(bring(entry, move, reach.functions, note, event.now))
    return Attached(
        wave=rollout.waves[event.wave].name,
        attached=sum(_there(entry, completing) for entry in done),
        left_alone=sum(not _there(entry, completing) for entry in done),
        pending=len(mine) - len(done),
        last=completing,
    )


def move_of(rollout: Rollout, *, wholly: bool) -> Move:
    """What to do with a function of the rollout; `wholly` moves aliases all the way."""
    return Move(
        candidate=rollout.candidate.arn,
        replaces=rollout.policy.replaces,
        weight=None if wholly else rollout.policy.weight,
        description=f"Lamina: {rollout.variant} version {rollout.candidate.version}, rollout {rollout.rollout}",
    )


def _belongs(entry: Entry, wave: int, completing: bool) -> bool:
    if completing:
        return entry.strategy == "alias" and entry.status in (EntryStatus.ATTACHED, EntryStatus.COMPLETED)
    return entry.wave == wave


def _there(entry: Entry, completing: bool) -> bool:
    if completing:
        return entry.status is EntryStatus.COMPLETED
    return entry.status in (EntryStatus.ATTACHED, EntryStatus.COMPLETED)
