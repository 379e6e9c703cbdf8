"""Runs a checked definition: states, transitions, Retry and Catch, variables, maps and branches.

Waits and retry intervals pass on the virtual clock, and so does the wait for a task token's answer; other timeouts are
real seconds, since they guard real work.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from local.clock import Clock
from local.states.errors import DATA_LIMIT, QUERY, RUNTIME, TIMEOUT, Interrupted, StateError
from local.states.history import History, compact, iso
from local.states.interrupt import Interrupt
from local.states.query import Query
from local.states.tokens import PATTERN, Tokens, Waiting

MAX_BYTES = 262_144
# What an inline Map runs at once, whatever MaxConcurrency says.
MAX_CONCURRENCY = 40
_SUFFIX = {"error": "Failed", "timeout": "TimedOut"}
_TIMESTAMP = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$")


@dataclass(frozen=True)
class TaskCall:
    """What an integration may know of the task it works for."""

    execution_arn: str
    role_arn: str
    interrupt: Interrupt
    submitted: Callable[[Any], None]


class Integrations(Protocol):
    """What Task states reach."""

    def run(self, resource: str, arguments: Any, call: TaskCall) -> Any:
        """The task's result as JSON; raises StateError, or Interrupted when `call.interrupt` is set."""


@dataclass
class Scope:
    """One line of control: the machine itself, a Map's iteration or a Parallel's branch."""

    variables: dict[str, Any]
    interrupt: Interrupt
    previous: int
    map_item: dict[str, Any] | None = None

    def inner(self, interrupt: Interrupt, map_item: dict[str, Any] | None = None) -> Scope:
        return Scope(dict(self.variables), interrupt, self.previous, map_item or self.map_item)


@dataclass
class Visit:
    """One state while it is being executed."""

    name: str
    state: Mapping[str, Any]
    input: Any
    scope: Scope
    context: dict[str, Any]
    now: Callable[[], datetime]

    def query(self, **more: Any) -> Query:
        states = {"input": self.input, "context": self.context, **more}
        return Query(states, self.scope.variables, self.now)


