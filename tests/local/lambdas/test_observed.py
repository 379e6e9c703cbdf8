"""What is left of invocations: metrics through CloudWatch, logs through CloudWatch Logs, in virtual time."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.logs import FilterPattern
from local.metrics import MetricStore, compute, dimensions_of
from tests.local.lambdas.lab import Cloud, refused

AT = datetime(2024, 11, 27, 10, 0, 30, tzinfo=UTC)
HOUR = {"StartTime": AT - timedelta(hours=12), "EndTime": AT + timedelta(hours=12)}
FAILING = "def handler(event, context):\n    print('seen', event)\n    return event['x']"


def query(metric: str, statistic: str, period: int = 60, **dimensions: str) -> dict[str, Any]:
    """A GetMetricData query."""
    listed = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    named = {"Namespace": "AWS/Lambda", "MetricName": metric, "Dimensions": listed}
    return {"Id": metric.lower(), "MetricStat": {"Metric": named, "Period": period, "Stat": statistic}}


@pytest.fixture(scope="module")
def invoked(cloud: Cloud) -> str:
    """A function that was invoked through $LATEST (2, one failed), version 1 (1) and the alias live (3, one failed)."""
    name = cloud.function(FAILING)
    cloud.client("lambda").publish_version(FunctionName=name)
    cloud.settled(name, "1")
    cloud.client("lambda").create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for qualifier, events in ((None, [{"x": 1}, {}]), ("1", [{"x": 1}]), ("live", [{"x": 1}, {"x": 2}, {}])):
        for event in events:
            cloud.invoke(name, event, qualifier)
    return name


@pytest.mark.parametrize(
    ("dimensions", "invocations", "errors"),
    [
        ({}, 6, 2),
        ({"Resource": "{}"}, 2, 1),
        ({"Resource": "{}:1"}, 1, 0),
        ({"Resource": "{}:live"}, 3, 1),
        ({"Resource": "{}:live", "ExecutedVersion": "1"}, 3, 1),
        ({"Resource": "{}:live", "ExecutedVersion": "2"}, None, None),
        ({"ExecutedVersion": "1"}, None, None),
    ],
)
def test_metrics_have_lambdas_dimensions(
    cloud: Cloud, invoked: str, dimensions: dict[str, str], invocations: float | None, errors: float | None
) -> None:
    named = {"FunctionName": invoked} | {name: value.format(invoked) for name, value in dimensions.items()}
    queries = [query("Invocations", "Sum", 3600, **named), query("Errors", "Sum", 3600, **named)]
    answer = cloud.client("cloudwatch").get_metric_data(MetricDataQueries=queries, **HOUR)["MetricDataResults"]
    assert [one["Id"] for one in answer] == ["invocations", "errors"]
    totals = [sum(one["Values"]) if one["Values"] else None for one in answer]
    assert totals == [invocations, errors]


def test_datapoints_are_stamped_with_virtual_minutes_in_the_order_asked_for(cloud: Cloud) -> None:
    now = cloud.clock.minute()
    for minutes, failed in ((3, False), (2, True), (2, False), (0, False)):
        start = now - timedelta(minutes=minutes)
        cloud.metrics.record("stamped", None, "$LATEST", start, duration_ms=10, error=failed)
    client = cloud.client("cloudwatch")
    queries = [query("Invocations", "Sum", FunctionName="stamped"), query("Errors", "Average", FunctionName="stamped")]
    span = {"StartTime": now - timedelta(minutes=3), "EndTime": now}

    counts, rates = client.get_metric_data(MetricDataQueries=queries, ScanBy="TimestampAscending", **span)[
        "MetricDataResults"
    ]

    expected = [now - timedelta(minutes=3), now - timedelta(minutes=2)]  # `now` itself is outside of the span
    assert counts["Timestamps"] == rates["Timestamps"] == expected
    assert (counts["Values"], rates["Values"], counts["StatusCode"]) == ([1, 2], [0, 0.5], "Complete")
    newest_first = client.get_metric_data(MetricDataQueries=queries, **span)["MetricDataResults"]
    assert newest_first[0]["Timestamps"] == expected[::-1]
    cut = client.get_metric_data(MetricDataQueries=queries, MaxDatapoints=3, **span)["MetricDataResults"]
    assert [len(one["Values"]) for one in cut] == [2, 1] and cut[1]["StatusCode"] == "PartialData"


def test_other_namespaces_stay_with_moto_also_in_one_request(cloud: Cloud, invoked: str) -> None:
    client = cloud.client("cloudwatch")
    client.put_metric_data(Namespace="Shop", MetricData=[{"MetricName": "Sold", "Value": 7.0}])
    own = {
        "Id": "sold",
        "MetricStat": {"Metric": {"Namespace": "Shop", "MetricName": "Sold"}, "Period": 60, "Stat": "Sum"},
    }
    now = datetime.now(UTC)
    span = {"StartTime": min(now, AT) - timedelta(days=1), "EndTime": max(now, AT) + timedelta(days=1)}
    span["StartTime"] = now - timedelta(hours=1)
    answer = client.get_metric_data(MetricDataQueries=[own, query("Errors", "Sum", FunctionName="none")], **span)
    assert [(one["Id"], one["Values"]) for one in answer["MetricDataResults"]] == [("sold", [7.0]), ("errors", [])]
    assert [metric["MetricName"] for metric in client.list_metrics(Namespace="Shop")["Metrics"]] == ["Sold"]
    listed = client.list_metrics(Namespace="AWS/Lambda", Dimensions=[{"Name": "FunctionName", "Value": invoked}])
    assert {metric["MetricName"] for metric in listed["Metrics"]} >= {"Invocations", "Errors", "Duration"}


def test_statistics_and_percentiles(cloud: Cloud) -> None:
    for duration in range(1, 101):
        cloud.metrics.record("timed", None, "$LATEST", AT, duration_ms=float(duration))
    client = cloud.client("cloudwatch")
    asked = {"Namespace": "AWS/Lambda", "MetricName": "Duration", "Period": 60, **HOUR}
    asked["StartTime"], asked["EndTime"] = AT - timedelta(hours=1), AT + timedelta(hours=1)
    dimensions = [{"Name": "FunctionName", "Value": "timed"}]
    statistics = ["Sum", "Average", "Minimum", "Maximum", "SampleCount"]
    (point,) = client.get_metric_statistics(Dimensions=dimensions, Statistics=statistics, **asked)["Datapoints"]
    assert [point[name] for name in statistics] == [5050, 50.5, 1, 100, 100] and point["Unit"] == "Milliseconds"
    (point,) = client.get_metric_statistics(Dimensions=dimensions, ExtendedStatistics=["p50", "p99.9"], **asked)[
        "Datapoints"
    ]
    assert point["ExtendedStatistics"] == pytest.approx({"p50": 50.5, "p99.9": 99.901})
    data = client.get_metric_data(MetricDataQueries=[query("Duration", "p90", FunctionName="timed")], **HOUR)
    assert data["MetricDataResults"][0]["Values"] == pytest.approx([90.1])


def test_requests_that_cloudwatch_refuses(cloud: Cloud) -> None:
    client = cloud.client("cloudwatch")
    many = [query("Errors", "Sum") | {"Id": f"q{index}"} for index in range(501)]
    assert "500" in refused(client.get_metric_data, MetricDataQueries=many, **HOUR)[2]
    assert refused(client.get_metric_data, MetricDataQueries=[query("Errors", "Middle")], **HOUR)[1] == 400
    assert refused(client.get_metric_data, MetricDataQueries=[query("Errors", "Sum", 90)], **HOUR)[1] == 400
    back = {"StartTime": AT, "EndTime": AT - timedelta(minutes=1)}
    assert refused(client.get_metric_data, MetricDataQueries=[query("Errors", "Sum")], **back)[1] == 400


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.booleans()), max_size=40), st.sampled_from([60, 300]))
def test_sums_over_periods_are_the_invocations_that_began_in_them(
    calls: list[tuple[int, bool, bool]], period: int
) -> None:
    """Whatever the period: nothing is counted twice or lost, and Errors has a datapoint where Invocations has one."""
    store, base = MetricStore(), datetime(2024, 11, 27, 10, 0, tzinfo=UTC)
    for minute, failed, throttled in calls:
        store.record("f", "live", "3", base + timedelta(minutes=minute, seconds=59), error=failed, throttled=throttled)
    end = base + timedelta(minutes=21)
    series = {
        metric: store.series(metric, {"FunctionName": "f"}, base, end, period, "Sum")
        for metric in ("Invocations", "Errors", "Throttles")
    }
    ran = [call for call in calls if not call[2]]
    assert sum(value for _, value in series["Invocations"]) == len(ran)
    assert sum(value for _, value in series["Errors"]) == sum(failed for _, failed, _ in ran)
    assert sum(value for _, value in series["Throttles"]) == len(calls) - len(ran)
    assert [at for at, _ in series["Invocations"]] == [at for at, _ in series["Errors"]]
    assert all(at.timestamp() % period == 0 and value > 0 for at, value in series["Invocations"])


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(0, 100))
def test_percentiles_lie_between_the_extremes_and_grow(values: list[float], percent: int) -> None:
    found = compute(f"p{percent}", values)
    assert min(values) <= found <= max(values) or math.isclose(found, max(values))
    assert compute("p0", values) == min(values) and compute("p100", values) == max(values)


def test_an_unqualified_call_has_no_executed_version() -> None:
    assert dimensions_of("f", None, "$LATEST") == [
        frozenset(),
        frozenset({("FunctionName", "f")}),
        frozenset({("FunctionName", "f"), ("Resource", "f")}),
    ]


# -- logs


def test_logs_are_lambdas_and_in_virtual_time(cloud: Cloud, invoked: str) -> None:
    logs, group = cloud.client("logs"), f"/aws/lambda/{invoked}"
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    names = sorted(stream["logStreamName"] for stream in streams)
    assert [re.sub(r"[0-9a-f]{32}$", "", one) for one in names] == ["2024/11/27/[$LATEST]", "2024/11/27/[1]"]
    assert all(re.search(r"\][0-9a-f]{32}$", one) for one in names)
    name = names[0]
    events = logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True)["events"]
    messages = [event["message"] for event in events]
    assert [message.split()[0] for message in messages] == [
        "INIT_START", "START", "seen", "END", "REPORT", "START", "seen", "[ERROR]", "END", "REPORT",
    ]  # fmt: skip
    assert "Init Duration: " in messages[4] and "Init Duration: " not in messages[9]
    moments = [datetime.fromtimestamp(event["timestamp"] / 1000, UTC) for event in events]
    assert moments == sorted(moments)
    assert all(abs(moment - cloud.clock.now()) < timedelta(minutes=10) for moment in moments)


def test_log_events_are_filtered_by_time_and_pattern(cloud: Cloud, invoked: str) -> None:
    logs, group = cloud.client("logs"), f"/aws/lambda/{invoked}"

    def found(pattern: str, **span: int) -> list[str]:
        events = logs.filter_log_events(logGroupName=group, filterPattern=pattern, **span)["events"]
        return [event["message"].split()[0] for event in events]

    assert found('?"[ERROR]" ?"Task timed out"') == ["[ERROR]", "[ERROR]"]
    assert found('REPORT "Init Duration"') == ["REPORT", "REPORT"]
    assert len(found("REPORT -Init")) == 4
    assert len(found("")) == 6 * 4 + 2 + 2
    assert found("", endTime=int((cloud.clock.now() - timedelta(hours=1)).timestamp() * 1000)) == []
    assert refused(logs.filter_log_events, logGroupName=group, filterPattern="{ $.level = 1 }")[1] == 400


def test_environments_may_live_for_a_number_of_invocations(cloud: Cloud) -> None:
    name = cloud.function("calls = []\ndef handler(event, context):\n    calls.append(1)\n    return len(calls)")
    cloud.engine.lifetimes[name] = 3
    answers = [cloud.invoke(name) for _ in range(7)]
    assert [answer.payload for answer in answers] == [b"1", b"2", b"3", b"1", b"2", b"3", b"1"]
    assert [answer.cold for answer in answers] == [True, False, False, True, False, False, True]


def test_a_function_may_choose_its_log_group(cloud: Cloud) -> None:
    name = cloud.function("def handler(event, context): return 1", LoggingConfig={"LogGroup": "/team/logs"})
    cloud.call(name)
    assert cloud.client("logs").describe_log_streams(logGroupName="/team/logs")["logStreams"]


@pytest.mark.parametrize(
    ("pattern", "message", "passes"),
    [
        ("", "anything", True),
        ("ERROR", "[ERROR] x", True),
        ("error", "[ERROR] x", False),
        ("ERROR disk", "disk ERROR", True),
        ("ERROR disk", "ERROR", False),
        ('"disk full"', "the disk full of", True),
        ('"disk full"', "full disk", False),
        ("?ERROR ?WARN", "WARN", True),
        ("?ERROR ?WARN", "INFO", False),
        ("ERROR -retry", "ERROR retry", False),
        ("?WARN ERROR", "ERROR", True),
        ("%E[0-9]+%", "code E42", True),
        (r'"say \"hi\""', 'say "hi"', True),
        ("a.c", "abc", False),
    ],
)
def test_filter_patterns(pattern: str, message: str, passes: bool) -> None:
    assert FilterPattern(pattern).matches(message) is passes
