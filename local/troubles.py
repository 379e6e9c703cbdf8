"""Outages of what functions depend on: minutes of a replay in which they fail, whatever release they have."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from local.scenario import Outage
from local.scenariofile import Anchor


class Troubles:
    """A scenario's outages, laid out on the minutes of its traffic as their anchors become known. Thread safe."""

    def __init__(self, outages: Sequence[Outage]) -> None:
        self._outages = outages
        self._lock = threading.Lock()
        self._began: dict[Anchor, int] = {"start": 0}

    def begin(self, anchor: Anchor, minute: int) -> None:
        """What outages are counted from happened in this minute; only the first time counts."""
        with self._lock:
            self._began.setdefault(anchor, minute)

    def error_rate(self, function: str, minute: int) -> float:
        """The share of a function's events that are to fail in a minute of the traffic (from 0)."""
        with self._lock:
            rates = [
                outage.error_rate
                for outage in self._outages
                if function in outage.functions
                and (began := self._began.get(outage.after)) is not None
                and 0 <= minute - began - outage.from_minute < outage.minutes
            ]
        return max(rates, default=0.0)
