"""Restore: put back every function of a rollout, or bring a fleet to the release that a person chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lamina.errors import InvalidInput, NothingToRestore, RolloutClosed, RolloutInProgress, Unsettled
from lamina.fleet import Scope
from lamina.model import LayerVersion, Model, Reason
from lamina.recovery import ReturnTo, UndoRollout, parse
from lamina.rollout import (
    ENDED,
    TOUCHED,
    Entry,
    EntryStatus,
    Lock,
    Rollout,
    RolloutPolicy,
    RolloutStatus,
    Wave,
)
from lamina.steps.attach import move_of
from lamina.steps.changing import bring, put_back
from lamina.steps.enroll import survey

if TYPE_CHECKING:
    from lamina.gateways.executions import Executions
    from lamina.gateways.functions import Functions
    from lamina.gateways.registry import Layers
    from lamina.gateways.rollouts import Rollouts


class RestoreEvent(Model):
    """What the rollback state machine hands to Restore: its own input, whatever it is."""

    input: Any
    execution: str
    now: datetime


class Restored(Model):
    """How far the restoring is. `rollout` is None if there was nothing to do; `target` is a release a person chose.

    `functions` are those that were to be put back on their own; empty where it is about the whole rollout.
    """

    rollout: str | None
    restored: int = 0
    unrestored: int = 0
    pending: int = 0
    target: int | None = None
    cause: str = ""
    functions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gateways:
    """What Restore reaches."""

    functions: Functions
    rollouts: Rollouts
    layers: Layers
    executions: Executions


def run(
    event: RestoreEvent,
    reach: Gateways,
    scope: Scope,
    time_left: Callable[[], bool],
) -> Restored:
    """Put back what the input names; doing it again changes nothing.

    Raises:
        InvalidInput: the input is none of the accepted forms, or names what does not exist.
        NothingToRestore: there is no release to go back to.
    """
    request = parse(event.input)
    if isinstance(request, UndoRollout) and request.functions:
        return _undo_some(request, reach, time_left)
    if isinstance(request, UndoRollout):
        return _undo(request, event, reach, time_left)
    mine = reach.rollouts.get(event.execution.rsplit(":", 1)[1])
    if mine is not None:
        return _bring_all(mine, event, reach, time_left)
    held = reach.rollouts.lock(request.variant)
    under_way = reach.rollouts.get(held.rollout) if held else None
    if under_way is not None and under_way.status in (
        RolloutStatus.OPEN,
        RolloutStatus.HELD,
        RolloutStatus.ROLLING_BACK,
    ):
        if request.version is not None:
            raise InvalidInput(
                f"{request.variant}: rollout {under_way.rollout} is under way, so nothing was changed. Put it back "
                f'first with {{"layer": "{request.variant}"}}, then ask for version {request.version} again.'
            )
        undo = UndoRollout(under_way.rollout, "person", "a person asked for the rollback")
        return _undo(undo, event, reach, time_left)
    return _bring_all(_open(request, event, reach, scope), event, reach, time_left)


def _undo(request: UndoRollout, event: RestoreEvent, reach: Gateways, time_left: Callable[[], bool]) -> Restored:
    rollout = _close(request, reach)
    if rollout is None:
        return Restored(rollout=None)
    touched = [entry for entry in reach.rollouts.entries(rollout.rollout) if entry.status in TOUCHED]
    done = _put_back(rollout, touched, reach, time_left)
    if rollout.question is not None:
        # Nobody needs to answer any more, and the rollout's execution need not wait for it. Functions come first.
        reach.executions.decline(rollout.question.token, request.text)
    return done


def _undo_some(request: UndoRollout, reach: Gateways, time_left: Callable[[], bool]) -> Restored:
    """Put some functions back while the rollout stays open: their entries say why, and Attach passes them over."""
    rollout = reach.rollouts.get(request.rollout)
    if rollout is None or rollout.status is not RolloutStatus.OPEN:
        return Restored(rollout=None)
    touched = [
        entry.model_copy(update={"reason": request.text[:500]})
        for entry in reach.rollouts.entries(rollout.rollout)
        if entry.function in request.functions and entry.status in TOUCHED
    ]
    done = _put_back(rollout, touched, reach, time_left)
    return done.model_copy(update={"functions": request.functions})


def _put_back(rollout: Rollout, entries: Sequence[Entry], reach: Gateways, time_left: Callable[[], bool]) -> Restored:
    done: list[Entry] = []
    for entry in entries:
        if not time_left():
            break
        try:
            restored = put_back(entry, rollout.candidate.arn, reach.functions)
        except Unsettled as unsettled:
            # The others have their turn all the same; this one is told of, with the commands to do it by hand.
            restored = entry.model_copy(update={"status": EntryStatus.UNRESTORED, "reason": str(unsettled)})
        try:
            reach.rollouts.note(rollout.rollout, restored, rollout.status)
        except RolloutClosed:
            # Two rollbacks of one rollout may run at once; the other has taken it over, or brought it to its end.
            return Restored(rollout=None)
        done.append(restored)
    return _restored(rollout, done, len(entries) - len(done), None)


def _close(request: UndoRollout, reach: Gateways) -> Rollout | None:
    """The rollout, closed to everybody who would go on with it; None if it has come to an end before."""
    while True:
        rollout = reach.rollouts.get(request.rollout)
        if rollout is None or rollout.status in ENDED:
            return None
        if rollout.status is RolloutStatus.ROLLING_BACK:
            return rollout
        closing = {"status": RolloutStatus.ROLLING_BACK, "cause": request.text, "cause_kind": request.kind}
        try:
            return reach.rollouts.save(rollout.model_copy(update=closing), rollout.status)
        except RolloutClosed:
            continue


def _bring_all(rollout: Rollout, event: RestoreEvent, reach: Gateways, time_left: Callable[[], bool]) -> Restored:
    if rollout.status is not RolloutStatus.OPEN:
        return Restored(rollout=None)
    entries = reach.rollouts.entries(rollout.rollout)
    todo = [entry for entry in entries if entry.status in (EntryStatus.PLANNED, EntryStatus.ATTACHING)]
    done: list[Entry] = []
    for entry in todo:
        if not time_left():
            break

        def note(changed: Entry) -> None:
            reach.rollouts.note(rollout.rollout, changed, RolloutStatus.OPEN)

        # One that is not settled yet has its turn again with the next call.
        with suppress(Unsettled):
            done.append(bring(entry, move_of(rollout, wholly=True), reach.functions, note, event.now))
    return _restored(rollout, done, len(todo) - len(done), rollout.candidate.version)


def _open(
    request: ReturnTo,
    event: RestoreEvent,
    reach: Gateways,
    scope: Scope,
) -> Rollout:
    """A rollout of its own for a person's wish, with its journal, so that it too can be retried and reported."""
    variant = request.variant
    state = reach.layers.state(variant)
    if state.promoted is None:
        known = "no release of it was ever promoted. Check the variant's name, for example web-python313-arm64"
        raise NothingToRestore(f"{variant}: there is nothing to go back to: {known}.")
    version = request.version or state.promoted
    release = reach.layers.release(variant, version)
    if release is None or release.status == "rejected":
        there = [str(entry.version) for entry in reach.layers.releases(variant) if entry.status != "rejected"]
        raise InvalidInput(f"{variant} has no release {version} to go back to. There are: {', '.join(there)}.")
    name = event.execution.rsplit(":", 1)[1]
    mine = Lock(rollout=name, execution=event.execution, since=event.now)
    other = reach.rollouts.lock(variant)
    if not reach.rollouts.acquire(variant, mine, instead_of=other):
        raise RolloutInProgress(f"{variant}: a rollout began this very moment. Nothing was changed; try again.")
    policy = _policy_of_last(reach, variant, state.promoted)
    candidate = LayerVersion(version=release.version, arn=release.arn, digest=release.digest)
    rollout = Rollout(
        rollout=name,
        kind="rollback",
        variant=variant,
        layer=variant,
        run=name,
        execution=event.execution,
        candidate=candidate,
        baseline=state.promoted,
        policy=policy,
        waves=(Wave(name="all", count=0, percent=100),),
        opened=event.now,
        as_of=event.now,
        reason=Reason(kind="console", text=f"a person asked for version {version}"),
        summary=f"back to version {version}",
        cause="a person asked for the rollback",
        cause_kind="person",
    )
    reach.rollouts.create(rollout)
    for entry in survey(candidate.arn, policy, scope, reach.functions):
        reach.rollouts.note(name, entry, RolloutStatus.OPEN)
    return rollout


def _policy_of_last(reach: Gateways, variant: str, version: int) -> RolloutPolicy:
    """The policy that the promoted release was rolled out under: it names the alias and what is excluded."""
    release = reach.layers.release(variant, version)
    last = reach.rollouts.get(release.rollout) if release is not None and release.rollout else None
    return last.policy if last else RolloutPolicy()


def _restored(rollout: Rollout, done: list[Entry], pending: int, target: int | None) -> Restored:
    unrestored = sum(entry.status is EntryStatus.UNRESTORED for entry in done)
    return Restored(
        rollout=rollout.rollout,
        restored=len(done) - unrestored,
        unrestored=unrestored,
        pending=pending,
        target=target,
        cause=rollout.cause,
    )
