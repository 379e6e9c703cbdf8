"""State machines run as Step Functions runs them: on HTTP, in virtual time, with its errors, histories and stops."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.local.cloud.conftest import Asker


def _types(asker: Asker, arn: str) -> list[str]:
    return [event["type"] for event in asker.history(arn)]


def test_a_map_selects_runs_and_catches_each_item(asker: Asker) -> None:
    # GIVEN four items of which one fails with an error that its iteration catches
    items: list[dict[str, Any]] = [{"n": 0}, {"n": 1, "fail": "not this one"}, {"n": 2}, {"n": 3}]
    # WHEN a Map calls a function for each, three at once
    found = asker.answer(do="map", items=items)
    # THEN results stand in the items' order, with the index and the outer variable in reach
    assert found == [
        {"n": 0, "at": 0, "wish": True},
        {"caught": "not this one"},
        {"n": 2, "at": 2, "wish": True},
        {"n": 3, "at": 3, "wish": True},
    ]


def test_an_empty_map_gives_an_empty_list(asker: Asker) -> None:
    assert asker.answer(do="map", items=[]) == []


def test_items_that_are_no_list_fail_the_evaluation(asker: Asker) -> None:
    found = asker.ask(do="map", items={"n": 1})
    assert (found["status"], found["error"]) == ("FAILED", "States.QueryEvaluationError")


def test_undefined_is_an_error_that_names_the_field(asker: Asker) -> None:
    found = asker.ask(do="task")
    assert found["error"] == "States.QueryEvaluationError"
    assert "'Arguments/Payload' returned nothing (undefined)" in found["cause"]


def test_a_wait_passes_virtual_time(asker: Asker) -> None:
    # GIVEN a clock whose minutes last a second
    started = time.monotonic()
    # WHEN a state waits for two minutes
    found = asker.answer(do="wait", seconds=120)
    # THEN two seconds pass here, and two minutes there
    assert 1.5 < time.monotonic() - started < 6
    waited = datetime.fromisoformat(found["to"]) - datetime.fromisoformat(found["from"])
    assert timedelta(seconds=119) < waited < timedelta(seconds=240)


def test_a_wait_until_a_moment_ends_at_that_moment(asker: Asker) -> None:
    moment = asker.cloud.clock.now() + timedelta(seconds=30)
    found = asker.answer(do="until", moment=moment.isoformat())
    assert datetime.fromisoformat(found["to"]) >= moment.replace(microsecond=0)


def test_a_moment_that_is_none_fails(asker: Asker) -> None:
    assert asker.ask(do="until", moment="tomorrow")["error"] == "States.Runtime"


def test_a_function_answers_with_layers_and_environment(asker: Asker) -> None:
    found = asker.answer(do="task", payload={"a": 1})
    assert found["result"]["event"] == {"a": 1}
    assert found["result"]["layer"] == "plain"
    assert datetime.fromisoformat(found["entered"]).tzinfo is UTC


def test_a_functions_error_has_its_type_as_name(asker: Asker) -> None:
    # WHEN a function raises and nothing catches
    arn = asker.start(do="task", payload={"fail": "what is this"})
    found = asker.ended(arn)
    # THEN the execution fails with the exception's name, and the cause is Lambda's own JSON
    assert (found["status"], found["error"]) == ("FAILED", "InvalidInput")
    assert json.loads(found["cause"])["errorMessage"] == "what is this"
    assert _types(asker, arn)[-2:] == ["TaskFailed", "ExecutionFailed"]


def test_retries_go_on_until_it_works(asker: Asker) -> None:
    assert asker.answer(do="retry", payload={"key": "works", "fail_until": 3}) == {"retries": 2}


def test_a_catch_takes_what_retries_could_not_mend(asker: Asker) -> None:
    found = asker.answer(do="retry", payload={"key": "never", "fail_until": 99})
    assert found == {"error": "RuntimeError", "retries": 2, "problem": "RuntimeError"}


def test_a_task_that_is_too_slow_times_out(asker: Asker) -> None:
    arn = asker.start(do="timeout")
    assert asker.ended(arn)["error"] == "States.Timeout"
    assert "TaskTimedOut" in _types(asker, arn)


def test_a_result_beyond_the_limit_fails_whatever_catches(asker: Asker) -> None:
    # GIVEN a state that catches States.ALL
    found = asker.ask(do="retry", payload={"size": 300_000})
    # THEN the data limit goes past it
    assert (found["status"], found["error"]) == ("FAILED", "States.DataLimitExceeded")


def test_other_services_answer_in_the_letter_case_and_errors_of_step_functions(asker: Asker) -> None:
    assert asker.answer(do="services", key="once") == [True, "put", "missing", 0]
    assert asker.answer(do="services", key="once") == [True, "taken", "missing", 0]


def test_a_nested_execution_gives_its_output(asker: Asker) -> None:
    assert asker.answer(do="nested", child={"number": 21}) == {"answer": 42}


def test_a_nested_failure_is_a_task_that_failed(asker: Asker) -> None:
    found = asker.ask(do="nested", child={"fail": "break"})
    assert found["error"] == "States.TaskFailed"
    cause = json.loads(found["cause"])
    assert (cause["Status"], cause["Error"], cause["Cause"]) == ("FAILED", "ChildBroken", "asked to: break")


def test_names_are_unique_and_starting_twice_is_one_execution(asker: Asker) -> None:
    states = asker.cloud.client("stepfunctions")
    first = asker.start(name="one", do="wait", seconds=600)
    assert asker.start(name="one", do="wait", seconds=600) == first
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        asker.start(name="one", do="pass")
    asker.stop(first)
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        asker.start(name="one", do="wait", seconds=600)


def test_executions_at_the_same_time_do_not_meet(asker: Asker) -> None:
    arns = [asker.start(do="map", items=[{"n": number, "sleep": 0.05}] * 3) for number in range(8)]
    for number, arn in enumerate(arns):
        assert {item["n"] for item in json.loads(asker.ended(arn)["output"])} == {number}


def test_histories_are_numbered_linked_and_in_virtual_time(asker: Asker) -> None:
    arn = asker.start(do="wait", seconds=60)
    asker.ended(arn)
    events = asker.history(arn)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert all(event["previousEventId"] < event["id"] for event in events)
    assert [event["type"] for event in events] == [
        "ExecutionStarted",
        "ChoiceStateEntered",
        "ChoiceStateExited",
        "WaitStateEntered",
        "WaitStateExited",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]
    assert events[4]["timestamp"] - events[3]["timestamp"] >= timedelta(seconds=60)


@pytest.mark.parametrize(
    ("state", "data"),
    [
        ("Pause", {"do": "wait", "seconds": 86400}),
        ("Work", {"do": "task", "payload": {"sleep": 4}}),
        ("One", {"do": "map", "items": [{"sleep": 4}] * 6}),
        ("Nested", {"do": "nested", "child": {"number": 1, "wait": 86400}}),
        ("Stubborn", {"do": "retry", "payload": {"sleep": 4}}),
    ],
)
def test_stopping_takes_effect_at_once_in_every_state(asker: Asker, state: str, data: dict[str, Any]) -> None:
    # GIVEN an execution that would stay in a state for long
    arn = asker.start(**data)
    asker.entered(arn, state)
    # WHEN it is stopped
    started = time.monotonic()
    asker.stop(arn, error="Enough", cause="told so")
    found = asker.cloud.client("stepfunctions").describe_execution(executionArn=arn)
    # THEN it is over before the call returns, and no state goes on
    assert time.monotonic() - started < 1
    assert (found["status"], found["error"], found["cause"]) == ("ABORTED", "Enough", "told so")
    assert _types(asker, arn)[-1] == "ExecutionAborted"


def test_stopping_a_parent_stops_its_child(asker: Asker) -> None:
    arn = asker.start(name="parent", do="nested", child={"number": 1, "wait": 86400})
    child = asker.until(lambda e: e.execution_arn.endswith(":parent-child") and e.state == "Nap").execution_arn
    asker.stop(arn)
    assert asker.ended(child)["status"] == "ABORTED"


def test_a_running_executions_machine_may_end_by_its_own_timeout(asker: Asker) -> None:
    states = asker.cloud.client("stepfunctions")
    definition = {
        "QueryLanguage": "JSONata",
        "TimeoutSeconds": 1,
        "StartAt": "Long",
        "States": {"Long": {"Type": "Wait", "Seconds": 86400, "End": True}},
    }
    role = states.describe_state_machine(stateMachineArn=asker.machine)["roleArn"]
    made = states.create_state_machine(name="impatient", definition=json.dumps(definition), roleArn=role)
    arn = asker.start(made["stateMachineArn"])
    assert asker.ended(arn)["status"] == "TIMED_OUT"
    assert _types(asker, arn)[-1] == "ExecutionTimedOut"


def test_calls_of_a_machine_count_for_its_role(asker: Asker) -> None:
    asker.cloud.calls.clear()
    asker.answer(do="services", key="counted")
    role = asker.stack.resources["MainRole"]
    counts = asker.cloud.calls.counts(role)
    wanted = {"sns:Publish": 1, "dynamodb:PutItem": 1, "s3:GetObject": 1, "events:PutEvents": 1}
    assert counts == wanted
    resources = {call.action: call.resource for call in asker.cloud.calls.all(role)}
    assert resources["dynamodb:PutItem"] == asker.stack.resources["Registry"]
    assert resources["s3:GetObject"] == f"arn:aws:s3:::{asker.stack.outputs['Bucket']}/nothing-here"
