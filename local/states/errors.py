"""How a state fails, as Amazon States Language names it."""

from __future__ import annotations

ALL = "States.ALL"
DATA_LIMIT = "States.DataLimitExceeded"
QUERY = "States.QueryEvaluationError"
RUNTIME = "States.Runtime"
TASK_FAILED = "States.TaskFailed"
TIMEOUT = "States.Timeout"

# What a name in ErrorEquals does not reach even where it stands for everything.
_TERMINAL = frozenset({DATA_LIMIT, RUNTIME})


class StateError(Exception):
    """A state failed with an error name and a cause, which Retry and Catch may match."""

    def __init__(self, error: str, cause: str = "", *, from_task: bool = False) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause
        self.from_task = from_task

    def matches(self, names: list[str]) -> bool:
        """Whether one of the names of an ErrorEquals stands for this error."""
        if self.error in names:
            return True
        if self.error in _TERMINAL:
            return False
        return ALL in names or (TASK_FAILED in names and self.from_task and self.error != TIMEOUT)

    def output(self) -> dict[str, str]:
        """What `$states.errorOutput` holds in a Catch."""
        return {"Error": self.error, "Cause": self.cause}


class InvalidDefinition(Exception):
    """A state machine's definition that Step Functions would refuse to create."""


class Interrupted(Exception):
    """The execution, or the Map or Parallel state around this work, was ended from outside."""
