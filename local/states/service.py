"""Step Functions' API: moto answers the HTTP calls and keeps the machines, and this runs their executions.

Names, idempotency, statuses, histories and status-change events are the service's; see `Interpreter` for the states.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from moto.core.exceptions import AWSError
from moto.core.responses import ActionResult
from moto.stepfunctions import models, responses
from moto.stepfunctions.exceptions import InvalidExecutionInput

from local.clock import Clock
from local.patches import Patches
from local.states import definition, tokens
from local.states.errors import RUNTIME, Interrupted, InvalidDefinition, StateError
from local.states.history import History, StateEvent, compact, iso
from local.states.interpreter import MAX_BYTES, Integrations, Interpreter, TaskCall
from local.states.interrupt import Interrupt
from local.states.tokens import Tokens

_KINDS = {"SUCCEEDED": "Succeeded", "FAILED": "Failed", "TIMED_OUT": "TimedOut", "ABORTED": "Aborted"}


class InvalidDefinitionError(AWSError):
    """The API's answer to a definition that cannot be run."""

    TYPE = "InvalidDefinition"
    STATUS = 400


class StateMachineAlreadyExists(AWSError):
    """The API's answer to a name that another machine has."""

    TYPE = "StateMachineAlreadyExists"
    STATUS = 400


class CheckedIntegrations(Integrations, Protocol):
    """Integrations that can tell a resource they do not know."""

    def check(self, resource: str) -> None:
        """Raise InvalidDefinition for a resource that nothing answers to."""


class Execution:
    """One execution; moto reads its public attributes."""

    def __init__(self, machine: Any, name: str, text: str, clock: Clock) -> None:
        self.name = name
        self.state_machine_arn: str = machine.arn
        self.machine_name: str = machine.name
        self.role_arn: str = machine.roleArn
        self.execution_arn = machine.arn.replace(":stateMachine:", ":execution:") + f":{name}"
        self.execution_input = text
        self.definition: dict[str, Any] = json.loads(machine.definition)
        self.start_date: datetime = clock.now()
        self.stop_date: datetime | None = None
        self.status = "RUNNING"
        self.output: str | None = None
        self.output_details: dict[str, bool] | None = None
        self.error: str | None = None
        self.cause: str | None = None
        self.history = History(clock.now)
        self.interrupt = Interrupt()
        self.over = threading.Event()
        self._clock = clock
        self._lock = threading.Lock()

    def end(self, status: str, *, output: Any = None, error: str | None = None, cause: str | None = None) -> bool:
        """Settle the execution once; False where it was settled before."""
        with self._lock:
            if self.status != "RUNNING":
                return False
            details: dict[str, Any] = {key: text for key, text in (("error", error), ("cause", cause)) if text}
            if status == "SUCCEEDED":
                self.output = compact(output)
                self.output_details = {"included": True}
                details = {"output": self.output, "outputDetails": {"truncated": False}}
            self.error, self.cause = error, cause
            block = {f"execution{_KINDS[status]}EventDetails": details} if details else {}
            self.history.add(f"Execution{_KINDS[status]}", len(self.history.events()), **block)
            self.stop_date = self._clock.now()
            self.status = status
        self.interrupt.set()
        return True

    def describe(self) -> dict[str, Any]:
        """DescribeExecution's answer."""
        description = {
            "executionArn": self.execution_arn,
            "stateMachineArn": self.state_machine_arn,
            "name": self.name,
            "status": self.status,
            "startDate": self.start_date,
            "stopDate": self.stop_date,
            "input": self.execution_input,
            "inputDetails": {"included": True},
            "output": self.output,
            "outputDetails": self.output_details,
            "error": self.error,
            "cause": self.cause,
        }
        return {key: value for key, value in description.items() if value is not None}


