"""CloudWatch's ``AWS/Lambda`` metrics of the functions that run here, by the minute and in virtual time.

As in CloudWatch: a datapoint belongs to the minute in which the invocation started; without invocations there is none;
``Errors`` is 0 wherever ``Invocations`` is present; and a function's numbers appear once for the function, once for the
resource that was invoked, and for an alias once for each version that it ran.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

NAMESPACE = "AWS/Lambda"
UNITS = {
    "Invocations": "Count",
    "Errors": "Count",
    "Throttles": "Count",
    "Duration": "Milliseconds",
    "ConcurrentExecutions": "Count",
}
Dimensions = frozenset[tuple[str, str]]
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{0,10})?|100)")
_RANK = re.compile(r"PR\((\d+(?:\.\d{1,10})?)?:(\d+(?:\.\d{1,10})?)?\)")


@dataclass(slots=True)
class _Minute:
    invocations: int = 0
    errors: int = 0
    throttles: int = 0
    durations: list[float] = field(default_factory=list)  # milliseconds
    concurrency: list[int] = field(default_factory=list)

    def values(self, metric: str) -> Sequence[float]:
        """The samples of one metric; none where there is no datapoint."""
        ran = self.invocations
        match metric:
            case "Invocations":
                return [1.0] * ran
            case "Errors":
                return [1.0] * self.errors + [0.0] * (ran - self.errors)
            case "Throttles":
                return [1.0] * self.throttles + [0.0] * ran
            case "Duration":
                return self.durations
            case "ConcurrentExecutions":
                return self.concurrency
        return []


def dimensions_of(function: str, qualifier: str | None, executed_version: str) -> list[Dimensions]:
    """Where the numbers of an invocation add up; `qualifier` is what the caller asked for, a version or an alias."""
    name = ("FunctionName", function)
    resource = ("Resource", f"{function}:{qualifier}" if qualifier else function)
    found = [frozenset[tuple[str, str]](), frozenset([name]), frozenset([name, resource])]
    if qualifier and qualifier != executed_version:
        found.append(frozenset([name, resource, ("ExecutedVersion", executed_version)]))
    return found


class MetricStore:
    """Aggregates of all invocations since the start. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Dimensions, dict[int, _Minute]] = {}
        self._dimensions: dict[tuple[str, str | None, str], list[Dimensions]] = {}

    def record(
        self,
        function: str,
        qualifier: str | None,
        executed_version: str,
        start: datetime,
        *,
        duration_ms: float = 0.0,
        error: bool = False,
        throttled: bool = False,
        concurrency: int = 1,
    ) -> None:
        """Count one invocation that began at `start` (aware UTC), or one that was throttled and did not run."""
        minute = int(start.timestamp()) // 60
        key = (function, qualifier, executed_version)
        with self._lock:
            if (places := self._dimensions.get(key)) is None:
                places = self._dimensions[key] = dimensions_of(*key)
            for place in places:
                series = self._series.setdefault(place, {})
                if (cell := series.get(minute)) is None:
                    cell = series[minute] = _Minute()
                if throttled:
                    cell.throttles += 1
                else:
                    cell.invocations += 1
                    cell.errors += error
                    cell.durations.append(duration_ms)
                    cell.concurrency.append(concurrency)

    def series(
        self, metric: str, dimensions: Mapping[str, str], start: datetime, end: datetime, period: int, statistic: str
    ) -> list[tuple[datetime, float]]:
        """One statistic per `period` (seconds, a multiple of 60), oldest first; periods without samples are left out.

        The minute that holds `start` counts, the one that begins at `end` does not; periods are aligned to 1970.

        Raises:
            ValueError: an unknown statistic.
        """
        samples: dict[int, list[float]] = {}
        with self._lock:
            cells = self._series.get(frozenset(dimensions.items()), {})
            for minute in range(int(start.timestamp()) // 60, math.ceil(end.timestamp() / 60)):
                if (cell := cells.get(minute)) and (values := cell.values(metric)):
                    samples.setdefault(minute * 60 // period * period, []).extend(values)
        return [(datetime.fromtimestamp(at, UTC), compute(statistic, samples[at])) for at in sorted(samples)]

    def metrics(self) -> Iterator[tuple[str, Dimensions]]:
        """All metrics that have data: name and dimensions."""
        with self._lock:
            places = list(self._series.items())
        for place, minutes in places:
            for metric in UNITS:
                if any(cell.values(metric) for cell in list(minutes.values())):
                    yield metric, place


def compute(statistic: str, values: Iterable[float]) -> float:
    """A CloudWatch statistic of some samples.

    Sum, Average, Minimum, Maximum, SampleCount; a percentile such as p99; or a percentile rank such as PR(100:), the
    percentage of samples above 100 (a lower bound excludes, an upper one includes).

    Percentiles interpolate between the neighbouring ranks, as CloudWatch does for raw samples.

    Raises:
        ValueError: any other statistic.
    """
    samples = sorted(values)
    match statistic:
        case "Sum":
            return math.fsum(samples)
        case "Average":
            return math.fsum(samples) / len(samples)
        case "Minimum":
            return samples[0]
        case "Maximum":
            return samples[-1]
        case "SampleCount":
            return float(len(samples))
    if match := _PERCENTILE.fullmatch(statistic):
        rank = float(match[1]) / 100 * (len(samples) - 1)
        low, share = int(rank), rank % 1
        return samples[low] + share * (samples[min(low + 1, len(samples) - 1)] - samples[low])
    if (match := _RANK.fullmatch(statistic)) and (match[1] or match[2]):
        above, below = float(match[1] or "-inf"), float(match[2] or "inf")
        return 100 * sum(above < sample <= below for sample in samples) / len(samples)
    raise ValueError(f"The value {statistic} for parameter Stat is not supported.")
