"""Ask: a person is told that a rollout waits for an answer, with the commands to give it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lamina.errors import RolloutClosed
from lamina.model import Model
from lamina.rollout import TOUCHED, Entry, Question, Rollout, RolloutStatus
from lamina.steps import report

if TYPE_CHECKING:
    from lamina.gateways.executions import Executions


class AskEvent(Model):
    """What the rollout state machine hands to Ask; `token` is what Step Functions takes the answer for."""

    rollout: str
    wave: int
    token: str
    now: datetime


class Asked(Model):
    """Whether a message was sent; not by a repeated step, and not where a person promoted it meanwhile."""

    told: bool


@dataclass(frozen=True)
class Gateways:
    """What Ask reaches: what Report does, and the executions that wait for answers."""

    report: report.Gateways
    executions: Executions
    region: str


def run(event: AskEvent, reach: Gateways) -> Asked:
    """Send the question once for each token; the state machine waits for the answer.

    Raises:
        RolloutClosed: the rollout was ended meanwhile.
    """
    rollouts = reach.report.rollouts
    told = False
    while True:
        rollout = rollouts.get(event.rollout)
        if rollout is None or rollout.status is not RolloutStatus.OPEN:
            raise RolloutClosed(f"rollout {event.rollout} is not open any more; nobody was asked")
        if rollout.promote_now:
            # The person who said so has answered before being asked.
            reach.executions.approve(event.token)
            return Asked(told=told)
        if rollout.question is not None and rollout.question.token == event.token:
            return Asked(told=told)
        if not told:
            _tell(rollout, event, reach)
            told = True
        rollouts.steer(rollout, {"question": Question(token=event.token, at=event.now)})


def _tell(rollout: Rollout, event: AskEvent, reach: Gateways) -> None:
    entries = reach.report.rollouts.entries(rollout.rollout)
    key, _ = report.write_page(rollout, entries, event.now, reach.report)
    version = f"version {rollout.candidate.version} of {rollout.variant}"
    reach.report.topic.tell(
        f"Lamina: {rollout.variant} version {rollout.candidate.version} waits for approval",
        question(rollout, entries, event, version, reach.region)
        + f"\nReport: s3://{reach.report.store.bucket}/{key}\n",
    )


def question(rollout: Rollout, entries: tuple[Entry, ...], event: AskEvent, version: str, region: str) -> str:
    """The question in words, with the commands that answer it."""
    have = sum(entry.status in TOUCHED for entry in entries)
    turn = [entry.function for entry in entries if entry.wave == event.wave]
    wave = rollout.waves[event.wave]
    names = ", ".join(turn[:10]) + (f" and {len(turn) - 10} more" if len(turn) > 10 else "")
    what = f"{wave.count} functions get it next: {names}" if turn else "aliases are moved wholly to it next"
    until = event.now + timedelta(hours=rollout.policy.approval_hours)
    seen = str((rollout.verdict or {}).get("reason", ""))
    answer = f"--region {region} \\\n    --task-token '{event.token}' \\\n    "
    back = "put back" if have else "not rolled out"
    parts = [
        f"V{version[1:]} waits for approval.",
        f"Changes: {rollout.summary or 'none of packages'}.",
        *([f"Why: {rollout.reason.text}."] if rollout.reason.text else []),
        f"{have} of {len(entries)} functions have it; {what}.",
        *([f"So far: {seen}"] if have and seen else []),
        f"\nYes, go on:\n  aws stepfunctions send-task-success {answer}--task-output '{{}}'",
        f"\nNo, {'put it back' if have else 'leave it'}:\n  aws stepfunctions send-task-failure {answer}"
        "--error Declined --cause 'say why'",
        f"\nWithout an answer before {until:%Y-%m-%d %H:%M} UTC it is {back}.",
        f"Execution: https://{region}.console.aws.amazon.com/states/home?region={region}#/v2/executions/details/"
        f"{rollout.execution}",
    ]
    return "\n".join(parts)