class Executions:
    """Starts, stops and watches executions; `integrations` is set once by whoever builds both."""

    integrations: CheckedIntegrations

    def __init__(
        self,
        clock: Clock,
        observe: Callable[[StateEvent], None],
        changed: Callable[[str, str, Mapping[str, Any]], None],
    ) -> None:
        """`changed(execution ARN, start time, detail)` puts a status-change event on the default bus."""
        self._clock = clock
        self._observe = observe
        self._changed = changed
        self._lock = threading.Lock()
        self.tokens = Tokens()
        self._all: dict[str, Execution] = {}
        self._threads: list[threading.Thread] = []

    def start(self, machine: Any, name: str | None, text: str) -> Execution:
        """Start an execution of moto's machine, or find the running one of the same name and input."""
        try:
            data = json.loads(text)
        except ValueError as problem:
            raise InvalidExecutionInput(f"Invalid State Machine Execution Input: '{problem}'") from problem
        if len(text.encode()) > MAX_BYTES:
            raise InvalidExecutionInput(f"The input is longer than {MAX_BYTES} bytes")
        with self._lock:
            name = name or str(uuid.uuid4())
            known: Execution | None = machine._handle_name_input_idempotency(name, text)
            if known is not None:
                return known
            execution = Execution(machine, name, text, self._clock)
            machine.executions.append(execution)
            self._all[execution.execution_arn] = execution
            thread = threading.Thread(target=self._run, args=(execution, data), name=f"execution-{name}", daemon=True)
            self._threads.append(thread)
        self._tell(execution, "started", "", data)
        self._change(execution)
        thread.start()
        return execution

    def stop(self, arn: str, error: str | None = None, cause: str | None = None) -> Execution:
        """Abort an execution at once, and everything that it waits for."""
        execution = self._all[arn]
        self._settle(execution, "ABORTED", error=error, cause=cause)
        return execution

    def wait(self, identifier: str, call: TaskCall) -> Mapping[str, Any]:
        """Wait for a nested execution; ending the parent's task stops it."""
        execution = self._all[identifier]
        done = threading.Event()
        with call.interrupt.listener(done.set), execution.interrupt.listener(done.set):
            done.wait()
        if call.interrupt.event.is_set():
            self.stop(identifier, cause="The execution was stopped because its parent's task ended.")
            call.interrupt.check()
        execution.over.wait()
        return execution.describe()

    def close(self) -> None:
        """Abort whatever still runs and wait for its threads."""
        for arn, execution in list(self._all.items()):
            if execution.status == "RUNNING":
                self.stop(arn)
        for thread in self._threads:
            thread.join(timeout=5)

    def _run(self, execution: Execution, data: Any) -> None:
        seconds = execution.definition.get("TimeoutSeconds")
        timer = threading.Timer(seconds or 0, self._settle, (execution, "TIMED_OUT"))
        timer.daemon = True
        if seconds:
            timer.start()
        try:
            details = {"input": execution.execution_input, "inputDetails": {"truncated": False}}
            started = execution.history.add(
                "ExecutionStarted", 0, executionStartedEventDetails=details | {"roleArn": execution.role_arn}
            )
            interpreter = Interpreter(
                execution.definition,
                {
                    "Execution": {
                        "Id": execution.execution_arn,
                        "Input": data,
                        "Name": execution.name,
                        "RoleArn": execution.role_arn,
                        "StartTime": iso(execution.start_date),
                        "RedriveCount": 0,
                    },
                    "StateMachine": {"Id": execution.state_machine_arn, "Name": execution.machine_name},
                },
                clock=self._clock,
                history=execution.history,
                integrations=self.integrations,
                tokens=self.tokens,
                interrupt=execution.interrupt,
                observe=lambda kind, state, about: self._tell(execution, kind, state, about),
            )
            self._settle(execution, "SUCCEEDED", output=interpreter.run(data, started))
        except Interrupted:
            pass
        except StateError as error:
            self._settle(execution, "FAILED", error=error.error, cause=error.cause)
        except Exception as problem:
            self._settle(execution, "FAILED", error=RUNTIME, cause=f"{type(problem).__name__}: {problem}")
        finally:
            timer.cancel()

    def _settle(self, execution: Execution, status: str, **how: Any) -> None:
        if not execution.end(status, **how):
            return
        try:
            about = (
                execution.output if status == "SUCCEEDED" else {"Error": how.get("error"), "Cause": how.get("cause")}
            )
            self._tell(execution, status.lower(), "", json.loads(about) if isinstance(about, str) else about)
            self._change(execution)
        finally:
            execution.over.set()

    def _tell(self, execution: Execution, kind: str, state: str, data: Any) -> None:
        self._observe(StateEvent(execution.execution_arn, execution.machine_name, kind, state, self._clock.now(), data))

    def _change(self, execution: Execution) -> None:
        stop = execution.stop_date
        detail = {
            "executionArn": execution.execution_arn,
            "stateMachineArn": execution.state_machine_arn,
            "name": execution.name,
            "status": execution.status,
            "startDate": int(execution.start_date.timestamp() * 1000),
            "stopDate": int(stop.timestamp() * 1000) if stop else None,
            "input": execution.execution_input,
            "output": execution.output,
            "stateMachineVersionArn": None,
            "stateMachineAliasArn": None,
            "redriveCount": 0,
            "redriveDate": None,
            "redriveStatus": "NOT_REDRIVABLE" if execution.status in ("RUNNING", "SUCCEEDED") else "REDRIVABLE",
            "error": execution.error,
            "cause": execution.cause,
            "inputDetails": {"included": True},
            "outputDetails": execution.output_details,
        }
        self._changed(execution.execution_arn, iso(stop or execution.start_date), detail)


