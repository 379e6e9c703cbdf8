"""Rollouts, their journals, evidence and locks, in the registry.

The journal of a rollout can be written only while the rollout may still change functions: a step that was stopped
but is not dead yet finds the rollout closed to it and changes nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lamina.errors import RolloutClosed
from lamina.gateways.registry import Document, Layers, Table
from lamina.rollout import Entry, Lock, Rollout, RolloutStatus

_STEERING = ("steered", "paused", "promote_now", "promoted_by", "question")
"""What people may change of a rollout while a step is at work on it."""


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
        self._table.put(*_listed(rollout))
        return self._table.put_if(f"ROLLOUT#{rollout.rollout}", "ROLLOUT", rollout.to_json(), "status", None)

    def recent(self, variant: str, since: datetime) -> tuple[Rollout, ...]:
        """The variant's rollouts that opened at `since` or later, oldest first."""
        found = self._table.query(f"LAYER#{variant}", "ROLLOUT#")
        names = [item["rollout"] for item in found if datetime.fromisoformat(item["opened"]) >= since]
        return tuple(rollout for name in names if (rollout := self.get(name)) is not None)

    def save(self, rollout: Rollout, expected: RolloutStatus) -> Rollout:
        """Replace the rollout, provided that its stored status is still the expected one.

        What people have asked of it since it was read is kept.

        Raises:
            RolloutClosed: somebody else moved it on.
        """
        while not self._replace(rollout, expected, rollout.steered):
            stored = self.get(rollout.rollout)
            if stored is None or stored.status is not expected:
                raise RolloutClosed(
                    f"rollout {rollout.rollout} is no longer {expected.value}: somebody ended it meanwhile"
                )
            rollout = rollout.model_copy(update={name: getattr(stored, name) for name in _STEERING})
        return rollout

    def steer(self, rollout: Rollout, change: Mapping[str, object]) -> Rollout | None:
        """Note what people and the rollout have told each other; None if somebody changed it since it was read."""
        steered = rollout.model_copy(update={**change, "steered": rollout.steered + 1})
        return steered if self._replace(steered, rollout.status, rollout.steered) else None

    def hand_over(self, held: Rollout, successor: Rollout) -> bool:
        """Hand a held rollout's lock over to its successor, and end it; False if it is not held any more."""
        pk = f"ROLLOUT#{held.rollout}"
        lock = Lock(rollout=successor.rollout, execution=successor.execution, since=successor.opened)
        ended = held.model_copy(update={"status": RolloutStatus.CONTINUED})
        documents: list[Document] = [
            (pk, "ROLLOUT", ended.to_json()),
            (f"ROLLOUT#{successor.rollout}", "ROLLOUT", successor.to_json()),
            (f"LAYER#{held.variant}", "LOCK", lock.to_json()),
            _listed(successor),
        ]
        return self._table.put_all(documents, (pk, "ROLLOUT", "status", RolloutStatus.HELD.value))

    def _replace(self, rollout: Rollout, expected: RolloutStatus, steered: int) -> bool:
        counted = ("steered", steered)
        pk = f"ROLLOUT#{rollout.rollout}"
        return self._table.put_if(pk, "ROLLOUT", rollout.to_json(), "status", expected.value, counted)

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


def _listed(rollout: Rollout) -> Document:
    """The line that finds a rollout by its variant."""
    opened = rollout.opened.isoformat()
    document = {"rollout": rollout.rollout, "opened": opened}
    return f"LAYER#{rollout.variant}", f"ROLLOUT#{opened}#{rollout.rollout}", document
