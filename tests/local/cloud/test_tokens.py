"""Tasks that wait for an answer, and the calls that give it, as Step Functions is strict about them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.cloud.conftest import Asker

INVOKE = "arn:aws:states:::lambda:invoke.waitForTaskToken"


def definition(asker: Asker, **state: Any) -> str:
    payload = {"token": "{% $states.context.Task.Token %}", "about": "{% $states.input %}"}
    waiting: dict[str, Any] = {
        "Type": "Task",
        "Resource": INVOKE,
        "Arguments": {"FunctionName": asker.stack.resources["Worker"], "Payload": payload},
        "TimeoutSeconds": 3600,
        "End": True,
        **state,
    }
    return json.dumps({"QueryLanguage": "JSONata", "StartAt": "Ask", "States": {"Ask": waiting}})


def create(asker: Asker, name: str, **state: Any) -> str:
    states = asker.cloud.client("stepfunctions")
    role = states.describe_state_machine(stateMachineArn=asker.machine)["roleArn"]
    arn: str = states.create_state_machine(name=name, definition=definition(asker, **state), roleArn=role)[
        "stateMachineArn"
    ]
    return arn


@pytest.fixture(scope="module")
def machine(asker: Asker) -> str:
    """A machine that asks, is answered within an hour of virtual time, and says what it was told."""
    retry = [{"ErrorEquals": ["Again"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    return create(asker, "asking", Retry=retry)


def token_of(asker: Asker, execution: str, number: int = 1) -> str:
    """The token of the n-th attempt, once its function has been called."""

    def given() -> list[str]:
        mine = [event for event in asker.events if (event.execution_arn, event.kind) == (execution, "waiting")]
        return [event.data["Payload"]["token"] for event in mine]

    asker.until(lambda _: len(given()) >= number)
    return given()[number - 1]


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    found: str = caught.value.response["Error"]["Code"]
    return found


def test_the_answer_is_the_task_s_result_and_is_taken_once(asker: Asker, machine: str) -> None:
    states = asker.cloud.client("stepfunctions")
    execution = asker.start(machine, n=1)
    token = token_of(asker, execution)

    states.send_task_heartbeat(taskToken=token)
    states.send_task_success(taskToken=token, output='{"by": "Ann"}')

    assert json.loads(asker.ended(execution)["output"]) == {"by": "Ann"}
    assert [event["type"] for event in asker.history(execution)][2:6] == [
        "TaskScheduled",
        "TaskStarted",
        "TaskSubmitted",
        "TaskSucceeded",
    ]
    assert code(states.send_task_success, taskToken=token, output="{}") == "TaskTimedOut"
    assert code(states.send_task_failure, taskToken=token, error="No") == "TaskTimedOut"
    assert code(states.send_task_heartbeat, taskToken=token) == "TaskTimedOut"


def test_a_no_fails_the_task_by_the_name_that_it_was_given(asker: Asker, machine: str) -> None:
    execution = asker.start(machine, n=2)
    token = token_of(asker, execution)

    asker.cloud.client("stepfunctions").send_task_failure(taskToken=token, error="Declined", cause="not today")

    ended = asker.ended(execution)
    assert (ended["status"], ended["error"], ended["cause"]) == ("FAILED", "Declined", "not today")


def test_each_attempt_has_a_token_of_its_own(asker: Asker, machine: str) -> None:
    states = asker.cloud.client("stepfunctions")
    execution = asker.start(machine, n=3)
    first = token_of(asker, execution)
    states.send_task_failure(taskToken=first, error="Again")
    second = token_of(asker, execution, 2)

    assert first != second
    assert code(states.send_task_success, taskToken=first, output="{}") == "TaskTimedOut"
    states.send_task_success(taskToken=second, output="2")
    assert asker.ended(execution)["output"] == "2"


def test_who_answers_too_late_is_told_so(asker: Asker) -> None:
    # GIVEN a task that waits for half a minute of virtual time
    execution = asker.start(create(asker, "impatient", TimeoutSeconds=30))
    token = token_of(asker, execution)

    # WHEN nobody answers
    ended = asker.ended(execution)

    # THEN it has timed out, and an answer comes too late
    assert (ended["status"], ended["error"]) == ("FAILED", "States.Timeout")
    states = asker.cloud.client("stepfunctions")
    assert code(states.send_task_success, taskToken=token, output="{}") == "TaskTimedOut"


def test_an_execution_that_is_stopped_waits_no_more(asker: Asker, machine: str) -> None:
    execution = asker.start(machine, n=4)
    token = token_of(asker, execution)

    asker.stop(execution)

    assert asker.ended(execution)["status"] == "ABORTED"
    states = asker.cloud.client("stepfunctions")
    assert code(states.send_task_success, taskToken=token, output="{}") == "TaskTimedOut"


def test_answers_that_the_service_would_not_take_are_not_taken(asker: Asker, machine: str) -> None:
    states = asker.cloud.client("stepfunctions")
    execution = asker.start(machine, n=5)
    token = token_of(asker, execution)

    assert code(states.send_task_success, taskToken="made-up", output="{}") == "InvalidToken"
    assert code(states.send_task_success, taskToken=token, output="yes") == "InvalidOutput"
    assert code(states.send_task_failure, taskToken=token, error="x" * 257) == "ValidationException"
    states.send_task_success(taskToken=token, output="{}")
    assert asker.ended(execution)["status"] == "SUCCEEDED"


def test_a_function_that_fails_fails_the_task_that_would_have_waited(asker: Asker) -> None:
    payload = {"fail": "no letter box", "token": "{% $states.context.Task.Token %}"}
    arguments = {"FunctionName": asker.stack.resources["Worker"], "Payload": payload}

    ended = asker.ended(asker.start(create(asker, "mute", Arguments=arguments)))

    assert ended["error"] == "InvalidInput"


def test_a_task_that_gives_its_token_to_nobody_is_refused(asker: Asker) -> None:
    arguments = {"FunctionName": asker.stack.resources["Worker"], "Payload": {}}

    with pytest.raises(ClientError, match="nobody can ever answer"):
        create(asker, "silent", Arguments=arguments)


def test_what_cannot_wait_for_a_token_is_refused(asker: Asker) -> None:
    with pytest.raises(ClientError, match="is not known here"):
        create(
            asker,
            "odd",
            Resource="arn:aws:states:::codebuild:startBuild.waitForTaskToken",
            Arguments={"ProjectName": "{% $states.context.Task.Token %}"},
        )
