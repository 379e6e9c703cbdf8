"""CloudWatch Logs: what failing functions said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_PATTERN = '?"[ERROR]" ?"Task timed out" ?"Runtime." ?Traceback ?errorMessage'

_MOST_PAGES = 20
"""Pages of one search. Each is a second at most, and may be empty where nothing in its share of the log matches."""


class Logs:
    """The log groups of Lambda functions."""

    def __init__(self, client: CloudWatchLogsClient) -> None:
        self._client = client

    def errors(
        self,
        function: str,
        since: datetime,
        version: str | None = None,
        limit: int = 100,
        until: datetime | None = None,
    ) -> tuple[str, ...]:
        """Messages that look like errors, oldest first; those that were read before the log could not be read further.

        Args:
            function: its name; the group is ``/aws/lambda/<name>``.
            since: aware UTC.
            version: only streams of this published version.
            limit: at most so many messages.
            until: only messages from before this moment; None for all.
        """
        arguments: dict[str, Any] = {
            "logGroupName": f"/aws/lambda/{function}",
            "startTime": int(since.timestamp() * 1000),
            "filterPattern": _PATTERN,
        }
        if until is not None:
            arguments["endTime"] = int(until.timestamp() * 1000) - 1
        found: list[str] = []
        for page in self._pages(arguments):
            found += [
                event["message"]
                for event in page["events"]
                if version is None or f"[{version}]" in event["logStreamName"]
            ]
            if len(found) >= limit:
                break
        return tuple(found[:limit])

    def _pages(self, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
        pages = iter(self._client.get_paginator("filter_log_events").paginate(**arguments))
        for _ in range(_MOST_PAGES):
            try:
                page = next(pages, None)
            except ClientError:
                # No such group, no right to read it, or too many readers: what functions said is not known then. That
                # must not keep harm, which the metrics have shown, from being put back as harm.
                return
            if page is None:
                return
            yield dict(page)
