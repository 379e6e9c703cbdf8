"""CloudWatch alarms, metric and composite ones: the state that they are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamina.alarms import AlarmState

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

_NAMES_PER_CALL = 100


class Alarms:
    """The alarms of one account and region."""

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client

    def states(self, names: Sequence[str]) -> dict[str, AlarmState]:
        """The named alarms as they are now; those that do not exist are left out."""
        found: dict[str, AlarmState] = {}
        for at in range(0, len(names), _NAMES_PER_CALL):
            # Without AlarmTypes, composite alarms would be left out.
            pages = self._client.get_paginator("describe_alarms").paginate(
                AlarmNames=list(names[at : at + _NAMES_PER_CALL]), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
            )
            for page in pages:
                for alarm in (*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])):
                    since = alarm.get("StateTransitionedTimestamp") or alarm.get("StateUpdatedTimestamp")
                    found[alarm["AlarmName"]] = AlarmState(alarm["StateValue"], since, alarm.get("StateReason", ""))
        return found
