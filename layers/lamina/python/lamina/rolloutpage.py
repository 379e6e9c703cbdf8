"""The page of a rollout, from what the registry and the artifacts bucket hold of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lamina.bundle import Manifest
from lamina.culprit import Suspect
from lamina.explain import Explanation
from lamina.model import Release
from lamina.page import Outcome, RolloutPage
from lamina.rollout import Entry, EntryStatus, Rollout, RolloutStatus
from lamina.verdict import Point
from lamina.views import (
    NOTHING_FOUND,
    Contents,
    Found,
    FunctionJudgement,
    FunctionLine,
    Judgement,
    PackageChange,
    Proof,
    WaveLine,
)

_JUDGED = ("harmful", "undecided", "alarm")


_WAVE_OUTCOMES = {
    "advance": "safe",
    "rollback": "put back",
    "restore": "safe, but for those that were put back",
    "hold": "held",
}


@dataclass(frozen=True)
class Told:
    """What was written down about a rollout beside its journal; None and empty where there is nothing.

    Attributes:
        release: the candidate's. explanation: of the check that proposed it. manifest: of its build.
        findings: what Verify found. verdict: the newest verdict with its course. looks: each look of the watch.
    """

    release: Release | None = None
    explanation: Explanation | None = None
    manifest: Manifest | None = None
    findings: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None
    looks: Sequence[Mapping[str, Any]] = ()


def page_of(
    rollout: Rollout, entries: Sequence[Entry], told: Told, *, now: datetime, rollback_machine: str
) -> RolloutPage:
    """All that the page shows.

    Args:
        now: the end of a rollout that has none yet.
        rollback_machine: ARN of the rollback state machine, for the commands.
    """
    seen: Mapping[str, Any] = told.verdict or {}
    verdict: Mapping[str, Any] = seen.get("verdict") or {}
    outcome = _outcome(rollout)
    explanation = told.explanation
    return RolloutPage(
        layer=rollout.variant,
        outcome=outcome,
        before=rollout.baseline,
        candidate=rollout.candidate.version,
        summary=summary(rollout, entries),
        reason=rollout.reason.text or f"started by: {rollout.reason.kind}",
        run=rollout.run,
        run_href="index.html" if rollout.kind == "update" else "",
        started=rollout.opened,
        ended=rollout.closed or now,
        caught_by="canary" if outcome == "rolled_back" and rollout.cause_kind in _JUDGED else None,
        found=Found.of(explanation) if explanation else NOTHING_FOUND,
        changes=tuple(PackageChange.of(change) for change in explanation.changes) if explanation else (),
        contents=Contents.of(told.manifest, told.release) if told.manifest and told.release else None,
        proof=Proof.from_json(told.findings) if told.findings else None,
        waves=_waves(rollout, entries, told.looks),
        canary_reason=rollout.canary_reason,
        remarks=rollout.findings,
        verdict=Judgement.from_json(verdict) if verdict else None,
        judged=tuple(FunctionJudgement.from_json(function) for function in verdict.get("functions", ())),
        alpha=rollout.policy.alpha,
        tolerance=rollout.policy.tolerance,
        points=tuple(Point.from_json(point) for point in seen.get("trace", ())),
        suspects=tuple(_suspect(suspect) for suspect in rollout.suspects),
        held_back=tuple(sorted(rollout.held_back.items())),
        functions=tuple(_function(rollout, entry) for entry in entries),
        rollback_machine=rollback_machine,
        rollback_version=rollout.baseline if outcome == "promoted" else None,
    )


def _outcome(rollout: Rollout) -> Outcome:
    match rollout.status:
        case RolloutStatus.PROMOTED:
            return "promoted"
        case RolloutStatus.ROLLED_BACK:
            return "rolled_back"
        case RolloutStatus.HELD:
            return "held"
        case RolloutStatus.FAILED:
            return "failed"
        case _:
            return "running"


def summary(rollout: Rollout, entries: Sequence[Entry]) -> str:
    """What happened and what it means now, in a sentence or two."""
    alone = sum(entry.status is EntryStatus.LEFT_ALONE for entry in entries)
    rest = f" {alone} function(s) were left alone." if alone else ""
    name = f"version {rollout.candidate.version} of {rollout.variant}"
    match rollout.status:
        case RolloutStatus.PROMOTED if not entries:
            return f"{name} is promoted. No function has this layer yet.".capitalize()
        case RolloutStatus.PROMOTED:
            done = sum(entry.status in (EntryStatus.ATTACHED, EntryStatus.COMPLETED) for entry in entries)
            why = f" {rollout.promoted_by}" if rollout.promoted_by else ""
            harmed = [entry.function for entry in entries if entry.status is EntryStatus.RESTORED]
            mended = f" Put back on the old release, because it harmed them: {', '.join(harmed)}." if harmed else ""
            return f"V{name[1:]} is promoted; {done} of {len(entries)} functions run on it.{why}{mended}{rest}"
        case RolloutStatus.ROLLED_BACK:
            held = ", ".join(f"{package} {version}" for package, version in sorted(rollout.held_back.items()))
            kept = f" Held back from now on: {held}." if held else ""
            back = any(entry.status is EntryStatus.RESTORED for entry in entries)
            return f"V{name[1:]} was {'put back' if back else 'not rolled out'}. {rollout.cause}{kept}{rest}"
        case RolloutStatus.HELD:
            return (
                f"V{name[1:]} is held on its canaries, and nothing more is attached. {rollout.cause} Decide: update "
                f'{{"rollout": "promote", "layer": "{rollout.variant}"}} promotes it as it is, "resume" looks at it '
                f'again with what was seen since, rollback {{"layer": "{rollout.variant}"}} puts it back; the next '
                "candidate does so by itself."
            )
        case RolloutStatus.FAILED:
            lost = [entry.function for entry in entries if entry.status is EntryStatus.UNRESTORED]
            return f"V{name[1:]} could not be put back everywhere: {', '.join(lost[:10])}. {rollout.cause}"
        case _:
            paused = f" It is paused: {rollout.paused}" if rollout.paused else ""
            return f"V{name[1:]} is being rolled out.{paused}"


def _waves(rollout: Rollout, entries: Sequence[Entry], looks: Sequence[Mapping[str, Any]]) -> tuple[WaveLine, ...]:
    lines = []
    for number, wave in enumerate(rollout.waves):
        mine = [entry.attached_at for entry in entries if entry.wave == number and entry.attached_at]
        seen = [look for look in looks if look["wave"] == number]
        if not mine or wave.name == "complete":
            continue
        last = seen[-1] if seen else None
        lines.append(
            WaveLine(
                number=number,
                started=min(mine),
                ended=datetime.fromisoformat(last["at"]) if last else None,
                functions=len(mine),
                outcome=_WAVE_OUTCOMES.get(last["decision"] if last else "", "watched"),
                share=wave.percent,
            )
        )
    return tuple(lines)


def _function(rollout: Rollout, entry: Entry) -> FunctionLine:
    there = rollout.candidate.arn
    outcome: Any = {
        EntryStatus.ATTACHED: "updated" if rollout.status is RolloutStatus.PROMOTED else "attached",
        EntryStatus.COMPLETED: "updated" if rollout.status is RolloutStatus.PROMOTED else "attached",
        EntryStatus.ATTACHING: "attached",
        EntryStatus.RESTORED: "restored",
        EntryStatus.UNRESTORED: "failed",
    }.get(entry.status, "left")
    untouched = entry.status is EntryStatus.PLANNED
    return FunctionLine(
        name=entry.function,
        outcome=outcome,
        before=entry.replaced,
        after=there if outcome in ("updated", "attached") else entry.replaced,
        wave=entry.wave if entry.wave >= 0 and not untouched else None,
        alias=entry.alias,
        note="its turn did not come" if untouched else entry.reason,
    )


def _suspect(raw: Mapping[str, Any]) -> Suspect:
    return Suspect(raw["package"], raw["confidence"], raw["why"], tuple(raw["samples"]))
