"""Rollouts, their journals, evidence and locks, in the registry.

The journal of a rollout can be written only while the rollout may still change functions: a step that was stopped
but is not dead yet finds the rollout closed to it and changes nothing more.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lamina.errors import RolloutClosed
from lamina.gateways.registry import Document, Layers, Table
from lamina.rollout import Entry, Lock, Rollout, RolloutStatus


class Rollouts:
    """All rollouts, by name."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, rollout: str) -> Rollout | None:
        """The rollout, or None."""
        item = self._table.get(f"ROLLOUT#{rollout}", "ROLLOUT")
        return None if item is None else Rollout.model_validate(item)

    def create(self, rollout: Rollout) -> bool:
        """Write a new rollout; False if one of that name exists."""
        return self._table.put_if(f"ROLLOUT#{rollout.rollout}", "ROLLOUT", rollout.to_json(), "status", None)

    def save(self, rollout: Rollout, expected: RolloutStatus) -> Rollout:
        """Replace the rollout, provided that its stored status is still the expected one.

        Raises:
            RolloutClosed: somebody else moved it on.
        """
        if not self._table.put_if(f"ROLLOUT#{rollout.rollout}", "ROLLOUT", rollout.to_json(), "status", expected.value):
            raise RolloutClosed(f"rollout {rollout.rollout} is no longer {expected.value}: somebody ended it meanwhile")
        return rollout

    def promote(self, rollout: Rollout, layers: Layers) -> None:
        """End an open rollout and move the promoted pointer to its candidate, both or neither.

        Raises:
            RolloutClosed: the rollout is not open any more.
        """
        pk = f"ROLLOUT#{rollout.rollout}"
        documents: list[Document] = [(pk, "ROLLOUT", rollout.to_json())]
        documents += layers.promotion(rollout.variant, rollout.candidate.version, rollout.rollout)
        if not self._table.put_all(documents, (pk, "ROLLOUT", "status", RolloutStatus.OPEN.value)):
            raise RolloutClosed(f"rollout {rollout.rollout} is no longer open; nothing was promoted")

    def entries(self, rollout: str) -> tuple[Entry, ...]:
        """The journal, by function name."""
        items = self._table.query(f"ROLLOUT#{rollout}", "FUNCTION#")
        return tuple(Entry.model_validate(item) for item in items)

    def note(self, rollout: str, entry: Entry, status: RolloutStatus) -> None:
        """Write one entry of the journal, provided that the rollout is still in this status.

        Raises:
            RolloutClosed: it is not.
        """
        pk = f"ROLLOUT#{rollout}"
        noted: list[Document] = [(pk, f"FUNCTION#{entry.function}", entry.to_json())]
        if not self._table.put_all(noted, (pk, "ROLLOUT", "status", status.value)):
            raise RolloutClosed(f"rollout {rollout} is no longer {status.value}: nothing more is changed in its name")

    def witness(self, rollout: str, now: datetime, evidence: dict[str, Any]) -> None:
        """Record the evidence of one look at the metrics; the same look again replaces itself."""
        self._table.put(f"ROLLOUT#{rollout}", f"WATCH#{now.isoformat()}", evidence)

    def evidence(self, rollout: str) -> tuple[dict[str, Any], ...]:
        """The evidence of all looks, oldest first."""
        return tuple(self._table.query(f"ROLLOUT#{rollout}", "WATCH#"))

    def lock(self, variant: str) -> Lock | None:
        """Who holds the variant's lock."""
        item = self._table.get(f"LAYER#{variant}", "LOCK")
        return None if item is None else Lock.model_validate(item)

    def acquire(self, variant: str, lock: Lock, instead_of: Lock | None = None) -> bool:
        """Take the variant's lock, if it is free or still held by `instead_of`."""
        held = instead_of.rollout if instead_of else None
        return self._table.put_if(f"LAYER#{variant}", "LOCK", lock.to_json(), "rollout", held)

    def release(self, variant: str, rollout: str) -> None:
        """Free the lock, if this rollout holds it."""
        self._table.delete_if(f"LAYER#{variant}", "LOCK", "rollout", rollout)
