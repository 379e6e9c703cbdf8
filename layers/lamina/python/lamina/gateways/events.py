"""EventBridge: Lamina's own event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lamina.advisory import DETAIL_TYPE, OWN
from lamina.errors import NotDelivered

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


class Events:
    """The default event bus."""

    def __init__(self, client: EventBridgeClient) -> None:
        self._client = client

    def advise(self, detail: Mapping[str, object]) -> None:
        """Put a `lamina.advisory` event.

        Raises:
            NotDelivered: EventBridge refused it.
        """
        answer = self._client.put_events(
            Entries=[{"Source": OWN, "DetailType": DETAIL_TYPE, "Detail": json.dumps(detail)}]
        )
        if answer["FailedEntryCount"]:
            entry = answer["Entries"][0]
            raise NotDelivered(
                f"EventBridge refused an advisory event ({entry.get('ErrorCode')}: {entry.get('ErrorMessage')}); "
                "no update was started for it"
            )
