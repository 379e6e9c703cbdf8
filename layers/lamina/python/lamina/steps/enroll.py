"""Enroll: take the lock, find the fleet, choose canaries and waves, freeze history, write the journal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.alarms import states_of
from lamina.canaries import names
from lamina.cohorts import Cohorts
from lamina.errors import RolloutInProgress, Unsettled
from lamina.fleet import (
    BUSY,
    IMAGE,
    AliasView,
    FunctionView,
    Scope,
    critical,
    foreign,
    images_of,
    lookalikes_of,
    outside,
    unfit,
    unprovisioned,
    unreleased,
)
from lamina.layerlist import find
from lamina.model import FunctionName, LayerArn, LayerVersion, Model, Reason, Release, Variant
from lamina.questions import language
from lamina.rollout import Entry, EntryStatus, Lock, Rollout, RolloutPolicy, RolloutStatus, Snapshot
from lamina.steps.choosing import CLOSED, Chooser, traffic_before
from lamina.steps.freezing import freeze_past, unrelated
from lamina.steps.weighing import Scales

if TYPE_CHECKING:
    from lamina.gateways.alarms import Alarms
    from lamina.gateways.executions import Executions
    from lamina.gateways.functions import Functions
    from lamina.gateways.metrics import Metrics
    from lamina.gateways.registry import Layers
    from lamina.gateways.reports import Reports
    from lamina.gateways.rollouts import Rollouts
    from lamina.gateways.sizes import Sizes
    from lamina.gateways.store import Store
    from lamina.gateways.usage import Usage

MOST_WAITED_FOR = 5
"""How many functions that somebody else is changing are waited for, before they are left alone."""

WAITED = 20
"""Seconds for each of them."""

MOST_IMAGES = 20
"""How many functions that are made of images are named at most."""


class EnrollEvent(Model):
    """What the rollout state machine hands to Enroll."""

    rollout: str
    execution: str
    run: str
    variant: Variant
    candidate: LayerVersion
    attempt: int = 1
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
    usage: Usage
    reports: Reports
    alarms: Alarms


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
    name = event.variant.variant
    candidate, before = reach.layers.release(name, event.candidate.version), reach.layers.promoted(name)
    if candidate is not None and candidate.replaces:
        # Functions of a layer that the variant shared until now are its own from this release on.
        replaced = tuple(dict.fromkeys((*policy.replaces, *candidate.replaces)))
        policy = policy.model_copy(update={"replaces": replaced})
    rollout = done or _open(event, policy, owner, reach)
    listed = tuple(reach.functions.all())
    views = {view.name: view for view in listed}
    surveyed = survey(event.candidate.arn, policy, scope, reach.functions, candidate, listed)
    weighed = Scales(reach.layers, reach.store, reach.sizes).weigh(surveyed, views, event.candidate.arn)
    entries = unrelated(weighed, name, reach.rollouts, event.now)
    eligible = [entry for entry in entries if entry.status is EntryStatus.PLANNED]
    traffic = traffic_before(eligible, reach.metrics, event.now)
    chooser = Chooser(language(event.variant.runtime), candidate, before, reach.usage, reach.store)
    imported = chooser.read(eligible, views, traffic)
    cohorts = chooser.choose(eligible, traffic, imported, policy)
    folder = f"rollouts/{event.rollout}"
    waved = tuple(_place(entry, cohorts) for entry in entries)
    plan: dict[str, object] = {
        "waves": cohorts.waves,
        "history": freeze_past(rollout, waved, traffic, reach, event.now - CLOSED),
        "imports": reach.store.write_json(
            f"{folder}/imports.json", {name: sorted(modules) for name, modules in imported.by_function.items()}
        ),
    }
    images = images_of(listed, policy, scope)
    plan["canary_reason"] = " ".join(filter(None, (cohorts.reason, _more_images(images))))
    placed = (*waved, *(_place(_image(image), cohorts) for image in images[:MOST_IMAGES]))
    for entry in placed:
        reach.rollouts.note(event.rollout, entry, RolloutStatus.OPEN)
    # The waves are written last: a rollout that has them has its whole journal.
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
        attempt=event.attempt,
        baseline=reach.layers.state(event.variant.variant).promoted,
        policy=policy,
        opened=event.now,
        as_of=event.as_of,
        reason=event.reason,
        summary=event.summary,
        owner=owner,
        alarms=states_of(policy.alarms, reach.alarms.states(policy.alarms)),
    )
    reach.rollouts.create(rollout)
    return rollout


def survey(
    candidate: LayerArn,
    policy: RolloutPolicy,
    scope: Scope,
    functions: Functions,
    release: Release | None = None,
    listed: Sequence[FunctionView] | None = None,
) -> tuple[Entry, ...]:
    """The fleet by name, each function as it is now, or with the reason why it is left alone.

    No function is left alone for its size here; Lambda itself refuses what is too large.

    Args:
        release: the candidate as the registry knows it; None leaves functions alone neither for their runtime nor for
            their architecture.
        listed: all functions, as far as they have been listed already.
    """
    every = tuple(functions.all()) if listed is None else listed
    strangers = lookalikes_of(every, candidate, policy)
    entries = []
    for view in sorted(every, key=lambda view: view.name):
        old = find(view.layers, candidate, policy.replaces) or strangers.get(view.name)
        if old is None:
            continue
        entry = Entry(function=view.name, before=Snapshot(layers=view.layers), replaced=old, timeout=view.timeout)
        known = {"runtime": view.runtime, "architecture": view.architecture, "changed": view.modified}
        entry = entry.model_copy(update=known)
        reason = outside(view.name, policy, scope) or (foreign(old) if view.name in strangers else None)
        entries.append(_left_alone(entry, reason) if reason else examine(entry, candidate, policy, functions, release))
    waited_for = [entry.function for entry in entries if entry.reason == BUSY][:MOST_WAITED_FOR]
    return tuple(
        _once_settled(entry, candidate, policy, functions, release) if entry.function in waited_for else entry
        for entry in entries
    )


def _once_settled(
    entry: Entry, candidate: LayerArn, policy: RolloutPolicy, functions: Functions, release: Release | None
) -> Entry:
    with suppress(Unsettled):
        functions.settle(entry.function, seconds=WAITED)
    again = entry.model_copy(update={"status": EntryStatus.PLANNED, "reason": ""})
    return examine(again, candidate, policy, functions, release)


def examine(
    entry: Entry, candidate: LayerArn, policy: RolloutPolicy, functions: Functions, release: Release | None = None
) -> Entry:
    """The entry with what its function is now: its strategy, what stands there before, or why it is left alone."""
    latest = functions.read(entry.function)
    if latest is None:
        return _left_alone(entry, "the function does not exist any more")
    entry = entry.model_copy(update={"critical": critical(latest)})
    if reason := unfit(latest, candidate, release):
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
    entry = entry.model_copy(update={"strategy": "alias", "alias": alias.name, "before": before})
    kept = functions.provisioned(entry.function)
    if kept is None:
        return entry.model_copy(update={"reason": "whether its alias has provisioned concurrency is unknown"})
    if reason := unprovisioned(alias, kept):
        return _left_alone(entry, reason)
    return entry.model_copy(update={"provisioned": kept[alias.name].requested if alias.name in kept else 0})


def _alias_trouble(latest: FunctionView, alias: AliasView, behind: FunctionView | None) -> str | None:
    if behind is None:
        return f"version {alias.version} behind its alias {alias.name!r} does not exist any more"
    if alias.weights:
        return f"its alias {alias.name!r} is split between versions: somebody else's deployment is under way"
    if reason := unreleased(latest, behind):
        return f"unreleased work, which publishing would release: {reason}"
    return None


def _place(entry: Entry, cohorts: Cohorts) -> Entry:
    return entry.model_copy(update={"wave": cohorts.wave_of.get(entry.function, -1)})


def _image(function: FunctionName) -> Entry:
    return _left_alone(Entry(function=function, before=Snapshot(layers=()), replaced=""), IMAGE)


def _more_images(images: Sequence[FunctionName]) -> str:
    if len(images) <= MOST_IMAGES:
        return ""
    return f"{len(images)} functions are made of images and are left alone: {names(images)}."


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
