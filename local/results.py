"""What a replay came to: read from the registry and the bucket, as an operator would, and judged.

The JSON form is a contract: see the scenarios' README.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

from local.scenario import Expectation

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

# The most serious first: what a run of several layers is called after.
SERIOUS = ("rolled_back", "rejected", "failed", "held", "promoted", "up_to_date")


class ReplayFailed(Exception):
    """The replay itself went wrong, whatever Lamina did; the message says where."""


@dataclass(frozen=True)
class Release:
    """A published layer version with the packages in it."""

    version: int
    arn: str
    packages: dict[str, str]
    node_packages: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Version and packages; those of npm only where there are any."""
        node = {"node_packages": self.node_packages} if self.node_packages else {}
        return {"version": self.version, "packages": self.packages, **node}


class Registry:
    """Reads what Lamina remembers, from its table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table
        self._plain = TypeDeserializer().deserialize

    def promoted(self, variant: str) -> int | None:
        """The version that new functions get, or None before the first."""
        version = self._item(f"LAYER#{variant}", "STATE").get("promoted")
        return None if version is None else int(version)

    def release(self, variant: str, version: int | None) -> Release | None:
        """One release of a variant."""
        item = {} if version is None else self._item(f"LAYER#{variant}", f"RELEASE#{version:08d}")
        if not item:
            return None
        npm = item.get("nodePackages", {})
        return Release(int(item["version"]), item["arn"], dict(item["packages"]), dict(npm))

    def excused(self, rollout: str | None) -> set[str]:
        """Functions that a rollout meant to leave, or to put back, on the old release whatever became of the rest."""
        if rollout is None:
            return set()
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={":pk": {"S": f"ROLLOUT#{rollout}"}, ":sk": {"S": "FUNCTION#"}},
        )
        entries = [item for page in pages for item in page["Items"]]
        return {entry["function"]["S"] for entry in entries if entry["status"]["S"] in ("left_alone", "restored")}

    def _item(self, pk: str, sk: str) -> dict[str, Any]:
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        item = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item", {})
        return {name: self._plain(value) for name, value in item.items()}


def run_report(s3: S3Client, bucket: str, run: str) -> dict[str, Any]:
    """The report that a run left in the artifacts bucket."""
    try:
        body = s3.get_object(Bucket=bucket, Key=f"reports/{run}/report.json")["Body"].read()
    except s3.exceptions.NoSuchKey:
        raise ReplayFailed(f"the run {run} left no report; its execution ended before Report") from None
    report: dict[str, Any] = json.loads(body)
    return report


@dataclass(frozen=True)
class Layer:
    """What the update did to one variant."""

    outcome: str
    before: Release | None
    candidate: Release | None
    promoted: int | None
    caught_by: str | None = None
    culprits: tuple[str, ...] = ()
    held_back: Mapping[str, str] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Function:
    """One function's layers before and after the update: what serves its callers, and what its `$LATEST` has."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    candidate_attached: bool
    latest: tuple[str, ...]
    routed: bool = False
    """Whether its alias still sends a share of its callers to another version."""


@dataclass(frozen=True)
class Flow:
    """The fleet's invocations, and those of them that ran on a candidate."""

    invocations: int = 0
    errors: int = 0
    on_candidate: int = 0
    errors_on_candidate: int = 0


