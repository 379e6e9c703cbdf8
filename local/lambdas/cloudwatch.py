"""CloudWatch's API for the metrics of the functions that run here; all other namespaces stay with moto."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue, ValidationError
from moto.cloudwatch.models import CloudWatchBackend, MetricDatumBase
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

from local.metrics import NAMESPACE, UNITS, MetricStore
from local.patches import Patches

_QUERIES = 500
_DATAPOINTS = 100_800  # of one GetMetricData answer
_STATISTICS_DATAPOINTS = 1440


def install(store: MetricStore, patches: Patches) -> None:
    """Have moto answer ``AWS/Lambda`` from the store."""
    moto_data: Callable[..., ActionResult] = CloudWatchResponse.get_metric_data
    moto_statistics: Callable[..., ActionResult] = CloudWatchResponse.get_metric_statistics
    moto_metrics: Callable[..., list[Any]] = CloudWatchBackend.get_filtered_metrics

    def get_metric_data(response: CloudWatchResponse) -> ActionResult:
        parameters = response._get_params()
        queries: list[dict[str, Any]] = parameters.get("MetricDataQueries", [])
        start, end = _aware(parameters["StartTime"]), _aware(parameters["EndTime"])
        _check(queries, start, end)
        if not any(_namespace(query) == NAMESPACE for query in queries):
            return moto_data(response)
        newest_first = (parameters.get("ScanBy") or "TimestampDescending") == "TimestampDescending"
        others = [query for query in queries if _namespace(query) != NAMESPACE]
        found: dict[str, dict[str, Any]] = {}
        if others:
            scan = "TimestampDescending" if newest_first else "TimestampAscending"
            backend = response.cloudwatch_backend
            naive = {"start_time": start.replace(tzinfo=None), "end_time": end.replace(tzinfo=None)}
            for answer in backend.get_metric_data(queries=others, scan_by=scan, **naive):
                found[answer["id"]] = answer
        left = int(parameters.get("MaxDatapoints") or _DATAPOINTS)
        for query in queries:
            if _namespace(query) == NAMESPACE:
                answer = _answer(store, query, start, end, newest_first, left)
                left -= len(answer["values"])
                if query.get("ReturnData", True):
                    found[query["Id"]] = answer
        return ActionResult({"MetricDataResults": [found[query["Id"]] for query in queries if query["Id"] in found]})

    def get_metric_statistics(response: CloudWatchResponse) -> ActionResult:
        parameters = response._get_params()
        if parameters.get("Namespace") != NAMESPACE:
            return moto_statistics(response)
        metric, period = parameters["MetricName"], int(parameters["Period"])
        statistics = [*(parameters.get("Statistics") or []), *(parameters.get("ExtendedStatistics") or [])]
        if not statistics:
            raise InvalidParameterCombination("Must specify either Statistics or ExtendedStatistics")
        start, end = _aware(parameters["StartTime"]), _aware(parameters["EndTime"])
        if start >= end:
            raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
        _check_period(period)
        if (asked := (end - start).total_seconds() / period) > _STATISTICS_DATAPOINTS:
            raise InvalidParameterCombination(
                f"You have requested up to {asked:.0f} datapoints, which exceeds the limit of "
                f"{_STATISTICS_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, "
                "or decreasing the time range."
            )
        dimensions = _dimensions(parameters.get("Dimensions"))
        points: dict[datetime, dict[str, Any]] = {}
        for statistic in statistics:
            for at, value in _series(store, metric, dimensions, start, end, period, statistic):
                point = points.setdefault(at, {"Timestamp": at, "Unit": UNITS.get(metric, "None")})
                if statistic.startswith(("p", "PR")):
                    point.setdefault("ExtendedStatistics", {})[statistic] = value
                else:
                    point[statistic] = value
        return ActionResult({"Label": metric, "Datapoints": list(points.values())})

    def get_filtered_metrics(
        backend: CloudWatchBackend, metric_name: str, namespace: str, dimensions: list[dict[str, str]]
    ) -> list[Any]:
        ours = [
            MetricDatumBase(NAMESPACE, metric, [{"Name": name, "Value": value} for name, value in sorted(place)], None)
            for metric, place in store.metrics()
        ]
        matching = [metric for metric in ours if metric.filter(namespace, metric_name, dimensions)]
        return [*moto_metrics(backend, metric_name, namespace, dimensions), *matching]

    patches.replace(CloudWatchResponse, "get_metric_data", get_metric_data)
    patches.replace(CloudWatchResponse, "get_metric_statistics", get_metric_statistics)
    patches.replace(CloudWatchBackend, "get_filtered_metrics", get_filtered_metrics)


def _namespace(query: dict[str, Any]) -> str | None:
    namespace: str | None = query.get("MetricStat", {}).get("Metric", {}).get("Namespace")
    return namespace


def _check(queries: list[dict[str, Any]], start: datetime, end: datetime) -> None:
    if len(queries) > _QUERIES:
        raise ValidationError(f"The collection MetricDataQueries must not have a size greater than {_QUERIES}.")
    if len({query["Id"] for query in queries}) < len(queries):
        raise ValidationError("The values for parameter id in MetricDataQueries are not unique.")
    if start >= end:
        raise ValidationError("The parameter EndTime must be greater than StartTime.")


def _check_period(period: int) -> None:
    if period < 60 or period % 60:
        raise InvalidParameterValue("The parameter Period must be a multiple of 60.")


def _answer(
    store: MetricStore, query: dict[str, Any], start: datetime, end: datetime, newest_first: bool, limit: int
) -> dict[str, Any]:
    asked = query["MetricStat"]
    metric, statistic, period = asked["Metric"]["MetricName"], asked["Stat"], int(asked["Period"])
    _check_period(period)
    points = _series(store, metric, _dimensions(asked["Metric"].get("Dimensions")), start, end, period, statistic)
    if newest_first:
        points.reverse()
    complete = len(points) <= limit
    points = points[: max(limit, 0)]
    return {
        "id": query["Id"],
        "label": query.get("Label") or f"{metric} {statistic}",
        "values": [value for _, value in points],
        "timestamps": [at for at, _ in points],
        "status_code": "Complete" if complete else "PartialData",
    }


def _series(
    store: MetricStore,
    metric: str,
    dimensions: dict[str, str],
    start: datetime,
    end: datetime,
    period: int,
    statistic: str,
) -> list[tuple[datetime, float]]:
    try:
        return store.series(metric, dimensions, start, end, period, statistic)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def _dimensions(asked: list[dict[str, str]] | None) -> dict[str, str]:
    return {dimension["Name"]: dimension["Value"] for dimension in asked or []}


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
