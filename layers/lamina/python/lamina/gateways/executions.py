"""Step Functions: whether an execution is still at work, and the answers that it waits for."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

DECLINED = "Declined"
"""The error by which the rollout state machine knows a no."""


class Executions:
    """Executions of Lamina's state machines."""

    def __init__(self, client: SFNClient) -> None:
        self._client = client

    def running(self, arn: str) -> bool:
        """Whether the execution is running; one that is not known any more is not."""
        try:
            return self._client.describe_execution(executionArn=arn)["status"] == "RUNNING"
        except self._client.exceptions.ExecutionDoesNotExist:
            return False

    def approve(self, token: str) -> None:
        """Answer a task that waits for an answer; one that got it before, or does not wait any more, is left."""
        with suppress(*self._answered()):
            self._client.send_task_success(taskToken=token, output="{}")

    def decline(self, token: str, cause: str) -> None:
        """Answer such a task with no, if that can be done; otherwise it goes on waiting, and ends by its time-out."""
        with suppress(ClientError):
            self._client.send_task_failure(taskToken=token, error=DECLINED, cause=cause[:1000])

    def _answered(self) -> tuple[type[Exception], ...]:
        known = self._client.exceptions
        return known.TaskTimedOut, known.TaskDoesNotExist, known.InvalidToken
