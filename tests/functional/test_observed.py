"""What CloudWatch is asked for, and what becomes of its answers: against the embedded metrics, and a stubbed client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from moto import mock_aws

from lamina.evidence import Minute
from lamina.gateways.metrics import Metrics
from lamina.gateways.reports import ColdStart, Reports
from local.lambdas import cloudwatch
from local.metrics import MetricStore
from local.patches import Patches

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
F = {"FunctionName": "f"}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CloudWatch with a function that is called ten times a minute for 90 minutes, and slower from minute 60 on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    store, patches = MetricStore(), Patches()
    for minute in range(90):
        for call in range(10):
            duration = 100.0 + call + (200 if minute >= 60 and call >= 7 else 0)
            store.record("f", None, "$LATEST", START + minute * MINUTE, duration_ms=duration, error=call == 0)
        if minute % 30 == 0:
            store.record("f", None, "$LATEST", START + minute * MINUTE, throttled=True)
    with mock_aws():
        cloudwatch.install(store, patches)
        yield boto3.client("cloudwatch", region_name="eu-central-1")
        patches.undo()


def test_slow_invocations_are_counted_above_a_limit(client: Any) -> None:
    found = Metrics(client).slower(
        {"f": (F, 150.0), "nobody": ({"FunctionName": "g"}, 1.0)}, START, START + 90 * MINUTE
    )
    assert found["nobody"] == ()
    assert [(m.invocations, m.errors) for m in found["f"][58:62]] == [(10, 0), (10, 0), (10, 3), (10, 3)]
    assert found["f"][0].start == START


def test_percentiles_by_the_hour_and_by_the_minute(client: Any) -> None:
    hours = Metrics(client).percentiles({"f": F}, START, START + 90 * MINUTE, 95, timedelta(hours=1))["f"]
    assert [(at, value > 200) for at, value in hours] == [(START, False), (START + timedelta(hours=1), True)]
    assert len(Metrics(client).percentiles({"f": F}, START, START + 9 * MINUTE, 95, MINUTE)["f"]) == 9


def test_errors_and_throttles_by_the_minute(client: Any) -> None:
    reach = Metrics(client)
    assert reach.minutes({"f": F}, START, START + 2 * MINUTE)["f"] == (
        Minute(START, 10, 1),
        Minute(START + MINUTE, 10, 1),
    )
    assert reach.throttles({"f": F}, START, START + 90 * MINUTE)["f"] == {
        START: 1,
        START + 30 * MINUTE: 1,
        START + 60 * MINUTE: 1,
    }
    assert reach.minutes({}, START, START) == {}
    assert reach.minutes({"f": F}, START, START) == {"f": ()}


def test_no_call_asks_for_more_than_500_queries_or_100800_datapoints() -> None:
    client = boto3.client("cloudwatch", region_name="eu-central-1")
    week = START + timedelta(days=7)
    asked: list[tuple[int, float]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        minutes = (params["EndTime"] - params["StartTime"]) / MINUTE
        asked.append((len(params["MetricDataQueries"]), minutes))

    client.meta.events.register("provide-client-params.cloudwatch.GetMetricData", note)
    with Stubber(client) as stubbed:
        wanted = {"MetricDataQueries": ANY, "StartTime": ANY, "EndTime": ANY, "ScanBy": "TimestampAscending"}
        for _ in range(70):
            stubbed.add_response("get_metric_data", {"MetricDataResults": []}, wanted)
        found = Metrics(client).minutes(
            {str(number): {"FunctionName": str(number)} for number in range(300)}, START, week
        )
    assert len(found) == 300
    assert {queries for queries, _ in asked} == {500, 100}
    assert all(queries * minutes <= 100_800 for queries, minutes in asked)
    assert sum(minutes for queries, minutes in asked if queries == 500) == 7 * 1440


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.client("logs", region_name="eu-central-1")


def test_cold_starts_are_read_from_reports_in_text_and_in_json(logs: Any) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    text = "REPORT RequestId: 1\tDuration: 500.00 ms\tBilled Duration: 901 ms\tMemory Size: 128 MB\t"
    lines = [
        f"{text}Max Memory Used: 60 MB\tInit Duration: 400.25 ms\t",
        text,
        '{"type": "platform.report", "record": {"metrics": {"durationMs": 20.0, "initDurationMs": 300.5}}}',
        "the function said Init Duration itself",
    ]
    logs.create_log_group(logGroupName="/aws/lambda/f")
    for version, chosen in (("7", lines), ("8", lines[:1])):
        stream = f"2026/11/01/[{version}]0123"
        logs.create_log_stream(logGroupName="/aws/lambda/f", logStreamName=stream)
        events = [{"timestamp": int(now.timestamp() * 1000), "message": line} for line in chosen]
        logs.put_log_events(logGroupName="/aws/lambda/f", logStreamName=stream, logEvents=events)
    reach, around = Reports(logs), (now - MINUTE, now + MINUTE)
    assert reach.cold_starts("f", *around, "7") == (
        ColdStart(now - timedelta(milliseconds=500), 500.0, 400.25),
        ColdStart(now - timedelta(milliseconds=20), 20.0, 300.5),
    )
    assert len(reach.cold_starts("f", *around)) == 3
    assert reach.cold_starts("nobody", *around) == ()
