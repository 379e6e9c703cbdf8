"""Decides, function by function, the next change of a rollout or of its rollback.

Each decision is made from what was just read and the journal's entry, never from what an earlier step believes it
did: a step that is repeated, or that died half-way, reads again and carries on from there. A function that somebody
else changed in the meantime is left to them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from lamina.fleet import (
    AliasView,
    FunctionChange,
    FunctionView,
    MoveAlias,
    Provisioned,
    PublishVersion,
    SetLayers,
    busy,
    unreleased,
)
from lamina.layerlist import find, swap
from lamina.model import LayerArn
from lamina.rollout import Entry, EntryStatus, Snapshot


@dataclass(frozen=True)
class Apply:
    """Make this change; the journal's entry becomes `entry` before it is made."""

    change: FunctionChange
    entry: Entry


@dataclass(frozen=True)
class Finished:
    """Nothing is left to do for the function; the journal's entry becomes `entry`."""

    entry: Entry


@dataclass(frozen=True)
class LeaveAlone:
    """The function is somebody else's business now; what Lamina changed of it is to be taken back."""

    reason: str


@dataclass(frozen=True)
class Await:
    """Something is under way; look again when it has settled.

    It is an update of the function, the making of a `version` of it, or of environments that an `alias` keeps ready.
    """

    version: str | None = None
    alias: str | None = None


Decision: TypeAlias = Apply | Finished | LeaveAlone | Await


@dataclass(frozen=True)
class Move:
    """What a wave does to its functions.

    `weight` is the share (0 to 1) of an alias's traffic that the new version gets; None moves the alias wholly.
    """

    candidate: LayerArn
    replaces: Collection[str]
    weight: float | None
    description: str


def attach(
    entry: Entry,
    move: Move,
    latest: FunctionView | None,
    alias: AliasView | None,
    behind: FunctionView | None,
    made: FunctionView | None = None,
    kept: Provisioned | None = None,
) -> Decision:
    """The next step towards the candidate.

    Args:
        entry: the function in the journal.
        move: what the wave is to do.
        latest: the function as it is now; None if it is gone.
        alias: its alias as it is now; None if it has none.
        behind: the published version that the alias points to.
        made: the version that Lamina published with the candidate, if the journal knows of one.
        kept: the environments that the alias keeps ready, for an entry that has some.
    """
    if latest is None:
        return LeaveAlone("the function does not exist any more")
    if latest.state == "Failed" or latest.update == "Failed":
        return LeaveAlone("its last update failed" + (f" ({latest.why})" if latest.why else ""))
    if latest.state == "Inactive" and entry.status is EntryStatus.PLANNED:
        return LeaveAlone("its state is Inactive: nobody has called it for long")
    if busy(latest):
        return Await()
    if entry.strategy == "alias":
        return _attach_alias(entry, move, latest, alias, behind, made, kept)
    if move.candidate in latest.layers:
        return Finished(
            entry.model_copy(
                update={
                    "status": EntryStatus.ATTACHED if move.weight is not None else EntryStatus.COMPLETED,
                    "after": Snapshot(layers=latest.layers),
                }
            )
        )
    return _set_layers(entry, move, latest)


def _set_layers(entry: Entry, move: Move, latest: FunctionView) -> Decision:
    old = find(latest.layers, move.candidate, move.replaces)
    if old is None:
        return LeaveAlone("somebody detached the layer while the rollout was under way")
    noted = entry.model_copy(
        update={
            "status": EntryStatus.ATTACHING,
            "before": Snapshot(layers=latest.layers, version=entry.before.version),
            "replaced": old,
        }
    )
    layers = swap(latest.layers, old, move.candidate)
    return Apply(SetLayers(latest.name, layers, latest.revision), noted)


def _attach_alias(
    entry: Entry,
    move: Move,
    latest: FunctionView,
    alias: AliasView | None,
    behind: FunctionView | None,
    made: FunctionView | None,
    kept: Provisioned | None,
) -> Decision:
    if alias is None or behind is None:
        return LeaveAlone(f"its alias {entry.alias!r} does not exist any more")
    ours = entry.after.version if entry.after else None
    if ours is not None and (alias.version == ours or ours in alias.weights):
        return _shift(entry, move, alias, ours, kept)
    if alias.weights:
        return LeaveAlone(
            f"its alias {alias.name!r} is split between versions: somebody else's deployment is under way"
        )
    if alias.version != entry.before.version:
        return LeaveAlone(f"somebody moved its alias {alias.name!r} to version {alias.version} meanwhile")
    if move.candidate not in latest.layers:
        if reason := unreleased(latest, behind):
            return LeaveAlone(f"unreleased work: {reason}")
        return _set_layers(entry, move, latest)
    if reason := unreleased(latest, behind, swap(entry.before.layers, entry.replaced, move.candidate)):
        return LeaveAlone(f"somebody deployed meanwhile: {reason}")
    if reason := unreleased(behind, latest, entry.before.layers):
        return LeaveAlone(f"somebody deployed meanwhile: {reason}")
    if ours is None:
        noted = entry.model_copy(update={"status": EntryStatus.ATTACHING})
        return Apply(PublishVersion(latest.name, latest.code, latest.revision, move.description), noted)
    if made is None or made.state == "Pending":
        # It would fail every invocation. With SnapStart it takes minutes.
        return Await(version=ours) if made else LeaveAlone(f"version {ours}, which Lamina published, is gone")
    if made.state != "Active":
        said = f" ({made.why})" if made.why else ""
        return LeaveAlone(f"version {ours}, which Lamina published with the candidate, is {made.state}{said}")
    return _shift(entry, move, alias, ours, kept)


