"""Carries out what `moves` decides, for one function at a time: read, decide, note, change, wait, read again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lamina import moves
from lamina.errors import Busy, ChangedElsewhere, Refused
from lamina.fleet import AliasView, FunctionView, PublishVersion
from lamina.rollout import Entry, EntryStatus

if TYPE_CHECKING:
    from lamina.gateways.functions import Functions

_ROUNDS = 30
"""A function whose state keeps changing under Lamina's hands is left to whoever is changing it."""

_READY = timedelta(hours=1)
"""A function that is not ready to serve with the candidate by then is put back: Lambda itself takes some minutes."""


def bring(
    entry: Entry,
    move: moves.Move,
    functions: Functions,
    note: Callable[[Entry], None],
    now: datetime,
    seconds: int = 300,
) -> Entry:
    """Bring one function to the candidate, or leave it as it was and say why.

    Args:
        entry: the function in the journal.
        move: what the wave is to do.
        functions: the gateway.
        note: writes the journal; raises `RolloutClosed` once nothing more may be changed.
        now: when this was asked for. A function that has to wait is ready with the first call that finds it so.
        seconds: how long one wait may take.

    Raises:
        Unsettled: a wait takes longer. The journal knows how far the function is: ask again.
    """
    entry = entry.model_copy(update={"since": entry.since or now})
    for _ in range(_ROUNDS):
        latest = functions.read(entry.function)
        alias = functions.alias(entry.function, entry.alias) if entry.alias else None
        behind = functions.read(entry.function, alias.version) if alias else None
        made = _made(entry, alias, functions)
        kept = (functions.provisioned(entry.function) or {}).get(entry.alias or "") if entry.provisioned else None
        match moves.attach(entry, move, latest, alias, behind, made, kept):
            case moves.Await(version=version, alias=waiting):
                if entry.since is not None and now - entry.since > _READY:
                    late = f"it was not ready {_READY // timedelta(minutes=1)} minutes after its change"
                    return _abandon(entry, move.candidate, late, functions, note)
                note(entry)
                functions.settle(entry.function, version, waiting, seconds)
            case moves.LeaveAlone(reason=reason):
                return _abandon(entry, move.candidate, reason, functions, note)
            case moves.Finished(entry=done):
                # Lambda's own word for when the layers were changed, which a retried step reads just the same. What had
                # to wait for longer was ready when this step was called again.
                modified = latest.modified if latest else None
                attached = done.attached_at or max(modified or now, now)
                done = done.model_copy(update={"attached_at": attached, "since": None, "reason": ""})
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
                    functions.settle(entry.function, seconds=seconds)
                    continue
                except Refused as refusal:
                    return _abandon(entry, move.candidate, str(refusal), functions, note)
                if isinstance(change, PublishVersion) and version is not None:
                    entry = moves.published(entry, move, version)
                    note(entry)
                functions.settle(entry.function, version, seconds=seconds)
    return _abandon(entry, move.candidate, "it kept being changed by somebody else", functions, note)


def _made(entry: Entry, alias: AliasView | None, functions: Functions) -> FunctionView | None:
    """The version that Lamina published, as long as no traffic goes to it yet."""
    ours = entry.after.version if entry.after else None
    if ours is None or alias is None or ours == alias.version or ours in alias.weights:
        return None
    return functions.read(entry.function, ours)


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
            confirmed = moves.confirm(entry, candidate, latest, alias)
            # Lambda's own word again, by which the next rollout knows this change for Lamina's.
            return confirmed.model_copy(update={"restored_at": latest.modified if latest else None})
        try:
            functions.apply(needed[0])
            written.add(type(needed[0]))
        except (ChangedElsewhere, Busy):
            functions.settle(entry.function)
        except Refused as refusal:
            if moves.restore(settled, candidate, latest, alias):
                return entry.model_copy(update={"status": EntryStatus.UNRESTORED, "reason": str(refusal)})
            # Only a fence was refused, and so will be whatever it was to keep out.
            written.add(type(needed[0]))
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
