"""Step Functions: whether an execution is still at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


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
