"""Rules start machines, schedules fire, and patterns match as EventBridge's do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import patterns, schedules
from tests.local.cloud.conftest import Asker


def _started(asker: Asker, what: str) -> dict[str, Any]:
    """The input of the first execution that was started with `what` in its input."""
    event = asker.until(lambda e: e.kind == "started" and what in json.dumps(e.data))
    found: dict[str, Any] = event.data
    return found


def _put(asker: Asker, source: str, detail: dict[str, Any]) -> dict[str, Any]:
    entry = {"Source": source, "DetailType": "found", "Detail": json.dumps(detail)}
    answer: dict[str, Any] = asker.cloud.client("events").put_events(Entries=[entry])
    return answer


def test_an_event_starts_the_machine_of_a_matching_rule(asker: Asker) -> None:
    _put(asker, "acme.findings", {"status": "ACTIVE", "package": {"name": "requests"}, "marker": "matching"})
    assert _started(asker, "matching")["package"] == {"name": "requests"}


def test_an_event_that_does_not_match_starts_nothing(asker: Asker) -> None:
    _put(asker, "acme.findings", {"status": "CLOSED", "package": {"name": "requests"}, "marker": "closed"})
    _put(asker, "acme.findings", {"status": "ACTIVE", "package": {"name": "urllib3"}, "marker": "prefix"})
    asker.cloud.bus.flush()
    assert not [e for e in asker.events if e.kind == "started" and e.data.get("marker") in ("closed", "prefix")]


def test_a_service_of_aws_may_put_what_a_client_may_not(asker: Asker) -> None:
    detail = {"status": "ACTIVE", "package": {"name": "redis"}, "marker": "inspector"}
    assert _put(asker, "aws.inspector2", detail)["FailedEntryCount"] == 1
    asker.cloud.put_event("aws.inspector2", "Inspector2 Finding", detail)
    assert _started(asker, "inspector")["package"] == {"name": "redis"}


def test_the_end_of_an_execution_is_an_event_that_starts_another(asker: Asker) -> None:
    # GIVEN a rule on executions of the child that did not succeed
    child = asker.stack.outputs["ChildArn"]
    arn = asker.start(child, name="to-be-aborted", number=1, wait=86400)
    asker.entered(arn, "Nap")
    # WHEN one is aborted
    asker.stop(arn, cause="enough")
    # THEN the machine gets the event as AWS puts it
    event = _started(asker, "to-be-aborted")
    assert (event["source"], event["detail-type"]) == ("aws.states", "Step Functions Execution Status Change")
    assert event["resources"] == [arn]
    detail = event["detail"]
    assert (detail["executionArn"], detail["stateMachineArn"], detail["status"]) == (arn, child, "ABORTED")
    assert detail["stopDate"] >= detail["startDate"] > 1_600_000_000_000
    assert json.loads(detail["input"]) == {"number": 1, "wait": 86400}
    assert (detail["output"], detail["cause"]) == (None, "enough")


def test_a_schedule_fires_at_once_with_its_input(asker: Asker) -> None:
    arn = asker.cloud.fire("daily")
    assert json.loads(asker.ended(arn)["output"])["input"] == {"do": "pass", "from": "schedule"}


def test_firing_what_is_not_there_says_so(asker: Asker) -> None:
    with pytest.raises(KeyError, match="weekly"):
        asker.cloud.fire("weekly")


def test_a_transformed_event_reaches_a_queue(asker: Asker) -> None:
    sqs, events = asker.cloud.client("sqs"), asker.cloud.client("events")
    url = sqs.create_queue(QueueName="told")["QueueUrl"]
    events.put_rule(Name="told", EventPattern=json.dumps({"source": ["acme.told"]}))
    transformer = {
        "InputPathsMap": {"name": "$.detail.names[0]", "all": "$.detail"},
        "InputTemplate": '{"text": "it is <name>", "all": <all>}',
    }
    arn = f"arn:aws:sqs:{asker.cloud.region}:{asker.cloud.account}:told"
    events.put_targets(Rule="told", Targets=[{"Id": "1", "Arn": arn, "InputTransformer": transformer}])
    _put(asker, "acme.told", {"names": ['Ada "L"', "B"]})
    asker.cloud.bus.flush()
    assert asker.cloud.bus.failures == []
    body = json.loads(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])
    assert body == {"text": 'it is Ada "L"', "all": {"names": ['Ada "L"', "B"]}}


@pytest.mark.parametrize(
    ("pattern", "event", "expected"),
    [
        ({"a": ["x"]}, {"a": "x"}, True),
        ({"a": ["x"]}, {"a": ["w", "x"]}, True),
        ({"a": ["x"]}, {}, False),
        ({"a": [None]}, {"a": None}, True),
        ({"a": [1]}, {"a": True}, False),
        ({"a": {"b": ["x"]}}, {"a": [{"b": "w"}, {"b": "x"}]}, True),
        ({"a": {"b": [{"exists": False}]}}, {"a": {"c": 1}}, True),
        ({"a": {"b": [{"exists": False}]}}, {}, True),
        ({"a": [{"exists": True}]}, {"a": None}, True),
        ({"a": [{"prefix": "ab"}]}, {"a": "abc"}, True),
        ({"a": [{"suffix": {"equals-ignore-case": "BC"}}]}, {"a": "abc"}, True),
        ({"a": [{"anything-but": ["x", "y"]}]}, {"a": "z"}, True),
        ({"a": [{"anything-but": "x"}]}, {"a": "x"}, False),
        ({"a": [{"anything-but": {"prefix": "in"}}]}, {"a": "init"}, False),
        ({"a": [{"anything-but": "x"}]}, {}, False),
        ({"a": [{"numeric": [">", 0, "<=", 5]}]}, {"a": 5}, True),
        ({"a": [{"numeric": ["=", 5]}]}, {"a": "5"}, False),
        ({"a": [{"wildcard": "a*c.d"}]}, {"a": "abbc.d"}, True),
        ({"a": [{"wildcard": "a*c.d"}]}, {"a": "abbcxd"}, False),
        ({"a": [{"cidr": "10.0.0.0/24"}]}, {"a": "10.0.0.9"}, True),
        ({"$or": [{"a": ["x"]}, {"b": ["y"]}]}, {"b": "y"}, True),
        ({"a": [{"equals-ignore-case": "ABC"}]}, {"a": "abc"}, True),
    ],
)
def test_patterns(pattern: dict[str, Any], event: dict[str, Any], expected: bool) -> None:
    patterns.check(pattern)
    assert patterns.matches(pattern, event) is expected


@pytest.mark.parametrize("pattern", [{}, {"a": "x"}, {"a": []}, {"a": [{"starts": "x"}]}])
def test_a_pattern_that_is_none_is_refused(asker: Asker, pattern: dict[str, Any]) -> None:
    with pytest.raises(ClientError):
        asker.cloud.client("events").put_rule(Name="wrong", EventPattern=json.dumps(pattern))


@pytest.mark.parametrize(
    "text",
    [
        "rate(1 minute)",
        "rate(2 days)",
        "cron(0 6 ? * MON-FRI *)",
        "cron(0/15 8-18 L * ? 2026-2030)",
        "cron(0 0 ? 1/3 2#1 *)",
    ],
)
def test_schedules_that_are(text: str) -> None:
    schedules.check(text)


@pytest.mark.parametrize(
    "text",
    ["rate(1 minutes)", "rate(2 day)", "rate(0 days)", "daily", "cron(0 6 * * *)", "cron(0 6 * * * *)",
     "cron(0 6 ? * ? *)", "cron(61 6 ? * MON *)", "cron(0 6 ? * MOO *)", "at(2026-01-01T00:00:00)"],
)  # fmt: skip
def test_schedules_that_are_none(asker: Asker, text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|cron"):
        schedules.check(text)
    with pytest.raises(ClientError):
        asker.cloud.client("events").put_rule(Name="wrong", ScheduleExpression=text)


def test_a_schedule_with_a_wrong_expression_is_refused(asker: Asker) -> None:
    with pytest.raises(ClientError, match="rate"):
        asker.cloud.client("scheduler").create_schedule(
            Name="wrong",
            ScheduleExpression="rate(1 days)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": asker.machine, "RoleArn": "arn:aws:iam::123456789012:role/r"},
        )
