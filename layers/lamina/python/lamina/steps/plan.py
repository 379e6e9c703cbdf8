"""Plan: what an update is asked to do, held against the definitions; recorded before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lamina.definition import load_definitions
from lamina.inputs import Plan, parse_update, plan, run_id
from lamina.model import Model

if TYPE_CHECKING:
    from lamina.gateways.registry import Layers, Runs


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


def run(event: PlanEvent, folders: Mapping[str, Mapping[str, bytes]], reach: Gateways) -> Plan:
    """Validate the input, list the variants, record the run.

    Args:
        folders: the layer definitions, folder name to files.

    Raises:
        InvalidInput: the input is not one that Lamina accepts.
    """
    request = parse_update(event.input, event.now)
    definitions, refusals = load_definitions(folders)

    def promoted(variant: str) -> Mapping[str, str] | None:
        release = reach.layers.promoted(variant)
        return None if release is None else release.packages

    planned = plan(request, definitions, refusals, promoted, run=run_id(event.execution))
    reach.runs.open(planned.run, {"execution": event.execution, "started": event.now.isoformat(), **planned.to_json()})
    return planned
