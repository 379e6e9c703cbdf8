"""What people have to say in a rollout: pauses, promotion at once, approvals and change windows.

Pure. Attach asks `gate` before it gives functions the candidate, Watch asks `onward` what follows from a look.
Neither ever keeps harm from being put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from lamina.model import Model
from lamina.rollout import Rollout, Wave
from lamina.windows import opening

Decision: TypeAlias = Literal["wait", "advance", "hold", "rollback", "restore"]

LOOK_AGAIN = 600
"""Seconds until a rollout that is held up is looked at again: few enough looks for an execution's history."""


class Pause(Model):
    """Who stopped something: `by` is the execution that a person started; CloudTrail knows the person."""

    by: str
    since: datetime
    reason: str = ""

    def everywhere(self) -> str:
        """That everything is paused, and how to go on."""
        return f'Everything is paused {self._told()} Go on with update {{"paused": false}}.'

    def of(self, variant: str) -> str:
        """That a rollout is paused, and how to go on."""
        return (
            f"The rollout of {variant} is paused {self._told()} Go on with update "
            f'{{"rollout": "resume", "layer": "{variant}"}}.'
        )

    def _told(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"since {self.since:%Y-%m-%d %H:%M} UTC by the execution {self.by}{why}."


@dataclass(frozen=True)
class Gate:
    """What stands before a wave: seconds to wait and why, or a person's approval to ask for, or nothing."""

    wait: int = 0
    why: str = ""
    ask: bool = False

    @property
    def stands(self) -> bool:
        """Whether there is anything in the way."""
        return self.wait > 0 or self.ask


def held_up(rollout: Rollout, paused_everywhere: str) -> str:
    """Why the rollout must not go forward: who paused it, or everything, and how to go on; empty where it may.

    Args:
        paused_everywhere: the same of the switch that stops everything.
    """
    return paused_everywhere or rollout.paused


def gate(rollout: Rollout, wave: int, paused_everywhere: str, now: datetime, *, approved: bool) -> Gate:
    """What a wave has to wait for before any function of it gets the candidate.

    Args:
        wave: number of the wave; one more than there are is the promotion, which no window or approval is about.
        approved: a person has approved.
    """
    if held := held_up(rollout, paused_everywhere):
        return Gate(LOOK_AGAIN, held)
    if rollout.promote_now or wave >= len(rollout.waves):
        return Gate()
    if wave == needs_approval(rollout) and not approved:
        return Gate(ask=True)
    return _window(rollout, now)


def onward(
    decision: Decision, rollout: Rollout, wave: int, paused_everywhere: str, now: datetime
) -> tuple[Decision, Gate]:
    """What follows from a look at a wave once people have had their say, and what it waits for if it does.

    Args:
        decision: what the evidence says. Harm is put back, whatever people said.
        wave: number of the wave that is watched.
    """
    if decision in ("rollback", "restore"):
        return decision, Gate()
    if held := held_up(rollout, paused_everywhere):
        return "wait", Gate(LOOK_AGAIN, held)
    if rollout.promote_now:
        return "advance", Gate()
    shut = _window(rollout, now) if decision == "advance" and wave + 1 < len(rollout.waves) else Gate()
    return ("wait", shut) if shut.wait else (decision, Gate())


def needs_approval(rollout: Rollout) -> int | None:
    """Number of the wave that a person has to approve; None where nobody is asked.

    The last wave is the last one that gives functions the candidate; where that is also the first, it is the one that
    moves aliases wholly to it.
    """
    if rollout.policy.approval == "none" or not rollout.waves:
        return None
    if rollout.policy.approval == "first":
        return 0
    attaching = [number for number, wave in enumerate(rollout.waves) if not completes(wave)]
    return attaching[-1] or len(rollout.waves) - 1


def completes(wave: Wave) -> bool:
    """Whether the wave attaches nothing, and moves aliases wholly to the candidate."""
    return wave.name == "complete"


def _window(rollout: Rollout, now: datetime) -> Gate:
    policy = rollout.policy
    if policy.security_ignores_windows and rollout.reason.kind == "advisory":
        return Gate()
    opens = opening(policy.windows, now)
    if opens <= now:
        return Gate()
    seconds = min(LOOK_AGAIN, -(-(opens - now) // timedelta(seconds=1)))
    return Gate(seconds, f"No change window of {rollout.variant} is open before {opens:%Y-%m-%d %H:%M} UTC.")