def _shift(entry: Entry, move: Move, alias: AliasView, ours: str, kept: Provisioned | None) -> Decision:
    old = entry.before.version or alias.version
    if move.weight is None:
        wanted, weights, status = ours, {}, EntryStatus.COMPLETED
    else:
        wanted, weights, status = old, {ours: move.weight}, EntryStatus.ATTACHED
    there = alias.version == wanted and dict(alias.weights) == weights
    # To move an alias that keeps environments ready, Lambda itself leaves its traffic on the old version until there
    # are some of the new one.
    moving = kept is not None and alias.version == wanted == ours and set(alias.weights) == {old}
    if kept is not None and (there or moving):
        if kept.status == "IN_PROGRESS":
            return Await(alias=alias.name)
        if kept.status == "FAILED":
            return LeaveAlone(
                f"its alias {alias.name!r} keeps {kept.requested} environments ready, and Lambda could not do so with "
                f"the candidate: {kept.why or 'it does not say why'}"
            )
    if there:
        return Finished(entry.model_copy(update={"status": status}))
    if alias.version not in (old, ours) or not (moving or set(alias.weights) <= {ours}):
        return LeaveAlone(f"somebody moved its alias {alias.name!r} to version {alias.version} meanwhile")
    return Apply(MoveAlias(entry.function, alias.name, wanted, weights, alias.revision), entry)


def published(entry: Entry, move: Move, version: str) -> Entry:
    """The entry after its new version was published."""
    layers = swap(entry.before.layers, entry.replaced, move.candidate)
    return entry.model_copy(update={"after": Snapshot(layers=layers, version=version)})


def restore(
    entry: Entry, candidate: LayerArn, latest: FunctionView | None, alias: AliasView | None
) -> tuple[FunctionChange, ...]:
    """The changes that put a function back, the alias first, because it is what serves.

    An entry that is *attaching* may have a step still at work on it, one that was stopped but not yet dead. Its
    alias and `$LATEST` are therefore written even where they look right: the write renews their revision, and the
    late step's own change, which names the revision that it had read, is refused by Lambda.
    """
    changes: list[FunctionChange] = []
    fence = entry.status is EntryStatus.ATTACHING
    if alias is not None and entry.strategy == "alias":
        ours = entry.after.version if entry.after else None
        back = entry.before.version if ours is not None and alias.version == ours else alias.version
        weights = {version: share for version, share in alias.weights.items() if version not in (ours, back)}
        if fence or back != alias.version or weights != dict(alias.weights):
            changes.append(MoveAlias(entry.function, alias.name, back or alias.version, weights, alias.revision))
    if latest is not None:
        attached = candidate in latest.layers
        layers = swap(latest.layers, candidate, entry.replaced) if attached else latest.layers
        if attached or fence:
            changes.append(SetLayers(entry.function, layers, latest.revision))
    return tuple(changes)


def confirm(entry: Entry, candidate: LayerArn, latest: FunctionView | None, alias: AliasView | None) -> Entry:
    """The entry as the function's own state proves it: restored, or not and why."""
    if latest is None:
        return _confirmed(entry, EntryStatus.RESTORED, "the function does not exist any more")
    if candidate in latest.layers:
        return _confirmed(entry, EntryStatus.UNRESTORED, "$LATEST still has the candidate")
    ours = entry.after.version if entry.after else None
    if alias is not None and ours is not None and (alias.version == ours or ours in alias.weights):
        return _confirmed(entry, EntryStatus.UNRESTORED, f"alias {alias.name!r} still sends traffic to version {ours}")
    changed = latest.layers != entry.before.layers
    note = "somebody changed its layers meanwhile; their change was kept" if changed else entry.reason
    return _confirmed(entry, EntryStatus.RESTORED, note)


def _confirmed(entry: Entry, status: EntryStatus, reason: str) -> Entry:
    return entry.model_copy(update={"status": status, "reason": reason})


def by_hand(entry: Entry) -> str:
    """The commands with which a person puts the function back."""
    layers = " ".join(entry.before.layers)
    commands = [f"aws lambda update-function-configuration --function-name {entry.function} --layers {layers}"]
    if entry.alias and entry.before.version:
        commands.insert(
            0,
            f"aws lambda update-alias --function-name {entry.function} --name {entry.alias} "
            f"--function-version {entry.before.version} --routing-config AdditionalVersionWeights={{}}",
        )
    return " && ".join(commands)
