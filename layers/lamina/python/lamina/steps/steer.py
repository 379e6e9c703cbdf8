"""Steer: a person pauses a rollout or lets it go on, promotes its candidate at once, or stops everything."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lamina.control import Pause
from lamina.errors import InvalidInput
from lamina.inputs import run_id
from lamina.model import Model
from lamina.rollout import Rollout, RolloutStatus
from lamina.steering import Steering

if TYPE_CHECKING:
    from lamina.gateways.executions import Executions
    from lamina.gateways.registry import Runs
    from lamina.gateways.rollouts import Rollouts
    from lamina.gateways.switch import Switch


class SteerEvent(Model):
    """What the update state machine hands to Steer: what a person asks for, and the execution that they started."""

    steering: Steering
    execution: str
    now: datetime


class Start(Model):
    """An execution of the rollout state machine to start: it goes on where a held rollout ended."""

    name: str
    input: dict[str, Any]


class Steered(Model):
    """What was done, in words. `start` is None where the rollout's own execution goes on with it."""

    text: str
    rollout: str | None = None
    start: Start | None = None


@dataclass(frozen=True)
class Gateways:
    """What Steer reaches."""

    rollouts: Rollouts
    runs: Runs
    switch: Switch
    executions: Executions


def run(event: SteerEvent, reach: Gateways) -> Steered:
    """Do what the person asks for; doing it again changes nothing and gives the same answer.

    Raises:
        InvalidInput: there is no rollout of this variant, or it is not one that this can be done to.
    """
    steering = event.steering
    pause = Pause(by=run_id(event.execution), since=event.now, reason=steering.reason)
    if steering.variant is None:
        return _everything(steering, pause, reach)
    while True:
        rollout = _under_way(steering.variant, reach)
        if rollout.continues and rollout.rollout == _successor(rollout.continues, event.execution):
            return _started(rollout, reach)
        if rollout.status is RolloutStatus.HELD:
            if (successor := _go_on(rollout, pause, event, reach)) is not None:
                return _started(successor, reach)
        elif (steered := _told(rollout, steering, pause, reach)) is not None:
            return steered


def _everything(steering: Steering, pause: Pause, reach: Gateways) -> Steered:
    if steering.action == "pause":
        reach.switch.turn(pause)
        return Steered(
            text=f"{pause.everywhere()} Updates do nothing, rollouts under way attach nothing more and are watched; "
            "what does harm is still put back."
        )
    before = reach.switch.paused()
    reach.switch.turn(None)
    return Steered(text="Everything goes on." if before else "Nothing was paused as a whole; single rollouts may be.")


def _under_way(variant: str, reach: Gateways) -> Rollout:
    """The variant's rollout, open or held."""
    lock = reach.rollouts.lock(variant)
    rollout = reach.rollouts.get(lock.rollout) if lock else None
    if lock is not None and rollout is None:
        raise InvalidInput(f"{variant}: its rollout is only just beginning, so nothing was changed. Try again soon.")
    if rollout is None or rollout.status not in (RolloutStatus.OPEN, RolloutStatus.HELD):
        known = reach.runs.known()
        there = known is not None and variant in known.variants
        hint = "" if there else f" Known variants: {', '.join(sorted(known.variants)) if known else 'none yet'}."
        raise InvalidInput(f"{variant}: no rollout of it is under way, so nothing was changed.{hint}")
    if rollout.kind != "update":
        raise InvalidInput(
            f"{variant} is being brought back by a person's wish, which is not steered. Wait for its end."
        )
    return rollout