def install(patches: Patches, executions: Executions) -> None:
    """Let moto's Step Functions run its machines with `executions`."""
    backend = models.StepFunctionBackend

    def check(text: str) -> None:
        try:
            machine = definition.load(text)
            for resource in definition.resources(machine):
                executions.integrations.check(resource)
        except InvalidDefinition as problem:
            raise InvalidDefinitionError(f"Invalid State Machine Definition: '{problem}'") from problem

    def create(self: Any, name: str, definition: str, roleArn: str, **more: Any) -> Any:
        check(definition)
        if more.get("sm_type") not in (None, "STANDARD"):
            raise InvalidDefinitionError("only STANDARD state machines can be run here")
        for machine in self.state_machines:
            if machine.name == name and (machine.definition, machine.roleArn) != (definition, roleArn):
                raise StateMachineAlreadyExists(f"State Machine Already Exists: '{machine.arn}'")
        return created(self, name=name, definition=definition, roleArn=roleArn, **more)

    def update(self: Any, arn: str, definition: str | None = None, *more: Any, **named: Any) -> Any:
        if definition is not None:
            check(definition)
        return updated(self, arn, definition, *more, **named)

    def start(self: Any, state_machine_arn: str, name: str, execution_input: str) -> Execution:
        if name:
            self._validate_name(name)
        return executions.start(self.describe_state_machine(state_machine_arn), name, execution_input)

    def stop(self: Any) -> ActionResult:
        arn = self._get_param("executionArn")
        self.stepfunction_backend.describe_execution(arn)
        execution = executions.stop(arn, self._get_param("error"), self._get_param("cause"))
        return ActionResult({"stopDate": execution.stop_date})

    def describe(self: Any) -> ActionResult:
        execution = self.stepfunction_backend.describe_execution(self._get_param("executionArn"))
        return ActionResult(execution.describe())

    def history(self: Any) -> ActionResult:
        events = self.stepfunction_backend.describe_execution(self._get_param("executionArn")).history.events()
        if self._get_param("reverseOrder"):
            events.reverse()
        first = int(self._get_param("nextToken") or 0)
        size = int(self._get_param("maxResults") or 0) or 1000
        page: dict[str, Any] = {"events": events[first : first + size]}
        if first + size < len(events):
            page["nextToken"] = str(first + size)
        return ActionResult(page)

    def started_list(self: Any) -> ActionResult:
        answer: ActionResult = listed(self)
        found: Any = answer.result
        for entry in found["executions"]:
            execution = self.stepfunction_backend.describe_execution(entry["executionArn"])
            if execution.stop_date is not None:
                entry["stopDate"] = execution.stop_date
        return answer

    created = patches.replace(backend, "create_state_machine", create)
    updated = patches.replace(backend, "update_state_machine", update)
    patches.replace(backend, "start_execution", start)
    response = responses.StepFunctionResponse
    patches.replace(response, "stop_execution", stop)
    patches.replace(response, "describe_execution", describe)
    patches.replace(response, "get_execution_history", history)
    listed = patches.replace(response, "list_executions", started_list)
    tokens.install(patches, executions.tokens)