@dataclass(frozen=True)
class Result:
    """A whole replay."""

    layers: Mapping[str, Layer]
    functions: Mapping[str, Function]
    traffic: Flow
    seconds: Mapping[str, float]
    aws_calls: Mapping[str, int]

    @property
    def outcome(self) -> str:
        """The most serious of the layers' outcomes."""
        return min((layer.outcome for layer in self.layers.values()), key=SERIOUS.index, default="up_to_date")

    @property
    def caught_by(self) -> str | None:
        """The stage that stopped the layer after which the outcome is named."""
        return next((layer.caught_by for layer in self.layers.values() if layer.outcome == self.outcome), None)

    @property
    def culprits(self) -> list[str]:
        """The packages that are blamed, over all layers."""
        return sorted({culprit for layer in self.layers.values() for culprit in layer.culprits})

    def to_json(self) -> dict[str, Any]:
        """The contract's JSON value."""
        return {
            "outcome": self.outcome,
            "caught_by": self.caught_by,
            "culprits": self.culprits,
            "held_back": {name: version for layer in self.layers.values() for name, version in layer.held_back.items()},
            "layers": {
                variant: {
                    "before": layer.before and layer.before.to_json(),
                    "candidate": layer.candidate and layer.candidate.to_json(),
                    "promoted": layer.promoted,
                }
                for variant, layer in self.layers.items()
            },
            "functions": {
                name: {
                    "before": list(function.before),
                    "after": list(function.after),
                    "candidate_attached": function.candidate_attached,
                }
                for name, function in self.functions.items()
            },
            "traffic": {
                "invocations": self.traffic.invocations,
                "errors": self.traffic.errors,
                "on_candidate": self.traffic.on_candidate,
                "errors_on_candidate": self.traffic.errors_on_candidate,
            },
            "seconds": {name: round(seconds, 2) for name, seconds in self.seconds.items()},
            "aws_calls": dict(sorted(self.aws_calls.items())),
        }


def broken_promises(
    layers: Mapping[str, Layer], functions: Mapping[str, Function], excused: Set[str] = frozenset()
) -> list[str]:
    """Sentences about functions that are neither on the old release nor on the new one; none if all is well.

    A function's layers must be those of before, or those with candidates in the same places; all on the new one after
    a promotion, all on the old one after anything else but a held rollout, in which both occur. Of `excused`
    functions the journal says that they stayed, or were put back.
    """
    sentences = []
    candidates = {
        layer.before.arn: layer.candidate.arn
        for layer in layers.values()
        if layer.before is not None and layer.candidate is not None and layer.outcome in ("promoted", "held")
    }
    held = any(layer.outcome == "held" for layer in layers.values())
    for name, function in functions.items():
        new = tuple(candidates.get(arn, arn) for arn in function.before)
        allowed = (function.before, new) if held or name in excused else (new,)
        for what, arns in (("serves", function.after), ("has in $LATEST", function.latest)):
            if arns not in allowed:
                sentences.append(f"{name} {what} {_listed(arns)}; it should be {' or '.join(map(_listed, allowed))}")
        if function.routed and not held:
            sentences.append(f"{name}: its alias still sends a share of its callers to another version")
    return sentences


def differences(result: Result, expect: Expectation) -> list[str]:
    """In what the result is not as expected, as sentences."""
    wanted: list[tuple[str, object, object]] = [("outcome", expect.outcome, result.outcome)]
    if expect.caught_by is not None:
        wanted.append(("caught by", expect.caught_by, result.caught_by))
    if expect.culprits is not None:
        wanted.append(("culprits", _names(expect.culprits), _names(result.culprits)))
    return [f"{what}: expected {expected}, was {actual}" for what, expected, actual in wanted if expected != actual]


def flow(counts: Mapping[tuple[str, str, tuple[str, ...]], tuple[int, int]], candidates: Iterable[str]) -> Flow:
    """Sum up the engine's counts by (function, version, layers); `candidates` are layer version ARNs."""
    new = frozenset(candidates)
    on_new = [pair for (_, _, arns), pair in counts.items() if new.intersection(arns)]
    return Flow(
        sum(invocations for invocations, _ in counts.values()),
        sum(errors for _, errors in counts.values()),
        sum(invocations for invocations, _ in on_new),
        sum(errors for _, errors in on_new),
    )


def _names(packages: Sequence[str]) -> list[str]:
    return sorted(package.lower().replace("_", "-").replace(".", "-") for package in packages)


def _listed(arns: Sequence[str]) -> str:
    return "[" + ", ".join(arn.split(":layer:")[-1] for arn in arns) + "]"
