"""Enroll: take the lock, find the fleet, choose canaries and waves, freeze history, write the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lamina.cohorts import Cohorts, Member, choose
from lamina.errors import RolloutInProgress
from lamina.fleet import AliasView, FunctionView, Scope, outside, unfit, unreleased, users_of
from lamina.layerlist import find
from lamina.model import LayerArn, LayerVersion, Model, Reason, Variant
from lamina.rollout import Entry, EntryStatus, Lock, Rollout, RolloutPolicy, RolloutStatus, Snapshot
from lamina.steps.weighing import Scales
from lamina.verdict import Minute

if TYPE_CHECKING:
    from lamina.gateways.executions import Executions
    from lamina.gateways.functions import Functions
    from lamina.gateways.metrics import Metrics
    from lamina.gateways.registry import Layers
    from lamina.gateways.rollouts import Rollouts
    from lamina.gateways.sizes import Sizes
    from lamina.gateways.store import Store

HISTORY = timedelta(days=7)
"""How far back a function's own history is read: it is the control of functions that run on `$LATEST`."""


class EnrollEvent(Model):
    """What the rollout state machine hands to Enroll."""

    rollout: str
    execution: str
    run: str
    variant: Variant
    candidate: LayerVersion
    as_of: datetime
    reason: Reason = Reason()
    summary: str = ""
    now: datetime


class Enrolled(Model):
    """What Enroll found. `waves` is 0 for an empty fleet; `supersedes` names a held rollout to put back first."""

    rollout: str
    waves: int
    fleet: int
    canaries: tuple[str, ...] = ()
    left_alone: int = 0
    supersedes: str | None = None


@dataclass(frozen=True)
class Gateways:
    """What Enroll reaches."""

    functions: Functions
    metrics: Metrics
    rollouts: Rollouts
    layers: Layers
    store: Store
    executions: Executions
    sizes: Sizes


def run(
    event: EnrollEvent,
    policy: RolloutPolicy,
    owner: str,
    scope: Scope,
    reach: Gateways,
) -> Enrolled:
    """Prepare a rollout; changes no function. A repeated step finds what it wrote and gives the same answer.

    Raises:
        RolloutInProgress: another rollout of this variant is under way.
    """
    held = _take_lock(event, reach)
    if held is not None:
        return Enrolled(rollout=event.rollout, waves=0, fleet=0, supersedes=held)
    done = reach.rollouts.get(event.rollout)
    if done is not None and done.waves:
        return _answer(done, reach.rollouts.entries(event.rollout))
    rollout = done or _open(event, policy, owner, reach)
    scales = Scales(reach.layers, reach.store, reach.sizes)
    entries = survey(event.candidate.arn, policy, scope, reach.functions, scales)
    eligible = [entry for entry in entries if entry.status is EntryStatus.PLANNED]
    traffic = _traffic(eligible, reach.metrics, event.now)
    cohorts = choose([_member(entry, traffic[entry.function]) for entry in eligible], policy)
    history = {entry.function: traffic[entry.function] for entry in eligible if entry.strategy == "latest"}
    key = reach.store.write_json(f"rollouts/{event.rollout}/history.json", _frozen(history))
    placed = tuple(_place(entry, cohorts) for entry in entries)
    for entry in placed:
        reach.rollouts.note(event.rollout, entry, RolloutStatus.OPEN)
    # The waves are written last: a rollout that has them has its whole journal.
    plan = {"waves": cohorts.waves, "canary_reason": cohorts.reason, "history": key}
    return _answer(reach.rollouts.save(rollout.model_copy(update=plan), RolloutStatus.OPEN), placed)


def _take_lock(event: EnrollEvent, reach: Gateways) -> str | None:
    """Take the variant's lock; the name of a held rollout that must be put back first, or None."""
    variant = event.variant.variant
    mine = Lock(rollout=event.rollout, execution=event.execution, since=event.now)
    if reach.rollouts.acquire(variant, mine):
        return None
    other = reach.rollouts.lock(variant)
    if other is None:
        return _take_lock(event, reach)
    if other.rollout == event.rollout:
        return None
    theirs = reach.rollouts.get(other.rollout)
    if theirs is not None and theirs.status is RolloutStatus.HELD:
        return other.rollout
    closed = theirs is not None and theirs.status not in (RolloutStatus.OPEN, RolloutStatus.ROLLING_BACK)
    # A lock whose execution is dead and whose rollout changed nothing is left over: nobody will free it any more.
    if closed or (theirs is None and not reach.executions.running(other.execution)):
        if reach.rollouts.acquire(variant, mine, instead_of=other):
            return None
        return _take_lock(event, reach)
    raise RolloutInProgress(
        f"{variant}: rollout {other.rollout} has been under way since {other.since:%Y-%m-%d %H:%M} UTC. "
        f'Nothing was changed. Wait for it, or put it back with rollback {{"layer": "{variant}"}}, then update again.'
    )


