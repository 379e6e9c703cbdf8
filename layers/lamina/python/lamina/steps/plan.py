"""Plan: what an update is asked to do, held against the definitions; recorded before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lamina.advisory import affecting
from lamina.collected import Collected
from lamina.culprit import canonical
from lamina.definition import Definition
from lamina.errors import InvalidInput
from lamina.inputs import Locked, Plan, known, parse_input, plan, run_id, steers, stopped, without
from lamina.model import Model, Release
from lamina.steering import Steering

if TYPE_CHECKING:
    from lamina.gateways.definitions import Definitions
    from lamina.gateways.registry import Claims, Layers, Runs
    from lamina.gateways.switch import Switch


class PlanEvent(Model):
    """What the update state machine hands to Plan: the execution's input as it arrived, and the execution's ARN."""

    input: Any
    execution: str
    now: datetime


@dataclass(frozen=True)
class Gateways:
    """What Plan reaches."""

    layers: Layers
    runs: Runs
    claims: Claims
    definitions: Definitions
    switch: Switch


def run(event: PlanEvent, collected: Collected, reach: Gateways) -> Plan:
    """Validate the input, list the variants, record the run.

    Fixes that an advisory asks for are claimed for this run; a variant whose fixes other runs have claimed is left to
    them. A dry run claims nothing, and sees no claims. While everything is paused only a dry run does anything.
    Packages that a person releases are held back no longer.

    Args:
        collected: the layer definitions; the run keeps a copy of those that are not deployed with the stack.

    Raises:
        InvalidInput: the input is not one that Lamina accepts.
    """
    request = parse_input(event.input, event.now)
    if isinstance(request, Steering):
        return _recorded(steers(request, event.now, run=run_id(event.execution)), event, reach)
    definitions, refusals = collected.load()
    locks: dict[str, Locked | None] = {}

    def promoted(variant: str) -> Locked | None:
        if variant not in locks:
            release = reach.layers.serving(variant)
            locks[variant] = None if release is None else locked(release)
        return locks[variant]

    # First of all, so that it is up to date even where the input names a layer that is gone.
    reach.runs.keep_known(known(definitions, refusals))
    refusals = (*refusals, *collected.missing(request.layers))
    planned = plan(request, definitions, refusals, promoted, run=run_id(event.execution))
    paused = "" if planned.dry_run else reach.switch.paused()
    if paused:
        planned = stopped(planned, paused)
    elif planned.security and not planned.dry_run:
        planned = without(planned, _taken(planned, promoted, reach.claims, event.now))
    if request.release and planned.variants:
        _let_go(planned, request.release, event.now, reach.layers)
    planned = _with_copies(planned, {one.name: one for one in definitions if one.name in collected.places}, reach)
    return _recorded(planned, event, reach)


def _recorded(planned: Plan, event: PlanEvent, reach: Gateways) -> Plan:
    reach.runs.open(planned.run, {"execution": event.execution, "started": event.now.isoformat(), **planned.to_json()})
    return planned


def _with_copies(planned: Plan, elsewhere: Mapping[str, Definition], reach: Gateways) -> Plan:
    """The plan with copies of definitions from elsewhere, which every later step of the run reads."""
    layers = sorted({variant.layer for variant in planned.variants} & elsewhere.keys())
    copies = {layer: reach.definitions.keep(elsewhere[layer], planned.run) for layer in layers}
    return planned.model_copy(
        update={
            "variants": tuple(
                variant.model_copy(update={"snapshot": copies.get(variant.layer)}) for variant in planned.variants
            )
        }
    )


def _let_go(planned: Plan, packages: Sequence[str], now: datetime, layers: Layers) -> None:
    """End the holding back of packages in the planned variants; doing it again for this run changes nothing.

    Raises:
        InvalidInput: one of them is held back nowhere there.
    """
    names = [variant.variant for variant in planned.variants]
    states = [layers.state(name) for name in names]
    held = [entry for state in states for entry in state.held_back]
    gone = [entry for state in states for entry in state.released if entry.by == planned.run]
    if unknown := sorted(set(packages) - {canonical(entry.package) for entry in (*held, *gone)}):
        there = ", ".join(sorted({f"{entry.package} {entry.version}" for entry in held})) or "nothing"
        raise InvalidInput(
            f'"release": no version of {", ".join(unknown)} is held back in {", ".join(names)}; held back there is '
            f"{there}. Nothing was changed."
        )
    for name in names:
        layers.let_go(name, packages, planned.run, now)


def locked(release: Release) -> Locked:
    """The packages of a release, by ecosystem."""
    return {"PyPI": release.packages, "npm": release.node_packages}


def _taken(planned: Plan, promoted: Callable[[str], Locked | None], claims: Claims, now: datetime) -> dict[str, str]:
    """Claim every variant's fixes; gives back the variants of which other runs have them all, with one such run."""
    taken: dict[str, str] = {}
    for variant in planned.variants:
        fixes = affecting(planned.advisories, promoted(variant.variant) or {})
        holders = [claims.take(variant.variant, advisory, planned.run, now) for advisory in fixes]
        others = [holder for holder in holders if holder != planned.run]
        if len(others) == len(holders):
            taken[variant.variant] = others[0]
    return taken
