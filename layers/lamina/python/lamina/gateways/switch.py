"""The switch that stops everything but rollbacks, in the registry."""

from __future__ import annotations

from lamina.control import Pause
from lamina.gateways.registry import Table


class Switch:
    """One item: whether everything is paused, since when, by what and why."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def paused(self) -> str:
        """Why nothing goes forward, and how to go on; empty where everything may."""
        item = self._table.get("SWITCH", "PAUSED")
        pause = Pause.model_validate(item["pause"]) if item and item["pause"] else None
        return pause.everywhere() if pause else ""

    def turn(self, pause: Pause | None) -> None:
        """Stop everything, or (None) let it go on."""
        self._table.put("SWITCH", "PAUSED", {"pause": pause.to_json() if pause else None})
