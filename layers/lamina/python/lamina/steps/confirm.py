"""Confirm: read every function of a rollback again and say which are where they should be."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina import moves
from lamina.errors import NothingToRestore, RolloutClosed
from lamina.model import Model
from lamina.rollout import Entry, EntryStatus, Rollout

if TYPE_CHECKING:
    from lamina.gateways.functions import Functions
    from lamina.gateways.rollouts import Rollouts


class ConfirmEvent(Model):
    """What the rollback state machine hands to Confirm; `functions` are those to look at, none means all."""

    rollout: str
    functions: tuple[str, ...] = ()
    now: datetime


class Confirmed(Model):
    """How many functions are where they should be; `text` tells of the others, with the commands to help them."""

    restored: int
    unrestored: int
    text: str


@dataclass(frozen=True)
class Gateways:
    """What Confirm reaches."""

    functions: Functions
    rollouts: Rollouts


def run(event: ConfirmEvent, reach: Gateways) -> Confirmed:
    """Check every function that was, or may have been, changed, against Lambda's own answer."""
    rollout = reach.rollouts.get(event.rollout)
    if rollout is None:
        raise NothingToRestore(f"rollout {event.rollout} is not in the registry")
    good: list[Entry] = []
    bad: list[Entry] = []
    for entry in reach.rollouts.entries(event.rollout):
        asked = not event.functions or entry.function in event.functions
        if not asked or entry.status in (EntryStatus.PLANNED, EntryStatus.LEFT_ALONE):
            continue
        checked = _check(rollout, entry, reach)
        if checked != entry:
            # A second rollback may have closed the rollout meanwhile; what was read is true all the same.
            with suppress(RolloutClosed):
                reach.rollouts.note(event.rollout, checked, rollout.status)
        (bad if checked.status is EntryStatus.UNRESTORED else good).append(checked)
    return Confirmed(restored=len(good), unrestored=len(bad), text=_text(rollout, bad))


def _check(rollout: Rollout, entry: Entry, reach: Gateways) -> Entry:
    latest = reach.functions.read(entry.function)
    alias = reach.functions.alias(entry.function, entry.alias) if entry.alias else None
    if rollout.kind == "update":
        return moves.confirm(entry, rollout.candidate.arn, latest, alias)
    if latest is None or rollout.candidate.arn in latest.layers:
        return entry
    reason = f"$LATEST does not have version {rollout.candidate.version}"
    return entry.model_copy(update={"status": EntryStatus.UNRESTORED, "reason": reason})


def _text(rollout: Rollout, bad: list[Entry]) -> str:
    if not bad:
        return f"{rollout.variant}: every function is where it should be."
    lines = [f"{entry.function}: {entry.reason}. By hand: {moves.by_hand(entry)}" for entry in bad[:20]]
    more = f" … and {len(bad) - 20} more, see the report." if len(bad) > 20 else ""
    return f"{rollout.variant}: {len(bad)} function(s) could not be put back. " + " | ".join(lines) + more
