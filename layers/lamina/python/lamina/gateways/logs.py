"""CloudWatch Logs: what failing functions said."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_PATTERN = '?"[ERROR]" ?"Task timed out" ?"Runtime." ?Traceback ?errorMessage'


class Logs:
    """The log groups of Lambda functions."""

    def __init__(self, client: CloudWatchLogsClient) -> None:
        self._client = client

    def errors(self, function: str, since: datetime, version: str | None = None, limit: int = 100) -> tuple[str, ...]:
        """Messages that look like errors, oldest first.

        Args:
            function: its name; the group is ``/aws/lambda/<name>``.
            since: aware UTC.
            version: only streams of this published version.
            limit: at most so many messages.
        """
        found: list[str] = []
        arguments: Any = {
            "logGroupName": f"/aws/lambda/{function}",
            "startTime": int(since.timestamp() * 1000),
            "filterPattern": _PATTERN,
        }
        try:
            for page in self._client.get_paginator("filter_log_events").paginate(**arguments):
                for event in page["events"]:
                    if version is None or f"[{version}]" in event["logStreamName"]:
                        found.append(event["message"])
                if len(found) >= limit:
                    break
        except self._client.exceptions.ResourceNotFoundException:
            return ()
        return tuple(found[:limit])
