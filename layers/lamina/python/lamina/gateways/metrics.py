"""CloudWatch: invocations, errors, throttles and durations of functions, minute by minute.

No invocations means no datapoint, and no datapoint is *unknown*, not zero: only minutes with invocations come
back. Errors that are absent where invocations are present are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from lamina.verdict import Minute

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

_QUERIES_PER_CALL = 500
_POINTS_PER_CALL = 100_800

Dimensions: TypeAlias = Mapping[str, str]
"""A metric's dimensions: ``FunctionName``, ``Resource``, ``ExecutedVersion``."""


@dataclass(frozen=True)
class _Query:
    metric: str
    statistic: str
    dimensions: Dimensions
    period: int = 60


class Metrics:
    """The metrics of Lambda functions. Moments are aware UTC, rounded down to the minute; the end's is left out."""

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client

    def minutes(
        self, dimensions: Mapping[str, Dimensions], start: datetime, end: datetime
    ) -> dict[str, tuple[Minute, ...]]:
        """Minutes with traffic in [start, end), oldest first, for each key of `dimensions`."""
        found = self._sums(("Invocations", "Errors"), dimensions, start, end)
        return {
            key: tuple(
                Minute(start=moment, invocations=round(count), errors=round(errors.get(moment, 0)))
                for moment, count in sorted(invocations.items())
                if count > 0
            )
            for key, (invocations, errors) in found.items()
        }

    def throttles(
        self, dimensions: Mapping[str, Dimensions], start: datetime, end: datetime
    ) -> dict[str, dict[datetime, int]]:
        """How many requests were throttled in each minute in which any were, for each key of `dimensions`."""
        found = self._sums(("Throttles",), dimensions, start, end)
        return {
            key: {moment: round(count) for moment, count in throttles.items() if count > 0}
            for key, (throttles,) in found.items()
        }

    def percentiles(
        self, dimensions: Mapping[str, Dimensions], start: datetime, end: datetime, percent: int, period: timedelta
    ) -> dict[str, tuple[tuple[datetime, float], ...]]:
        """A percentile of the durations, in milliseconds, of each period with traffic, for each key of `dimensions`.

        Args:
            period: whole minutes; CloudWatch begins periods of an hour with the hour.
        """
        seconds = int(period.total_seconds())
        queries = {key: _Query("Duration", f"p{percent}", mine, seconds) for key, mine in dimensions.items()}
        return {key: tuple(sorted(points.items())) for key, points in self._read(queries, start, end).items()}

    def slower(
        self, limits: Mapping[str, tuple[Dimensions, float]], start: datetime, end: datetime
    ) -> dict[str, tuple[Minute, ...]]:
        """Minutes with traffic, and in `errors` how many invocations took longer than a limit.

        CloudWatch's percentile rank ``PR(limit:)`` is the percentage of values above the limit; it is exact for a
        limit that a value is not equal to, up to the width of the bins that CloudWatch keeps durations in.

        Args:
            limits: for each key dimensions and the limit in milliseconds.
        """
        queries: dict[tuple[str, str], _Query] = {}
        for key, (dimensions, ms) in limits.items():
            queries[key, "all"] = _Query("Duration", "SampleCount", dimensions)
            queries[key, "above"] = _Query("Duration", f"PR({ms:g}:)", dimensions)
        found = self._read(queries, start, end)
        return {
            key: tuple(
                Minute(moment, round(count), round(count * found[key, "above"].get(moment, 0.0) / 100))
                for moment, count in sorted(found[key, "all"].items())
                if count > 0
            )
            for key in limits
        }

    def _sums(
        self, metrics: Sequence[str], dimensions: Mapping[str, Dimensions], start: datetime, end: datetime
    ) -> dict[str, tuple[dict[datetime, float], ...]]:
        queries = {(key, metric): _Query(metric, "Sum", mine) for key, mine in dimensions.items() for metric in metrics}
        found = self._read(queries, start, end)
        return {key: tuple(found[key, metric] for metric in metrics) for key in dimensions}

    def _read(self, queries: Mapping[Any, _Query], start: datetime, end: datetime) -> dict[Any, dict[datetime, float]]:
        """What each query has in [start, end), by moment."""
        first, last = _floor(start), _floor(end)
        found: dict[Any, dict[datetime, float]] = {key: {} for key in queries}
        keys = list(queries)
        for at in range(0, len(keys), _QUERIES_PER_CALL):
            part = keys[at : at + _QUERIES_PER_CALL]
            asked = [_asked(f"q{number}", queries[key]) for number, key in enumerate(part)]
            shortest = min(queries[key].period for key in part)
            for from_, until in _spans(first, last, len(part), shortest):
                pages = self._client.get_paginator("get_metric_data").paginate(
                    MetricDataQueries=asked, StartTime=from_, EndTime=until, ScanBy="TimestampAscending"
                )
                for result in (result for page in pages for result in page["MetricDataResults"]):
                    points = zip(result["Timestamps"], result["Values"], strict=True)
                    found[part[int(result["Id"][1:])]].update(points)
        return found


def _asked(name: str, query: _Query) -> Any:
    return {
        "Id": name,
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/Lambda",
                "MetricName": query.metric,
                "Dimensions": [{"Name": key, "Value": value} for key, value in sorted(query.dimensions.items())],
            },
            "Period": query.period,
            "Stat": query.statistic,
        },
    }


def _spans(first: datetime, last: datetime, queries: int, period: int) -> Iterable[tuple[datetime, datetime]]:
    """The time in parts, so that no call has more datapoints than one may ask for."""
    step = timedelta(seconds=max(1, _POINTS_PER_CALL // queries) * period)
    while first < last:
        until = min(last, first + step)
        yield first, until
        first = until


def _floor(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
