"""Check: what is new for one variant and what policy takes of it; writes the lock and its explanation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lamina.definition import Definition
from lamina.errors import ResolutionFailed
from lamina.explain import Explanation, explain
from lamina.lock import Lock, parse_lock
from lamina.model import Advisory, Change, LayerVersion, Model, ObjectKey, Release, Variant
from lamina.resolve import accept, ask

if TYPE_CHECKING:
    from lamina.gateways.index import Index
    from lamina.gateways.registry import Layers
    from lamina.gateways.store import Store


class CheckEvent(Model):
    """What the update state machine hands to Check, all but `variant` and `now` as Plan returned it."""

    run: str
    variant: Variant
    as_of: datetime
    now: datetime
    force: bool = False
    dry_run: bool = False
    packages: dict[str, str] = Field(default_factory=dict)
    advisories: tuple[Advisory, ...] = ()


class Checked(Model):
    """What was found.

    Attributes:
        lock: key of the lock, written whatever the outcome.
        explanation: key of the explanation.
        summary: one line on what changed.
        current: the promoted release, None before the first.
    """

    outcome: Literal["changed", "up_to_date"]
    lock: ObjectKey
    explanation: ObjectKey
    changes: tuple[Change, ...]
    summary: str
    current: LayerVersion | None


@dataclass(frozen=True)
class Gateways:
    """What Check reaches."""

    index: Index
    layers: Layers
    store: Store


def run(event: CheckEvent, definition: Definition, reach: Gateways) -> Checked:
    """Resolve the variant as of the event's moment and compare the result with the promoted release.

    Raises:
        DefinitionRefused: the variant has a source that this version of Lamina cannot build.
        ResolutionFailed: nothing acceptable was found.
        IndexUnavailable: the package index could not be asked.
    """
    name = event.variant.variant
    promoted = reach.layers.promoted(name)
    current, before = _current(promoted, reach.store)
    question = ask(
        definition,
        event.variant,
        current,
        as_of=event.as_of,
        packages=event.packages,
        advisories=event.advisories,
        held_back=reach.layers.state(name).held_back,
    )
    lock = accept(question, reach.index.resolve(question), current, before.requirements if before else ())
    explained = explain(question, lock, current.packages if current else None, run=event.run, as_of=event.as_of)
    return Checked(
        outcome="changed" if explained.changes or event.force else "up_to_date",
        lock=reach.store.write_text(f"locks/{name}/{event.run}.txt", lock.render()),
        explanation=reach.store.write_json(f"explanations/{name}/{event.run}.json", explained.to_json()),
        changes=tuple(change.change() for change in explained.changes),
        summary=explained.summary,
        current=promoted and LayerVersion(version=promoted.version, arn=promoted.arn, digest=promoted.digest),
    )


def _current(promoted: Release | None, store: Store) -> tuple[Lock | None, Explanation | None]:
    if promoted is None:
        return None, None
    text, explanation = store.read_text(promoted.lock), store.read_json(promoted.explanation)
    if text is None:
        raise ResolutionFailed(
            f"{promoted.variant}: the lock of the promoted release {promoted.version} is gone from the artifacts "
            f"bucket ({promoted.lock}), so an update could not be told from a downgrade; nothing was changed. "
            "Restore that object from the bucket's versions"
        )
    return parse_lock(text), None if explanation is None else Explanation.model_validate(explanation)
