"""What Task states reach: Lambda, nested executions, CodeBuild, SNS, SQS, DynamoDB, EventBridge, and the AWS SDK.

Every call goes over HTTP with the state machine's own role, as in the service, so that the call log attributes it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from botocore import xform_name
from botocore.exceptions import ClientError, HTTPClientError, ParamValidationError

from local.models import SESSION, service_model
from local.states.errors import RUNTIME, TASK_FAILED, InvalidDefinition, StateError
from local.states.history import compact
from local.states.interpreter import TaskCall, task_names
from local.states.shapes import json_or_text, pascal, to_request, to_result
from local.states.tokens import PATTERN as TOKEN

# Optimized integrations: resource type → (botocore's name, prefix of its errors, actions).
_OPTIMIZED: dict[str, tuple[str, str, frozenset[str]]] = {
    "lambda": ("lambda", "Lambda", frozenset({"invoke"})),
    "states": ("stepfunctions", "StepFunctions", frozenset({"startExecution"})),
    "codebuild": ("codebuild", "CodeBuild", frozenset({"startBuild", "stopBuild", "batchGetBuilds"})),
    "sns": ("sns", "SNS", frozenset({"publish"})),
    "sqs": ("sqs", "SQS", frozenset({"sendMessage"})),
    "dynamodb": ("dynamodb", "DynamoDB", frozenset({"getItem", "putItem", "updateItem", "deleteItem"})),
    "events": ("events", "EventBridge", frozenset({"putEvents"})),
}
_PATTERNS = frozenset({("states", "startExecution", "sync"), ("states", "startExecution", "sync:2"),
                       ("codebuild", "startBuild", "sync"), ("lambda", "invoke", TOKEN), ("sns", "publish", TOKEN),
                       ("sqs", "sendMessage", TOKEN), ("events", "putEvents", TOKEN),
                       ("states", "startExecution", TOKEN)})  # fmt: skip
# AWS SDK integrations: where the name in the ARN is not botocore's, and where the error prefix is not just capitalized.
_SDK_NAMES = {"sfn": "stepfunctions", "eventbridge": "events", "cloudwatchlogs": "logs"}
_SDK_PREFIXES = {"dynamodb": "DynamoDb", "cloudwatch": "CloudWatch", "cloudwatchlogs": "CloudWatchLogs",
                 "codebuild": "CodeBuild", "eventbridge": "EventBridge"}  # fmt: skip
_STARTED_BY = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"


class Waiter(Protocol):
    """Something started that a `.sync` task waits for."""

    def wait(self, identifier: str, call: TaskCall) -> Mapping[str, Any]:
        """The final description as the SDK gives it; stops the thing and raises Interrupted on `call.interrupt`."""


class AwsIntegrations:
    """`clients(service, role_arn)` gives a boto3 client; `executions` and `builds` are what `.sync` waits for."""

    def __init__(self, clients: Callable[[str, str], Any], executions: Waiter, builds: Waiter) -> None:
        self._clients = clients
        self._executions = executions
        self._builds = builds

    def check(self, resource: str) -> None:
        """Refuse a Resource that no integration answers to.

        Raises:
            InvalidDefinition: naming the resource.
        """
        service, _, action, pattern = _parse(resource)
        known = service in SESSION.get_available_services() and pascal(action) in service_model(service).operation_names
        kind, _ = task_names(resource)
        if kind in _OPTIMIZED and resource.startswith("arn:aws:states:::"):
            known = known and action in _OPTIMIZED[kind][2] and (not pattern or (kind, action, pattern) in _PATTERNS)
        elif pattern:
            known = False
        if not known:
            raise InvalidDefinition(f"SCHEMA_VALIDATION_FAILED: the resource {resource} is not known here")

    def run(self, resource: str, arguments: Any, call: TaskCall) -> Any:
        """The result of one attempt of a task; see `Integrations`."""
        service, prefix, action, pattern = _parse(resource)
        optimized = resource.startswith("arn:aws:states:::") and ":aws-sdk:" not in resource
        if resource.startswith("arn:aws:lambda:"):
            return self._invoke({"FunctionName": resource, "Payload": arguments}, call)["Payload"]
        if not isinstance(arguments, Mapping):
            raise StateError(RUNTIME, f"The arguments of {resource} must be an object.")
        if optimized and service == "lambda":
            return self._invoke(arguments, call)
        if optimized and service == "events":
            arguments = _with_resources(arguments, call)
        if optimized and service == "stepfunctions":
            arguments = _with_origin(arguments, call)
        result = self._call(service, prefix, action, arguments, call, epoch=optimized, whole=bool(pattern))
        if optimized and service == "events" and result.get("FailedEntryCount"):
            raise StateError("EventBridge.FailedEntry", compact(result))
        if pattern in ("", TOKEN):
            return result
        call.submitted(result)
        if service == "codebuild":
            return self._sync_build(result, call)
        return self._sync_execution(result, pattern, call)

    def _invoke(self, arguments: Mapping[str, Any], call: TaskCall) -> dict[str, Any]:
        result: dict[str, Any] = self._call("lambda", "Lambda", "invoke", arguments, call, epoch=True)
        text = result.get("Payload", "")
        if "FunctionError" in result:
            found = json_or_text(text)
            error = found.get("errorType") if isinstance(found, dict) else None
            raise StateError(error or "Lambda.Unknown", text)
        result["Payload"] = json_or_text(text) if text else {}
        return result

    def _call(
        self,
        service: str,
        prefix: str,
        action: str,
        arguments: Mapping[str, Any],
        call: TaskCall,
        *,
        epoch: bool,
        whole: bool = False,
    ) -> Any:
        """`whole`: wait for the answer even when the task is ended, since what it started has to be stopped then."""
        model = service_model(service).operation_model(pascal(action))
        request = {} if model.input_shape is None else to_request(arguments, model.input_shape)
        client = self._clients(service, call.role_arn)

        def answer() -> Any:
            return to_result(getattr(client, xform_name(pascal(action)))(**request), model.output_shape, epoch=epoch)

        try:
            return answer() if whole else interruptible(answer, call)
        except ClientError as error:
            raise _client_error(prefix, error) from error
        except ParamValidationError as error:
            raise StateError(RUNTIME, f"{error}") from error
        except HTTPClientError as error:
            raise StateError(f"{prefix}.SdkClientException", f"{error}") from error

    def _sync_build(self, started: Mapping[str, Any], call: TaskCall) -> Any:
        output = service_model("codebuild").operation_model("StartBuild").output_shape
        build = to_result({"build": self._builds.wait(started["Build"]["Id"], call)}, output, epoch=True)
        if build["Build"]["BuildStatus"] != "SUCCEEDED":
            raise StateError(TASK_FAILED, compact(build))
        return build

    def _sync_execution(self, started: Mapping[str, Any], pattern: str, call: TaskCall) -> Any:
        output = service_model("stepfunctions").operation_model("DescribeExecution").output_shape
        ended = to_result(self._executions.wait(started["ExecutionArn"], call), output, epoch=True)
        if ended["Status"] != "SUCCEEDED":
            raise StateError(TASK_FAILED, compact(ended))
        if pattern == "sync:2":
            ended |= {key: json.loads(ended[key]) for key in ("Input", "Output") if key in ended}
        return ended


def interruptible(work: Callable[[], Any], call: TaskCall) -> Any:
    """Run blocking work aside, and leave it to itself when the task is ended: as the service leaves a running function.

    Raises:
        Interrupted: when `call.interrupt` is set first.
    """
    call.interrupt.check()
    answers: list[Any] = []
    problems: list[BaseException] = []
    over = threading.Event()

    def aside() -> None:
        try:
            answers.append(work())
        except BaseException as problem:
            problems.append(problem)
        over.set()

    with call.interrupt.listener(over.set):
        threading.Thread(target=aside, name="task", daemon=True).start()
        over.wait()
    if problems:
        raise problems[0]
    if not answers:
        call.interrupt.check()
    return answers[0]


def _parse(resource: str) -> tuple[str, str, str, str]:
    """`(botocore's service, error prefix, action, pattern)` of a Task's Resource."""
    kind, action = task_names(resource)
    if resource.startswith("arn:aws:lambda:"):
        return "lambda", "Lambda", "invoke", ""
    action, _, pattern = action.partition(".")
    if kind.startswith("aws-sdk:"):
        name = kind.removeprefix("aws-sdk:")
        return _SDK_NAMES.get(name, name), _SDK_PREFIXES.get(name, name.capitalize()), action, pattern
    service, prefix, _ = _OPTIMIZED.get(kind, (kind, kind, frozenset()))
    return service, prefix, action, pattern


def _client_error(prefix: str, error: ClientError) -> StateError:
    code = error.response.get("Error", {}).get("Code", "Unknown")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = error.response.get("Error", {}).get("Message", "")
    name = code if code.endswith("Exception") else f"{code}Exception"
    return StateError(f"{prefix}.{name}", f"{message} (Service: {prefix}, Status Code: {status})")


def _with_resources(arguments: Mapping[str, Any], call: TaskCall) -> Mapping[str, Any]:
    """The service adds the execution to the resources of each event that it puts."""
    entries = [
        {**entry, "Resources": [*entry.get("Resources", []), call.execution_arn]} for entry in arguments["Entries"]
    ]
    return {**arguments, "Entries": entries}


def _with_origin(arguments: Mapping[str, Any], call: TaskCall) -> Mapping[str, Any]:
    """The service passes the parent's ARN where the input asks for it by this name."""
    given = arguments.get("Input")
    if isinstance(given, Mapping) and _STARTED_BY in given:
        return {**arguments, "Input": {**given, _STARTED_BY: call.execution_arn}}
    return arguments