def _told(rollout: Rollout, steering: Steering, pause: Pause, reach: Gateways) -> Steered | None:
    """Tell an open rollout; None if somebody else did so at the same moment."""
    name = f"Rollout {rollout.rollout} of {rollout.variant}"
    change: dict[str, object]
    match steering.action:
        case "pause":
            change = {"paused": pause.of(rollout.variant), "promote_now": False, "promoted_by": ""}
            text = f"{pause.of(rollout.variant)} Nothing more is attached; what does harm is still put back."
        case "resume":
            change = {"paused": ""}
            text = f"{name} goes on." if rollout.paused else f"{name} was not paused; it goes on as before."
        case "promote":
            change = {"paused": "", "promote_now": True, "promoted_by": _why(pause)}
            text = f"{name} goes on to its promotion at once: each wave is looked at once more, and harm is put back."
    told = reach.rollouts.steer(rollout, change)
    if told is None:
        return None
    if told.promote_now and told.question is not None:
        reach.executions.approve(told.question.token)
    held = "" if steering.action == "pause" else reach.switch.paused()
    return Steered(text=f"{text} {held}".strip(), rollout=rollout.rollout)


def _go_on(held: Rollout, pause: Pause, event: SteerEvent, reach: Gateways) -> Rollout | None:
    """A rollout that goes on where a held one ended, with its journal; None if that is not held any more.

    An execution that has ended cannot go on, and a rollout bears the name of its execution: so it is a new one.
    """
    action = event.steering.action
    if action == "pause":
        raise InvalidInput(
            f"{held.variant}: rollout {held.rollout} is held, so nothing more is attached anyhow; nothing was changed. "
            f'Say "resume" to look at it again, "promote", or put it back with rollback {{"layer": "{held.variant}"}}.'
        )
    name = _successor(held.rollout, event.execution)
    promote = {"promote_now": True, "promoted_by": _why(pause)} if action == "promote" else {}
    successor = held.model_copy(
        update={
            "rollout": name,
            "execution": f"{held.execution.rsplit(':', 1)[0]}:{name}",
            "status": RolloutStatus.OPEN,
            "continues": held.rollout,
            "cause": "",
            "cause_kind": "",
            **promote,
        }
    )
    _input(successor, reach)
    # A rollout that has waves has its whole journal: they are written last, together with the lock.
    reach.rollouts.create(successor.model_copy(update={"waves": ()}))
    for entry in reach.rollouts.entries(held.rollout):
        reach.rollouts.note(name, entry, RolloutStatus.OPEN)
    return successor if reach.rollouts.hand_over(held, successor) else None


def _started(successor: Rollout, reach: Gateways) -> Steered:
    how = "is promoted at once" if successor.promote_now else "is looked at again, with all that was seen meanwhile"
    return Steered(
        text=f"The rollout of {successor.variant} that was held goes on as {successor.rollout} and {how}. "
        f"{reach.switch.paused()}".strip(),
        rollout=successor.rollout,
        start=Start(name=successor.rollout, input=_input(successor, reach)),
    )


def _input(rollout: Rollout, reach: Gateways) -> dict[str, Any]:
    """What the rollout state machine is given, as the update that made the candidate gave it."""
    planned = reach.runs.get(rollout.run) or {}
    variant = next((one for one in planned.get("variants", ()) if one["variant"] == rollout.variant), None)
    if variant is None:
        raise InvalidInput(
            f"{rollout.variant}: what run {rollout.run} was about is not known any more, so nothing was changed. Put "
            f'the rollout back with rollback {{"layer": "{rollout.variant}"}}; the next update begins anew.'
        )
    return {
        "run": rollout.run,
        "variant": variant,
        "candidate": rollout.candidate.to_json(),
        "attempt": rollout.attempt,
        "asOf": rollout.as_of.isoformat(),
        "reason": rollout.reason.to_json(),
        "summary": rollout.summary,
    }


def _successor(held: str, execution: str) -> str:
    """The name of the rollout that goes on: the same for a repeated step, and at most 74 characters long."""
    return f"{held[:57]}-{hashlib.sha256(execution.encode()).hexdigest()[:16]}"


def _why(pause: Pause) -> str:
    reason = f": {pause.reason}" if pause.reason else ""
    return f"A person had it promoted at once, by the execution {pause.by}{reason}."
