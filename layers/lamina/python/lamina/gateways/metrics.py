"""CloudWatch: invocations and errors, minute by minute.

No invocations means no datapoint, and no datapoint is *unknown*, not zero: only minutes with invocations come
back. Errors that are absent where invocations are present are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from lamina.verdict import Minute

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

_KEYS_PER_CALL = 250  # two queries a key, 500 queries a call
_POINTS_PER_CALL = 100_800


class Metrics:
    """The metrics of Lambda functions."""

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client

    def minutes(
        self, dimensions: Mapping[str, Mapping[str, str]], start: datetime, end: datetime
    ) -> dict[str, tuple[Minute, ...]]:
        """Minutes with traffic in [start, end), oldest first, for each key of `dimensions`.

        Args:
            dimensions: for each key, the metric's dimensions (``FunctionName``, ``Resource``, ``ExecutedVersion``).
            start: aware UTC; rounded down to the minute.
            end: aware UTC; the minute that it lies in is left out.
        """
        first, last = _floor(start), _floor(end)
        found: dict[str, tuple[Minute, ...]] = {}
        keys = list(dimensions)
        if last <= first:
            return {key: () for key in keys}
        for at in range(0, len(keys), _KEYS_PER_CALL):
            part = keys[at : at + _KEYS_PER_CALL]
            found.update(self._read({key: dimensions[key] for key in part}, first, last))
        return found

    def _read(
        self, dimensions: Mapping[str, Mapping[str, str]], first: datetime, last: datetime
    ) -> dict[str, tuple[Minute, ...]]:
        keys = list(dimensions)
        sums: dict[str, dict[datetime, float]] = {}
        queries = [
            _query(f"{metric[0].lower()}{index}", metric, dimensions[key])
            for index, key in enumerate(keys)
            for metric in ("Invocations", "Errors")
        ]
        for from_, until in _spans(first, last, len(queries)):
            pages = self._client.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries, StartTime=from_, EndTime=until, ScanBy="TimestampAscending"
            )
            for page in pages:
                for result in page["MetricDataResults"]:
                    points = zip(result["Timestamps"], result["Values"], strict=True)
                    sums.setdefault(result["Id"], {}).update(points)
        return {
            key: tuple(
                Minute(start=moment, invocations=round(count), errors=round(sums.get(f"e{index}", {}).get(moment, 0)))
                for moment, count in sorted(sums.get(f"i{index}", {}).items())
                if count > 0
            )
            for index, key in enumerate(keys)
        }


def _query(name: str, metric: str, dimensions: Mapping[str, str]) -> Any:
    return {
        "Id": name,
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/Lambda",
                "MetricName": metric,
                "Dimensions": [{"Name": key, "Value": value} for key, value in sorted(dimensions.items())],
            },
            "Period": 60,
            "Stat": "Sum",
        },
    }


def _spans(first: datetime, last: datetime, queries: int) -> Sequence[tuple[datetime, datetime]]:
    minutes = max(1, _POINTS_PER_CALL // queries)
    spans = []
    while first < last:
        until = min(last, first + timedelta(minutes=minutes))
        spans.append((first, until))
        first = until
    return spans


def _floor(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
