"""The alarms that a layer's definition names: which of them veto a rollout.

Only a change from OK to ALARM after the rollout opened is a veto. An alarm that was red before blames nobody until it
was OK in between, and one without data is neither: it is unknown, and is said to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

State: TypeAlias = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

MISSING = "MISSING"
"""What is remembered of an alarm that does not exist."""


@dataclass(frozen=True)
class AlarmState:
    """An alarm as CloudWatch describes it; ``since`` is when it came into its state, ``why`` CloudWatch's own words."""

    state: State
    since: datetime | None = None
    why: str = ""


@dataclass(frozen=True)
class Watchmen:
    """What the named alarms say.

    Attributes:
        vetoes: sentences on those that turned red; any of them ends the rollout.
        missing: sentences on those that do not exist.
        notes: sentences on those that can say nothing now.
        remembered: their states for the next look: OK for one that was OK at any look since the rollout opened.
    """

    vetoes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remembered: Mapping[str, str] = field(default_factory=dict)


def states_of(names: Sequence[str], found: Mapping[str, AlarmState]) -> dict[str, str]:
    """What is remembered of the alarms when a rollout opens."""
    return {name: found[name].state if name in found else MISSING for name in names}


def consult(before: Mapping[str, str], found: Mapping[str, AlarmState], opened: datetime) -> Watchmen:
    """Ask the alarms.

    Args:
        before: the named alarms, and what was remembered of each at the last look.
        found: those of them that exist, as they are now.
        opened: when the rollout opened.
    """
    vetoes, missing, notes, remembered = [], [], [], dict(before)
    for name, earlier in before.items():
        if name not in found:
            missing.append(
                f"The alarm {name} that the layer's definition names ([rollout] alarms) does not exist in this account "
                "and region: it could not veto. Create it, or correct the name."
            )
            continue
        now = found[name]
        match now.state:
            case "OK":
                remembered[name] = "OK"
            case "ALARM" if earlier == "OK":
                when = f" at {now.since:%Y-%m-%d %H:%M} UTC" if now.since else ""
                why = f": {now.why}" if now.why else ""
                vetoes.append(
                    f"The alarm {name} went from OK to ALARM{when}, after the rollout opened at "
                    f"{opened:%Y-%m-%d %H:%M} UTC{why}."
                )
            case "ALARM":
                notes.append(f"The alarm {name} was not OK before, so its ALARM blames nobody.")
            case _:
                notes.append(f"The alarm {name} has insufficient data, so it is unknown whether it would veto.")
    return Watchmen(tuple(vetoes), tuple(missing), tuple(notes), remembered)
