"""Poll: every promoted lock looked up in the advisory database; an update is asked for where there is a fix."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lamina.inputs import Known
from lamina.model import Model
from lamina.steps.advising import ask_for_update, promoted_locks

if TYPE_CHECKING:
    from lamina.gateways.advisories import Advisories
    from lamina.gateways.events import Events
    from lamina.gateways.registry import Claims, Layers, Notices, Runs
    from lamina.gateways.topic import Topic

TOLD_EVERY = timedelta(days=1)


class Polled(Model):
    """What was looked up.

    Attributes:
        locks: variants with a promoted release.
        found: advisories that these have, each counted once for each lock.
        unknown: what could not be looked up, wholly or in part, by variant or layer.
        asked_for: variants that an update was asked for.
    """

    locks: tuple[str, ...]
    found: int
    unknown: dict[str, str]
    asked_for: tuple[str, ...]


@dataclass(frozen=True)
class Gateways:
    """What Poll reaches."""

    layers: Layers
    runs: Runs
    claims: Claims
    notices: Notices
    advisories: Advisories
    events: Events
    topic: Topic


def run(now: datetime, reach: Gateways) -> Polled:
    """Look every promoted lock up and ask for an update of those that have a fix.

    Which variants there are is what the last plan found. What could not be looked up is told to the topic, at most
    once a day: it is unknown, which is not the same as clean. A definition that is refused hides its variants, so that
    those are unknown too.

    Raises:
        NotDelivered: EventBridge did not take an event.
    """
    known = reach.runs.known()
    locks = () if known is None else promoted_locks(known, reach.layers)
    advice = reach.advisories.look_up_all({lock.variant: lock.pins for lock in locks}, now)
    unknown = {lock.variant: said for lock in locks if (said := advice[lock.variant].unknown)}
    unknown |= _hidden(known)
    found = {lock: advice[lock.variant].findings for lock in locks}
    asked = ask_for_update(found, reach.claims, reach.events, "look-up of every lock", now)
    if unknown and reach.notices.due("advisories-unknown", now, TOLD_EVERY):
        reach.topic.tell(*_notice(unknown, len(locks)))
    return Polled(
        locks=tuple(lock.variant for lock in locks),
        found=sum(map(len, found.values())),
        unknown=unknown,
        asked_for=asked,
    )


def _hidden(known: Known | None) -> dict[str, str]:
    if known is None:
        return {"every layer": "no update has been planned yet, so it is not known which there are; start one with {}"}
    return {
        layer: f"its definition was refused, so its locks were not looked up: {message}"
        for layer, message in known.refused.items()
    }


def _notice(unknown: dict[str, str], locks: int) -> tuple[str, str]:
    rows = "\n".join(f"- {name}: {why}" for name, why in sorted(unknown.items()))
    return (
        f"Lamina: advisories unknown for {len(unknown)} layers",
        f"Whether these have a known vulnerability could not be found out, wholly or in part ({locks} promoted locks "
        f"were to be looked up). That does not mean that they have none.\n\n{rows}\n\n"
        "Nothing was changed. The look-up is repeated as scheduled; while this lasts you are told once a day.\n",
    )
