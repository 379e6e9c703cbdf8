"""What Poll and Webhook share: the locks of promoted releases, and asking for an update of those with a fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lamina.advisory import in_words, own_details
from lamina.inputs import Known
from lamina.model import Advisory, Finding
from lamina.osv import Pin, pins_of
from lamina.steps.plan import locked

if TYPE_CHECKING:
    from lamina.gateways.events import Events
    from lamina.gateways.registry import Claims, Layers


@dataclass(frozen=True)
class PromotedLock:
    """What a variant's fleet is meant to be on. `waits` says that its advisories are left to the schedule."""

    variant: str
    layer: str
    pins: tuple[Pin, ...]
    waits: bool


def promoted_locks(known: Known, layers: Layers) -> tuple[PromotedLock, ...]:
    """The lock of every variant that has a promoted release."""
    return tuple(
        PromotedLock(variant=name, layer=about.layer, pins=pins_of(locked(release)), waits=about.waits)
        for name, about in sorted(known.variants.items())
        if (release := layers.promoted(name)) is not None
    )


def ask_for_update(
    found: Mapping[PromotedLock, Sequence[Finding]], claims: Claims, events: Events, text: str, now: datetime
) -> tuple[str, ...]:
    """Put `lamina.advisory` events for every finding that has a fix which no run is taking already.

    Args:
        found: what was found in each lock.
        text: what found it, the beginning of the update's reason.

    Returns:
        The variants that an update was asked for.

    Raises:
        NotDelivered: EventBridge did not take an event.
    """
    fixes: dict[Advisory, None] = {}
    affected: list[PromotedLock] = []
    for lock, findings in found.items():
        wanted = [_advisory(finding) for finding in findings if finding.fixed is not None]
        if lock.waits or not wanted:
            continue
        claimed = claims.held(lock.variant, wanted, now)
        left = [advisory for advisory in wanted if advisory not in claimed]
        if left:
            fixes |= dict.fromkeys(left)
            affected.append(lock)
    layers = sorted({lock.layer for lock in affected})
    for detail in own_details(tuple(fixes), layers, f"{text}: {in_words(tuple(fixes))}"[:1000]):
        events.advise(detail)
    return tuple(lock.variant for lock in affected)


def _advisory(finding: Finding) -> Advisory:
    return Advisory(
        id=finding.id,
        ecosystem=finding.ecosystem,
        package=finding.package,
        version=finding.version,
        fixed=finding.fixed,
    )
