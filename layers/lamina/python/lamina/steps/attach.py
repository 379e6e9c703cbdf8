"""Attach: give one wave's functions the candidate; the completing wave moves their aliases wholly to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.control import Gate, completes, gate
from lamina.errors import RolloutClosed, Unsettled
from lamina.model import Model
from lamina.moves import Move
from lamina.rollout import Entry, EntryStatus, Rollout, RolloutStatus
from lamina.steps.changing import bring

if TYPE_CHECKING:
    from lamina.gateways.functions import Functions
    from lamina.gateways.rollouts import Rollouts
    from lamina.gateways.switch import Switch

BRIEFLY = 30
"""Seconds that a function is waited for while others of its wave have not been begun."""


class AttachEvent(Model):
    """What the rollout state machine hands to Attach; `wave` counts from 0, the canary."""

    rollout: str
    wave: int
    approved: bool = False
    now: datetime


class Attached(Model):
    """How far the wave is: `pending` functions are still to do; after the `last` wave comes the promotion.

    Attributes:
        wait_seconds: nothing was begun, for the reason `why`; ask again after this time. 0: nothing is in the way.
        ask_seconds: a person has to approve first, and has so long to answer; 0 where nobody is asked.
        watching: some function of the fleet has the candidate, whatever the wave waits for.
    """

    wave: str
    attached: int
    left_alone: int
    pending: int
    last: bool
    wait_seconds: int = 0
    ask_seconds: int = 0
    why: str = ""
    watching: bool = False


@dataclass(frozen=True)
class Gateways:
    """What Attach reaches."""

    functions: Functions
    rollouts: Rollouts
    switch: Switch


def run(event: AttachEvent, reach: Gateways, time_left: Callable[[], bool]) -> Attached:
    """Attach the wave's functions one after another until done or out of time, unless somebody wants it to wait.

    Raises:
        RolloutClosed: the rollout was ended meanwhile; nothing more is changed.
    """
    rollout = reach.rollouts.get(event.rollout)
    if rollout is None or rollout.status is not RolloutStatus.OPEN:
        raise RolloutClosed(f"rollout {event.rollout} is not open any more; nothing was changed")
    barred = gate(rollout, event.wave, reach.switch.paused(), event.now, approved=event.approved)
    if event.wave >= len(rollout.waves):
        after = Attached(wave="none", attached=0, left_alone=0, pending=0, last=True, watching=event.wave > 0)
        return after.model_copy(update=_in_the_way(barred, rollout))
    completing = completes(rollout.waves[event.wave])
    move = move_of(rollout, wholly=completing)
    journal = {entry.function: entry for entry in reach.rollouts.entries(event.rollout)}
    mine = [entry for entry in journal.values() if _belongs(entry, event.wave, completing)]
    mine.sort(key=lambda entry: entry.critical is not False)
    done: list[Entry] = []
    waiting: list[Unsettled] = []
    for entry in mine:
        if not time_left():
            break
        if _there(entry, completing) or entry.status in (EntryStatus.LEFT_ALONE, EntryStatus.RESTORED):
            done.append(entry)
            continue
        if barred.stands and entry.status is not EntryStatus.ATTACHING:
            # What was begun before is brought to its end; nothing is begun.
            continue

        def note(changed: Entry) -> None:
            reach.rollouts.note(event.rollout, changed, RolloutStatus.OPEN)

        try:
            done.append(bring(entry, move, reach.functions, note, event.now, BRIEFLY))
        except Unsettled as unsettled:
            waiting.append(unsettled)
    # What takes minutes takes them for all functions at once. Whoever is ready then is told of by the next call.
    for late in waiting:
        if not time_left():
            break
        with suppress(Unsettled):
            reach.functions.settle(late.function, late.version, late.alias)
    journal |= {entry.function: entry for entry in done}
    pending = len(mine) - len(done)
    if event.wave == 0 and not pending and all(entry.status is EntryStatus.LEFT_ALONE for entry in done):
        # Nothing would be watched: those who are next in line go first.
        for entry in _next_in_line(journal.values(), rollout.waves[0].count):
            reach.rollouts.note(event.rollout, entry.model_copy(update={"wave": 0}), RolloutStatus.OPEN)
            pending += 1
    attached = Attached(
        wave=rollout.waves[event.wave].name,
        attached=sum(_there(entry, completing) for entry in done),
        left_alone=sum(not _there(entry, completing) for entry in done),
        pending=pending,
        last=completing,
        watching=any(_there(entry, completing=False) for entry in journal.values()),
    )
    return attached.model_copy(update=_in_the_way(barred, rollout)) if pending else attached


def _in_the_way(barred: Gate, rollout: Rollout) -> dict[str, object]:
    hours = rollout.policy.approval_hours
    return {"wait_seconds": barred.wait, "why": barred.why, "ask_seconds": hours * 3600 if barred.ask else 0}


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


def _next_in_line(journal: Iterable[Entry], count: int) -> list[Entry]:
    planned = [entry for entry in journal if entry.status is EntryStatus.PLANNED and entry.wave > 0]
    return sorted(planned, key=lambda entry: (entry.wave, entry.function))[:count]


def _there(entry: Entry, completing: bool) -> bool:
    if completing:
        return entry.status is EntryStatus.COMPLETED
    return entry.status in (EntryStatus.ATTACHED, EntryStatus.COMPLETED)
