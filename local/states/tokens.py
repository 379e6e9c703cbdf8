"""Task tokens: what a Task that ends in `.waitForTaskToken` waits for, and the calls that answer it."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.core.exceptions import AWSError
from moto.core.responses import ActionResult
from moto.stepfunctions import responses

from local.clock import Clock
from local.patches import Patches
from local.states.errors import TIMEOUT, StateError
from local.states.interrupt import Interrupt

PATTERN = "waitForTaskToken"
_MAX_BYTES = 262_144
_LONGEST = {"error": 256, "cause": 32_768}


class InvalidToken(AWSError):
    """The API's answer to a token that was never given out."""

    TYPE = "InvalidToken"
    STATUS = 400


class TaskTimedOut(AWSError):
    """The API's answer to a token whose task waits no more: timed out, answered, or its execution ended."""

    TYPE = "TaskTimedOut"
    STATUS = 400


class InvalidOutput(AWSError):
    """The API's answer to an output that is not JSON, or is too long."""

    TYPE = "InvalidOutput"
    STATUS = 400


class ValidationException(AWSError):
    """The API's answer to a field that is longer than it may be."""

    TYPE = "ValidationException"
    STATUS = 400


class Waiting:
    """One attempt of a task, and the answer to it."""

    def __init__(self) -> None:
        self.token = base64.b64encode(secrets.token_bytes(450)).decode()
        self.output: Any = None
        self.error: StateError | None = None
        self.answered = False
        self.stop = threading.Event()

    def wait(self, clock: Clock, seconds: int | None, interrupt: Interrupt) -> Any:
        """The answer, if it comes within so many seconds of virtual time.

        Raises:
            StateError: the answer was a failure, or none came in time.
            Interrupted: the execution ended first.
        """
        with interrupt.listener(self.stop.set):
            if seconds is None:
                self.stop.wait()
            else:
                clock.sleep(seconds, self.stop)
        if not self.answered:
            interrupt.check()
            raise StateError(TIMEOUT, f"The task did not end within {seconds} seconds.")
        if self.error is not None:
            raise self.error
        return self.output


class Tokens:
    """Every token that was given out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[str, Waiting | None] = {}

    @contextmanager
    def waiting(self) -> Iterator[Waiting]:
        """A token that can be answered while the block runs."""
        waiting = Waiting()
        with self._lock:
            self._given[waiting.token] = waiting
        try:
            yield waiting
        finally:
            with self._lock:
                self._given[waiting.token] = None

    def succeed(self, token: str, output: str) -> None:
        """SendTaskSuccess."""
        try:
            data = json.loads(output)
        except ValueError as problem:
            raise InvalidOutput(f"Invalid Output: '{problem}'") from problem
        if len(output.encode()) > _MAX_BYTES:
            raise InvalidOutput(f"Invalid Output: 'it is longer than {_MAX_BYTES} bytes'")
        self._answer(token, data, None)

    def fail(self, token: str, error: str, cause: str) -> None:
        """SendTaskFailure."""
        for name, text in (("error", error), ("cause", cause)):
            if len(text) > _LONGEST[name]:
                raise ValidationException(f"'{name}' must have length less than or equal to {_LONGEST[name]}")
        self._answer(token, None, StateError(error, cause))

    def heartbeat(self, token: str) -> None:
        """SendTaskHeartbeat: tells only whether the task still waits, since heartbeats are not demanded here."""
        with self._lock:
            self._of(token)

    def _answer(self, token: str, output: Any, error: StateError | None) -> None:
        with self._lock:
            waiting = self._of(token)
            waiting.output, waiting.error, waiting.answered = output, error, True
            self._given[token] = None
        waiting.stop.set()

    def _of(self, token: str) -> Waiting:
        if token not in self._given:
            raise InvalidToken("Invalid Token: 'Invalid token'")
        waiting = self._given[token]
        if waiting is None or waiting.stop.is_set():
            raise TaskTimedOut("Task Timed Out: 'Provided task does not exist anymore'")
        return waiting


def install(patches: Patches, tokens: Tokens) -> None:
    """Let moto's Step Functions hand answers to `tokens`."""

    def success(self: Any) -> ActionResult:
        tokens.succeed(self._get_param("taskToken"), self._get_param("output"))
        return ActionResult({})

    def failure(self: Any) -> ActionResult:
        tokens.fail(self._get_param("taskToken"), self._get_param("error") or "", self._get_param("cause") or "")
        return ActionResult({})

    def heartbeat(self: Any) -> ActionResult:
        tokens.heartbeat(self._get_param("taskToken"))
        return ActionResult({})

    response = responses.StepFunctionResponse
    patches.replace(response, "send_task_success", success)
    patches.replace(response, "send_task_failure", failure)
    patches.replace(response, "send_task_heartbeat", heartbeat)