class Interpreter:
    """Runs one execution of one definition."""

    def __init__(
        self,
        definition: Mapping[str, Any],
        context: Mapping[str, Any],
        *,
        clock: Clock,
        history: History,
        integrations: Integrations,
        tokens: Tokens,
        interrupt: Interrupt,
        observe: Callable[[str, str, Any], None],
    ) -> None:
        self._definition = definition
        self._context = context
        self._clock = clock
        self._history = history
        self._integrations = integrations
        self._tokens = tokens
        self._interrupt = interrupt
        self._observe = observe

    def run(self, data: Any, started: int) -> Any:
        """The execution's output; `started` is the id of its first event.

        Raises:
            StateError: as the execution failed.
            Interrupted: as it was ended from outside.
        """
        return self._machine(self._definition, data, Scope({}, self._interrupt, started))

    def _machine(self, machine: Mapping[str, Any], data: Any, scope: Scope) -> Any:
        name: str | None = machine["StartAt"]
        while name is not None:
            scope.interrupt.check()
            data, name = self._visit(name, machine["States"][name], data, scope)
        return data

    def _visit(self, name: str, state: Mapping[str, Any], data: Any, scope: Scope) -> tuple[Any, str | None]:
        context = {**self._context, "State": {"EnteredTime": iso(self._clock.now()), "Name": name}}
        if state["Type"] in ("Task", "Parallel", "Map"):
            context["State"]["RetryCount"] = 0
        if scope.map_item is not None:
            context["Map"] = {"Item": scope.map_item}
        self._event(scope, f"{state['Type']}StateEntered", stateEnteredEventDetails=_named(name, input=compact(data)))
        self._observe("entered", name, data)
        visit = Visit(name, state, data, scope, context, self._clock.now)
        try:
            output, onward, assigned = getattr(self, f"_{state['Type'].lower()}")(visit)
            _limit(name, output)
        except StateError as error:
            if error.error == QUERY:
                details = {"error": error.error, "cause": error.cause, "state": name}
                self._event(scope, "EvaluationFailed", evaluationFailedEventDetails=details)
            if state["Type"] not in ("Task", "Parallel", "Map"):
                self._observe("failed", name, error.output())
            raise
        for variable, value in assigned.items():
            _limit(f"{name}: variable {variable}", value)
        scope.variables.update(assigned)
        exited = _named(name, output=compact(output))
        if assigned:
            exited |= {
                "assignedVariables": {variable: compact(value) for variable, value in assigned.items()},
                "assignedVariablesDetails": {"truncated": False},
            }
        self._event(scope, f"{state['Type']}StateExited", stateExitedEventDetails=exited)
        self._observe("exited", name, output)
        return output, onward

    def _pass(self, visit: Visit) -> tuple[Any, str | None, dict[str, Any]]:
        return self._leave(visit, visit.state, visit.input)

    def _succeed(self, visit: Visit) -> tuple[Any, str | None, dict[str, Any]]:
        return self._leave(visit, visit.state, visit.input)

    def _fail(self, visit: Visit) -> tuple[Any, str | None, dict[str, Any]]:
        query = visit.query()
        error = _text("Error", query.field("Error", visit.state.get("Error", "")))
        raise StateError(error, _text("Cause", query.field("Cause", visit.state.get("Cause", ""))))

    def _choice(self, visit: Visit) -> tuple[Any, str | None, dict[str, Any]]:
        query = visit.query()
        for index, rule in enumerate(visit.state["Choices"]):
            field = f"Choices[{index}]/Condition"
            if _typed(field, query.field(field, rule["Condition"]), bool, "boolean"):
                return self._leave(visit, rule, visit.input)
        if "Default" not in visit.state:
            raise StateError(
                "States.NoChoiceMatched", f"No choice of the state '{visit.name}' matched, and no Default is set."
            )
        output, _, assigned = self._leave(visit, visit.state, visit.input)
        return output, visit.state["Default"], assigned

    def _wait(self, visit: Visit) -> tuple[Any, str | None, dict[str, Any]]:
        query = visit.query()
        stop = visit.scope.interrupt.event
        if "Seconds" in visit.state:
            seconds = _typed("Seconds", query.field("Seconds", visit.state["Seconds"]), int, "number")
            if not 0 <= seconds <= 99_999_999:
                raise StateError(QUERY, f"The field 'Seconds' must be between 0 and 99999999, not {seconds}.")
            self._clock.sleep(seconds, stop)
        else:
            text = _text("Timestamp", query.field("Timestamp", visit.state["Timestamp"]))
            if not _TIMESTAMP.match(text):
                raise StateError(
                    RUNTIME, f"The field 'Timestamp' is not an ISO-8601 date-time with an offset: '{text}'."
                )
            self._clock.sleep_until(datetime.fromisoformat(text).astimezone(UTC), stop)
        visit.scope.interrupt.check()
        return self._leave(visit, visit.state, visit.input)

    def _task(self, visit: Visit) -> tuple[Any, str | None, dict[str, Any]]:
        return self._guarded(visit, self._attempt_task)

    def _map(self, visit: Visit) -> tuple[Any, str | None, dict[str, Any]]:
        return self._guarded(visit, self._attempt_map)

    def _parallel(self, visit: Visit) -> tuple[Any, str | None, dict[str, Any]]:
        return self._guarded(visit, self._attempt_parallel)

    def _guarded(self, visit: Visit, attempt: Callable[[Visit], Any]) -> tuple[Any, str | None, dict[str, Any]]:
        """Attempt the state's work until it succeeds, is caught, or fails for good."""
        tries = [0] * len(visit.state.get("Retry", []))
        while True:
            try:
                result = attempt(visit)
                return self._leave(visit, visit.state, result, result=result)
            except StateError as error:
                self._observe("failed", visit.name, error.output())
                if self._retry(visit, error, tries):
                    visit.context["State"]["RetryCount"] += 1
                    self._observe("retried", visit.name, error.output())
                    continue
                for index, catcher in enumerate(visit.state.get("Catch", [])):
                    if error.matches(catcher["ErrorEquals"]):
                        caught = error.output()
                        return self._leave(visit, catcher, caught, prefix=f"Catch[{index}]/", errorOutput=caught)
                raise

    def _retry(self, visit: Visit, error: StateError, tries: list[int]) -> bool:
        for index, retrier in enumerate(visit.state.get("Retry", [])):
            if not error.matches(retrier["ErrorEquals"]):
                continue
            if tries[index] >= retrier.get("MaxAttempts", 3):
                return False
            delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** tries[index]
            delay = min(delay, retrier.get("MaxDelaySeconds", delay))
            if retrier.get("JitterStrategy", "NONE") == "FULL":
                delay *= random.random()
            tries[index] += 1
            self._clock.sleep(delay, visit.scope.interrupt.event)
            visit.scope.interrupt.check()
            return True
        return False

    def _attempt_task(self, visit: Visit) -> Any:
        if not visit.state["Resource"].endswith(f".{PATTERN}"):
            return self._do_task(visit, None)
        with self._tokens.waiting() as waiting:
            # Each attempt has a token of its own; an answer to an earlier one comes too late.
            told = replace(visit, context={**visit.context, "Task": {"Token": waiting.token}})
            return self._do_task(told, waiting)

    def _do_task(self, visit: Visit, waiting: Waiting | None) -> Any:
        resource: str = visit.state["Resource"]
        kind, action = task_names(resource)
        query = visit.query()
        arguments = query.field("Arguments", visit.state["Arguments"]) if "Arguments" in visit.state else visit.input
        _limit(visit.name, arguments)
        names = {"resourceType": kind, "resource": action}
        scheduled = {**names, "region": _region(self._context), "parameters": compact(arguments)}
        seconds: int | None = None
        if "TimeoutSeconds" in visit.state:
            found = query.field("TimeoutSeconds", visit.state["TimeoutSeconds"])
            scheduled["timeoutInSeconds"] = seconds = _typed("TimeoutSeconds", found, int, "number")
        scope = visit.scope
        self._event(scope, "TaskScheduled", taskScheduledEventDetails=scheduled)
        self._event(scope, "TaskStarted", taskStartedEventDetails=names)

        def submitted(output: Any) -> None:
            self._event(scope, "TaskSubmitted", taskSubmittedEventDetails={**names, **_output(output)})

        execution = self._context["Execution"]
        try:
            with _deadline(scope.interrupt, seconds) as interrupt:
                call = TaskCall(execution["Id"], execution["RoleArn"], interrupt, submitted)
                result = self._integrations.run(resource, arguments, call)
            if waiting is not None:
                submitted(result)
                self._observe("waiting", visit.name, arguments)
                result = waiting.wait(self._clock, seconds, scope.interrupt)
            _limit(visit.name, result)
        except StateError as error:
            kind_of_end = "timeout" if error.error == TIMEOUT else "error"
            suffix = _SUFFIX[kind_of_end]
            details = {f"task{suffix}EventDetails": {**names, "error": error.error, "cause": error.cause}}
            self._event(scope, f"Task{suffix}", **details)
            error.from_task = True
            raise
        self._event(scope, "TaskSucceeded", taskSucceededEventDetails={**names, **_output(result)})
        return result

    def _attempt_map(self, visit: Visit) -> list[Any]:
        query = visit.query()
        items = query.field("Items", visit.state["Items"]) if "Items" in visit.state else visit.input
        _typed("Items", items, list, "array")
        at_once = _typed(
            "MaxConcurrency", query.field("MaxConcurrency", visit.state.get("MaxConcurrency", 0)), int, "number"
        )
        self._event(visit.scope, "MapStateStarted", mapStateStartedEventDetails={"length": len(items)})

        def iterate(index: int, interrupt: Interrupt) -> Any:
            item = {"Index": index, "Value": items[index]}
            scope = visit.scope.inner(interrupt, item)
            details = {"name": visit.name, "index": index}
            self._event(scope, "MapIterationStarted", mapIterationStartedEventDetails=details)
            try:
                chosen = items[index]
                if "ItemSelector" in visit.state:
                    about = replace(visit, context={**visit.context, "Map": {"Item": item}})
                    chosen = about.query().field("ItemSelector", visit.state["ItemSelector"])
                _limit(visit.name, chosen)
                result = self._machine(visit.state["ItemProcessor"], chosen, scope)
            except StateError:
                self._event(scope, "MapIterationFailed", mapIterationFailedEventDetails=details)
                raise
            except Interrupted:
                self._event(scope, "MapIterationAborted", mapIterationAbortedEventDetails=details)
                raise
            self._event(scope, "MapIterationSucceeded", mapIterationSucceededEventDetails=details)
            return result

        limit = min(at_once or MAX_CONCURRENCY, MAX_CONCURRENCY)
        return self._together(visit, "Map", len(items), limit, iterate)

    def _attempt_parallel(self, visit: Visit) -> list[Any]:
        branches = visit.state["Branches"]
        query = visit.query()
        data = query.field("Arguments", visit.state["Arguments"]) if "Arguments" in visit.state else visit.input
        self._event(visit.scope, "ParallelStateStarted")

        def branch(index: int, interrupt: Interrupt) -> Any:
            return self._machine(branches[index], data, visit.scope.inner(interrupt))

        return self._together(visit, "Parallel", len(branches), len(branches), branch)

    def _together(
        self, visit: Visit, kind: str, count: int, limit: int, work: Callable[[int, Interrupt], Any]
    ) -> list[Any]:
        """Run `work(0…count-1)`, at most `limit` at once; the first failure ends the others."""
        interrupt = Interrupt(visit.scope.interrupt)
        results: list[Any] = [None] * count
        failures: list[Exception] = []
        waiting = iter(range(count))
        lock = threading.Lock()

        def labour() -> None:
            while not interrupt.event.is_set():
                with lock:
                    index = next(waiting, None)
                if index is None:
                    return
                try:
                    results[index] = work(index, interrupt)
                except Interrupted:
                    return
                except Exception as problem:
                    with lock:
                        failures.append(problem)
                    interrupt.set()

        threads = [
            threading.Thread(target=labour, name=f"{visit.name}-{n}", daemon=True) for n in range(min(limit, count))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        interrupt.close()
        visit.scope.interrupt.check()
        if failures:
            self._event(visit.scope, f"{kind}StateFailed")
            raise failures[0]
        self._event(visit.scope, f"{kind}StateSucceeded")
        return results

    def _leave(
        self, visit: Visit, holder: Mapping[str, Any], default: Any, *, prefix: str = "", **more: Any
    ) -> tuple[Any, str | None, dict[str, Any]]:
        """Output, next state and new variables; Output and Assign both see the variables as they were before."""
        if "Assign" not in holder and "Output" not in holder:
            return default, holder.get("Next"), {}
        query = visit.query(**more)
        assigned = query.field(f"{prefix}Assign", holder.get("Assign", {}))
        output = query.field(f"{prefix}Output", holder["Output"]) if "Output" in holder else default
        return output, holder.get("Next"), assigned

    def _event(self, scope: Scope, kind: str, **details: Any) -> None:
        scope.previous = self._history.add(kind, scope.previous, **details)


def task_names(resource: str) -> tuple[str, str]:
    """`(resourceType, resource)` of a Task's Resource: `("states", "startExecution.sync:2")`."""
    parts = resource.split(":")
    if resource.startswith("arn:aws:states:::aws-sdk:"):
        return f"aws-sdk:{parts[6]}", ":".join(parts[7:])
    if resource.startswith("arn:aws:states:::"):
        return parts[5], ":".join(parts[6:])
    return "lambda", resource


@contextmanager
def _deadline(parent: Interrupt, seconds: int | None) -> Iterator[Interrupt]:
    """An interrupt that is set after `seconds` of real time; then the block ends in States.Timeout."""
    if seconds is None:
        yield parent
        return
    interrupt = Interrupt(parent)
    timer = threading.Timer(seconds, interrupt.set)
    timer.daemon = True
    timer.start()
    try:
        yield interrupt
    except Interrupted:
        parent.check()
        raise StateError(TIMEOUT, f"The task did not end within {seconds} seconds.") from None
    finally:
        timer.cancel()
        interrupt.close()


def _limit(what: str, value: Any) -> None:
    if len(compact(value).encode()) > MAX_BYTES:
        raise StateError(
            DATA_LIMIT,
            f"The state/task '{what}' returned a result with a size exceeding the maximum of {MAX_BYTES} bytes.",
        )


def _typed(field: str, value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise StateError(QUERY, f"The field '{field}' must be of type {name}, but was: {compact(value)[:200]}")
    return value


def _text(field: str, value: Any) -> str:
    text: str = _typed(field, value, str, "string")
    return text


def _named(name: str, **data: str) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name}
    for key, value in data.items():
        details |= {key: value, f"{key}Details": {"truncated": False}}
    return details


def _output(value: Any) -> dict[str, Any]:
    return {"output": compact(value), "outputDetails": {"truncated": False}}


def _region(context: Mapping[str, Any]) -> str:
    return str(context["Execution"]["Id"].split(":")[3])