def _open(event: EnrollEvent, policy: RolloutPolicy, owner: str, reach: Gateways) -> Rollout:
    rollout = Rollout(
        rollout=event.rollout,
        variant=event.variant.variant,
        layer=event.variant.layer,
        run=event.run,
        execution=event.execution,
        candidate=event.candidate,
        baseline=reach.layers.state(event.variant.variant).promoted,
        policy=policy,
        opened=event.now,
        as_of=event.as_of,
        reason=event.reason,
        summary=event.summary,
        owner=owner,
    )
    reach.rollouts.create(rollout)
    return rollout


def survey(
    candidate: LayerArn, policy: RolloutPolicy, scope: Scope, functions: Functions, scales: Scales | None = None
) -> tuple[Entry, ...]:
    """The fleet by name, each function as it is now, or with the reason why it is left alone.

    Without `scales` no function is left alone for its size; Lambda then refuses what is too large.
    """
    listed = users_of(tuple(functions.all()), candidate, policy)
    entries = []
    for view in sorted(listed, key=lambda view: view.name):
        old = find(view.layers, candidate, policy.replaces)
        assert old is not None
        entry = Entry(function=view.name, before=Snapshot(layers=view.layers), replaced=old, timeout=view.timeout)
        reason = outside(view.name, policy, scope)
        entries.append(_left_alone(entry, reason) if reason else examine(entry, candidate, policy, functions))
    return scales.weigh(entries, {view.name: view for view in listed}, candidate) if scales else tuple(entries)


def examine(entry: Entry, candidate: LayerArn, policy: RolloutPolicy, functions: Functions) -> Entry:
    """The entry with what its function is now: its strategy, what stands there before, or why it is left alone."""
    latest = functions.read(entry.function)
    if latest is None:
        return _left_alone(entry, "the function does not exist any more")
    if reason := unfit(latest, candidate):
        return _left_alone(entry, reason)
    alias = None if policy.strategy == "latest" else functions.alias(entry.function, policy.alias)
    if alias is None or alias.version == "$LATEST":
        if policy.strategy == "alias":
            return _left_alone(entry, f"it has no alias {policy.alias!r} that points to a published version")
        return entry.model_copy(update={"before": Snapshot(layers=latest.layers)})
    behind = functions.read(entry.function, alias.version)
    if reason := _alias_trouble(latest, alias, behind):
        return _left_alone(entry, reason)
    before = Snapshot(layers=latest.layers, version=alias.version)
    return entry.model_copy(update={"strategy": "alias", "alias": alias.name, "before": before})


def _alias_trouble(latest: FunctionView, alias: AliasView, behind: FunctionView | None) -> str | None:
    if behind is None:
        return f"version {alias.version} behind its alias {alias.name!r} does not exist any more"
    if alias.weights:
        return f"its alias {alias.name!r} is split between versions: somebody else's deployment is under way"
    if reason := unreleased(latest, behind):
        return f"unreleased work, which publishing would release: {reason}"
    return None


def dimensions(entry: Entry) -> Mapping[str, str]:
    """The metric dimensions of all the traffic that a function's strategy is about."""
    if entry.strategy == "alias":
        return {"FunctionName": entry.function, "Resource": f"{entry.function}:{entry.alias}"}
    return {"FunctionName": entry.function}


def _traffic(entries: Sequence[Entry], metrics: Metrics, now: datetime) -> dict[str, tuple[Minute, ...]]:
    # The newest minutes are not closed yet; four minutes are what a short function's may take.
    return metrics.minutes({entry.function: dimensions(entry) for entry in entries}, now - HISTORY, _settled(now))


def _settled(now: datetime) -> datetime:
    return now - timedelta(minutes=4)


def _member(entry: Entry, minutes: Sequence[Minute]) -> Member:
    if not minutes:
        return Member(entry.function, entry.strategy, 0.0, 0.0)
    span = (minutes[-1].start - minutes[0].start) / timedelta(minutes=1) + 1
    invocations = sum(minute.invocations for minute in minutes)
    errors = sum(minute.errors for minute in minutes)
    return Member(entry.function, entry.strategy, invocations / span, errors / invocations)


def _frozen(history: Mapping[str, Sequence[Minute]]) -> dict[str, list[list[object]]]:
    return {
        name: [[minute.start.isoformat(), minute.invocations, minute.errors] for minute in minutes]
        for name, minutes in history.items()
    }


def _place(entry: Entry, cohorts: Cohorts) -> Entry:
    return entry.model_copy(update={"wave": cohorts.wave_of.get(entry.function, -1)})


def _left_alone(entry: Entry, reason: str) -> Entry:
    return entry.model_copy(update={"status": EntryStatus.LEFT_ALONE, "reason": reason})


def _answer(rollout: Rollout, entries: Sequence[Entry]) -> Enrolled:
    return Enrolled(
        rollout=rollout.rollout,
        waves=len(rollout.waves),
        fleet=len(entries),
        canaries=tuple(entry.function for entry in entries if entry.wave == 0),
        left_alone=sum(entry.status is EntryStatus.LEFT_ALONE for entry in entries),
    )
