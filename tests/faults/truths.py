"""What must hold once a world has come to rest, whatever happened to it on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3

from lamina.gateways.registry import Layers, Table
from lamina.gateways.rollouts import Rollouts
from lamina.rollout import ENDED, EntryStatus, Rollout, RolloutStatus
from tests.faults.world import ALIASED, FUNCTIONS, VARIANT, World

_BOOKKEEPING = {
    "Layers", "RevisionId", "LastModified", "Version", "FunctionArn", "LastUpdateStatus", "State", "ResponseMetadata",
    "Description", "MasterArn",
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A function as its callers meet it: the layers that serve, and all else in its configuration."""

    layers: tuple[str, ...]
    code: str
    configuration: dict[str, Any]


def photograph(name: str) -> tuple[Picture, Picture]:
    """`$LATEST`, and what serves: the version behind the alias where there is one, else `$LATEST` again."""
    client = boto3.client("lambda")
    latest = _picture(client.get_function_configuration(FunctionName=name))
    if name not in ALIASED:
        return latest, latest
    return latest, _picture(client.get_function_configuration(FunctionName=name, Qualifier="live"))


def _picture(answer: dict[str, Any]) -> Picture:
    layers = tuple(row["Arn"] for row in answer.get("Layers", ()))
    rest = {key: value for key, value in answer.items() if key not in _BOOKKEEPING}
    return Picture(layers, answer["CodeSha256"], rest)


class Truths:
    """Holds a world at rest against what it was at first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._first = {name: photograph(name) for name in FUNCTIONS}

    def broken(self, rollout: str, allowed: tuple[int, ...]) -> Iterator[str]:
        """What does not hold, in sentences; nothing where all is well.

        Args:
            rollout: the rollout that came to rest.
            allowed: releases that functions may be on.
        """
        table = Table(boto3.client("dynamodb"), "registry")
        rollouts, state = Rollouts(table), Layers(table).state(VARIANT.variant)
        if lock := rollouts.lock(VARIANT.variant):
            yield f"the lock is still held by {lock.rollout}"
        record = rollouts.get(rollout)
        if record is not None and record.status not in ENDED:
            yield f"{rollout} is still {record.status}"
        if state.promoted not in allowed:
            yield f"release {state.promoted} is promoted"
        if record is not None and (record.status is RolloutStatus.PROMOTED) != (
            state.promoted == record.candidate.version
        ):
            yield f"{rollout} is {record.status}, but release {state.promoted} is promoted"
        yield from self._functions(rollouts, record, state.promoted or 0)
        yield from self._layers()

    def _functions(self, rollouts: Rollouts, record: Rollout | None, promoted: int) -> Iterator[str]:
        entries = {entry.function: entry for entry in rollouts.entries(record.rollout)} if record else {}
        client = boto3.client("lambda")
        for name in FUNCTIONS:
            latest, serving = photograph(name)
            was = self._first[name][1]
            for what, now in (("$LATEST", latest), ("what serves", serving)):
                if [*now.layers[:1], *now.layers[2:]] != [*was.layers[:1], *was.layers[2:]]:
                    yield f"{name}: other layers or their order changed in {what}"
                if now.code != was.code or now.configuration != was.configuration:
                    yield f"{name}: code or configuration changed in {what}"
                if now.layers[1] != self._world.releases[promoted]:
                    number = now.layers[1].rpartition(":")[2]
                    yield f"{name}: {what} is on release {number}, but {promoted} is promoted"
            if name in ALIASED and client.get_alias(FunctionName=name, Name="live").get("RoutingConfig", {}).get(
                "AdditionalVersionWeights"
            ):
                yield f"{name}: its alias is still split"
            entry = entries.get(name)
            if entry is not None and record is not None:
                good = {
                    RolloutStatus.PROMOTED: (EntryStatus.ATTACHED, EntryStatus.COMPLETED),
                    RolloutStatus.ROLLED_BACK: (EntryStatus.RESTORED, EntryStatus.PLANNED),
                }.get(record.status, ())
                if entry.status not in good:
                    said = f"{entry.status} ({entry.reason})"
                    yield f"{name}: its journal says {said} while {record.rollout} is {record.status}"

    def _layers(self) -> Iterator[str]:
        versions = boto3.client("lambda").list_layer_versions(LayerName=VARIANT.variant)["LayerVersions"]
        if {row["LayerVersionArn"] for row in versions} != set(self._world.releases.values()):
            yield "a layer version is gone"
