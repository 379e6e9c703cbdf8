"""Carries out what `moves` decides, for one function at a time: read, decide, note, change, wait, read again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from lamina import moves
from lamina.errors import Busy, ChangedElsewhere, Refused
from lamina.fleet import PublishVersion
from lamina.rollout import Entry, EntryStatus

if TYPE_CHECKING:
    from lamina.gateways.functions import Functions

_ROUNDS = 30
"""A function whose state keeps changing under Lamina's hands is left to whoever is changing it."""


def bring(entry: Entry, move: moves.Move, functions: Functions, note: Callable[[Entry], None], now: datetime) -> Entry:
    """Bring one function to the candidate, or leave it as it was and say why.

    Args:
        entry: the function in the journal.
        move: what the wave is to do.
        functions: the gateway.
        note: writes the journal; raises `RolloutClosed` once nothing more may be changed.
        now: the moment of attaching, should Lambda not tell.
    """
    for _ in range(_ROUNDS):
        latest = functions.read(entry.function)
        alias = functions.alias(entry.function, entry.alias) if entry.alias else None
        behind = functions.read(entry.function, alias.version) if alias else None
        match moves.attach(entry, move, latest, alias, behind):
            case moves.Await():
                functions.settle(entry.function)
            case moves.LeaveAlone(reason=reason):
                return _abandon(entry, move.candidate, reason, functions, note)
            case moves.Finished(entry=done):
                # Lambda's own word for when the layers were changed, which a retried step reads just the same.
                attached = done.attached_at or (latest.modified if latest else None) or now
                done = done.model_copy(update={"attached_at": attached, "reason": ""})
                note(done)
                return done
            case moves.Apply(change=change, entry=noted):
                note(noted)
                entry = noted
                try:
                    version = functions.apply(change)
                except ChangedElsewhere:
                    continue
                except Busy:
                    functions.settle(entry.function)
                    continue
                except Refused as refusal:
                    return _abandon(entry, move.candidate, str(refusal), functions, note)
                if isinstance(change, PublishVersion) and version is not None:
                    entry = moves.published(entry, move, version)
                    note(entry)
                functions.settle(entry.function, version)
    return _abandon(entry, move.candidate, "it kept being changed by somebody else", functions, note)


def put_back(entry: Entry, candidate: str, functions: Functions) -> Entry:
    """Put one function back and prove it by reading it again."""
    written: set[type] = set()
    for _ in range(_ROUNDS):
        latest = functions.read(entry.function)
        if latest is not None and (latest.state == "Pending" or latest.update == "InProgress"):
            functions.settle(entry.function)
            continue
        alias = functions.alias(entry.function, entry.alias) if entry.alias else None
        settled = entry.model_copy(update={"status": EntryStatus.ATTACHED})
        needed = moves.restore(settled, candidate, latest, alias)
        if entry.status is EntryStatus.ATTACHING:
            # Each fencing write is needed once: after it, no step that was at work before can change anything.
            fences = moves.restore(entry, candidate, latest, alias)
            needed = needed or tuple(change for change in fences if type(change) not in written)
        if not needed:
            return moves.confirm(entry, candidate, latest, alias)
        try:
            functions.apply(needed[0])
            written.add(type(needed[0]))
        except (ChangedElsewhere, Busy):
            functions.settle(entry.function)
        except Refused as refusal:
            return entry.model_copy(update={"status": EntryStatus.UNRESTORED, "reason": str(refusal)})
    return entry.model_copy(
        update={"status": EntryStatus.UNRESTORED, "reason": "it kept being changed by somebody else"}
    )


def _abandon(entry: Entry, candidate: str, reason: str, functions: Functions, note: Callable[[Entry], None]) -> Entry:
    if entry.status is not EntryStatus.PLANNED:
        restored = put_back(entry, candidate, functions)
        if restored.status is EntryStatus.UNRESTORED:
            note(restored)
            return restored
    left = entry.model_copy(update={"status": EntryStatus.LEFT_ALONE, "reason": reason})
    note(left)
    return left
