"""What Lamina remembers, read as an operator would: its registry and the reports in its bucket."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client


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
        return {entry["function"] for entry in self._journal(rollout) if entry["status"] in ("left_alone", "restored")}

    def left_alone(self, rollout: str | None) -> dict[str, str]:
        """Functions that a rollout left alone, each with the reason."""
        return {
            entry["function"]: entry.get("reason") or ""
            for entry in self._journal(rollout)
            if entry["status"] == "left_alone"
        }

    def _journal(self, rollout: str | None) -> list[dict[str, Any]]:
        if rollout is None:
            return []
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={":pk": {"S": f"ROLLOUT#{rollout}"}, ":sk": {"S": "FUNCTION#"}},
        )
        return [{name: self._plain(value) for name, value in item.items()} for page in pages for item in page["Items"]]

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
