"""An execution's history, as GetExecutionHistory tells it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.states.errors import RUNTIME, StateError

# A standard execution ends with an error when it reaches this many events.
MAX_EVENTS = 25_000


def compact(value: Any) -> str:
    """A value as Step Functions writes it into histories and descriptions."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def iso(moment: datetime) -> str:
    """A moment as the context object has it: `2026-11-21T08:00:00.000Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True)
class StateEvent:
    """One step of an execution, for observers.

    `kind` is `started`, `entered`, `waiting` (for a task token's answer), `exited`, `failed` (an error in a state,
    caught or not), `retried`, or an end: `succeeded`, `failed`, `timed_out`, `aborted` with an empty `state`. `time` is
    virtual; `data` is the input or output, of a task that waits its arguments, or `{"Error", "Cause"}`.
    """

    execution_arn: str
    machine: str
    kind: str
    state: str
    time: datetime
    data: Any


class History:
    """The events of one execution; nothing is added once it is closed."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._closed = False

    def add(self, kind: str, previous: int, **details: Any) -> int:
        """Append an event with at most one details block; returns its id.

        Raises:
            StateError: `States.Runtime` when the execution reached the service's limit of events.
        """
        with self._lock:
            if len(self._events) >= MAX_EVENTS - 1 and not kind.startswith("Execution"):
                raise StateError(RUNTIME, f"The execution reached the maximum number of history events ({MAX_EVENTS}).")
            if self._closed:
                return previous
            number = len(self._events) + 1
            event = {"timestamp": self._now(), "type": kind, "id": number, "previousEventId": previous}
            self._events.append(event | details)
            self._closed = kind.startswith("Execution") and kind != "ExecutionStarted"
            return number

    def events(self) -> list[dict[str, Any]]:
        """A snapshot, oldest first."""
        with self._lock:
            return list(self._events)
