"""CloudWatch Logs: the cold starts that Lambda reports.

FilterLogEvents with a pattern finds the REPORT lines of cold starts: one call where Logs Insights takes two and some
waiting, and it costs nothing for what is scanned. What it reads is bounded in pages; a function whose log is too long
for that is known from the beginning of the time asked for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_PATTERN = '?"Init Duration" ?initDurationMs'
_PAGES = 10
_TEXT = re.compile(r"\tDuration: ([\d.]+) ms\t.*\bInit Duration: ([\d.]+) ms")


@dataclass(frozen=True, slots=True)
class ColdStart:
    """A cold start: when its invocation began, how long that took without the initialisation, and that, in ms."""

    start: datetime
    duration_ms: float
    init_ms: float


class Reports:
    """What Lambda writes about invocations into functions' log groups, as text or as JSON."""

    def __init__(self, client: CloudWatchLogsClient) -> None:
        self._client = client

    def cold_starts(
        self, function: str, since: datetime, until: datetime, version: str | None = None
    ) -> tuple[ColdStart, ...]:
        """The cold starts of a function, oldest first, as far as its log can be read.

        Args:
            function: its name; the group is ``/aws/lambda/<name>``.
            since, until: aware UTC.
            version: only those of this published version.
        """
        arguments: Any = {
            "logGroupName": f"/aws/lambda/{function}",
            "startTime": int(since.timestamp() * 1000),
            "endTime": int(until.timestamp() * 1000),
            "filterPattern": _PATTERN,
        }
        found: list[ColdStart] = []
        try:
            pages = self._client.get_paginator("filter_log_events").paginate(**arguments)
            for page in islice(pages, _PAGES):
                for event in page["events"]:
                    if version is None or f"[{version}]" in event["logStreamName"]:
                        found += _read(event["message"], event["timestamp"])
        except ClientError:
            # No such group, no right to read it, or too many readers: cold starts beyond what was read are not known.
            pass
        return tuple(sorted(found, key=lambda one: one.start))


def _read(message: str, ended: int) -> tuple[ColdStart, ...]:
    if match := _TEXT.search(message):
        duration, init = float(match[1]), float(match[2])
    else:
        try:
            measured = json.loads(message)["record"]["metrics"]
            duration, init = float(measured["durationMs"]), float(measured["initDurationMs"])
        except (ValueError, KeyError, TypeError):
            return ()
    end = datetime.fromtimestamp(ended / 1000, UTC)
    return (ColdStart(end - timedelta(milliseconds=duration), duration, init),)
