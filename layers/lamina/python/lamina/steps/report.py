"""Report: the page of a rollout, or the page and the message of a whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import RootModel

from lamina import concluding
from lamina.advice import exposed
from lamina.culprit import Suspect
from lamina.definition import Refusal
from lamina.errors import NothingToRestore
from lamina.explain import ExplainedChange, Explanation, in_words
from lamina.model import LayerOutcome, Model, ObjectKey, Outcome, Reason, Release
from lamina.moves import by_hand
from lamina.page import (
    Found,
    FunctionLine,
    Judgement,
    LayerLine,
    PackageChange,
    RolloutPage,
    RunPage,
    WaveLine,
    render_rollout,
    render_run,
)
from lamina.page import Outcome as PageOutcome
from lamina.rollout import Entry, EntryStatus, Rollout, RolloutStatus
from lamina.steps.watch import verdict_key
from lamina.verdict import Point

if TYPE_CHECKING:
    from lamina.gateways.registry import Layers, Runs
    from lamina.gateways.rollouts import Rollouts
    from lamina.gateways.store import Store
    from lamina.gateways.topic import Topic

HTML = "text/html; charset=utf-8"


class RunReportEvent(Model):
    """What the update state machine hands to Report: one outcome from each branch."""

    run: str
    outcomes: tuple[LayerOutcome, ...]
    refused: tuple[Refusal, ...] = ()
    now: datetime


class RolloutReportEvent(Model):
    """What the rollout and the rollback state machines hand to Report."""

    rollout: str
    now: datetime


class ReportEvent(RootModel[RunReportEvent | RolloutReportEvent]):
    """Either."""


class Reported(Model):
    """Where the page is, and the whole in words. `all_well`: every layer is where its definition wants it."""

    report: ObjectKey
    all_well: bool
    text: str


@dataclass(frozen=True)
class Gateways:
    """What Report reaches; `rollback` is the ARN of the rollback state machine, for the commands in the pages."""

    rollouts: Rollouts
    layers: Layers
    runs: Runs
    store: Store
    topic: Topic
    rollback: str


def run(event: RunReportEvent | RolloutReportEvent, reach: Gateways) -> Reported:
    """Write a page; writing it again replaces it."""
    return of_run(event, reach) if isinstance(event, RunReportEvent) else of_rollout(event, reach)


def of_run(event: RunReportEvent, reach: Gateways) -> Reported:
    """Conclude the run: outcomes to the registry, a page and `report.json` to the bucket, a message to the topic."""
    explanations = {said.variant: _explanation(said.explanation, reach.store) for said in event.outcomes}
    outcomes = tuple(_conclude(event.run, said, explanations[said.variant], reach) for said in event.outcomes)
    asked = reach.runs.get(event.run) or {}
    folder = f"reports/{event.run}"
    reach.store.write_json(
        f"{folder}/report.json",
        {
            "run": event.run,
            "asOf": asked.get("asOf"),
            "outcomes": [outcome.to_json() for outcome in outcomes],
            "refused": [refusal.to_json() for refusal in event.refused],
        },
    )
    reason = Reason.model_validate(asked.get("reason") or {})
    page = RunPage(
        run=event.run,
        reason=reason.text or f"started by: {reason.kind}",
        started=datetime.fromisoformat(asked["started"]) if "started" in asked else event.now,
        ended=event.now,
        layers=tuple(_line(outcome, explanations[outcome.variant]) for outcome in outcomes),
        refused=tuple((refusal.layer, refusal.message) for refusal in event.refused),
        dry_run=bool(asked.get("dryRun")),
    )
    key = reach.store.write_text(f"{folder}/index.html", render_run(page), HTML)
    text = concluding.text(outcomes, event.refused)
    if concluding.worth_telling(outcomes, event.refused):
        where = f"Report: s3://{reach.store.bucket}/{key}"
        told = [found for outcome in outcomes if (found := explanations[outcome.variant]) and _news(outcome)]
        words = "\n\n".join([text, *("\n".join((f"{found.variant}:", *in_words(found))) for found in told), where])
        reach.topic.tell(concluding.subject(outcomes, event.refused), f"{words}\n")
    return Reported(report=key, all_well=concluding.all_well(outcomes, event.refused), text=text[:1500])


def of_rollout(event: RolloutReportEvent, reach: Gateways) -> Reported:
    """Write the rollout's page, and tell the owner of one that was not promoted."""
    rollout = reach.rollouts.get(event.rollout)
    if rollout is None:
        raise NothingToRestore(f"rollout {event.rollout} is not in the registry, so there is nothing to report")
    release = reach.layers.release(rollout.variant, rollout.candidate.version)
    entries = reach.rollouts.entries(event.rollout)
    page = _page(rollout, release, entries, event.now, reach)
    key = reach.store.write_text(page_key(rollout), render_rollout(page), HTML)
    good = rollout.status is RolloutStatus.PROMOTED
    if not good:
        lost = [entry for entry in entries if entry.status is EntryStatus.UNRESTORED]
        help_ = "".join(f"\n{entry.function}: {entry.reason}. By hand:\n  {by_hand(entry)}\n" for entry in lost[:50])
        where = f"Report: s3://{reach.store.bucket}/{key}"
        reach.topic.tell(
            f"Lamina: {rollout.variant} {page.outcome.replace('_', ' ')}", f"{page.summary}\n{help_}\n{where}\n"
        )
    return Reported(report=key, all_well=good, text=page.summary[:1500])


def page_key(rollout: Rollout) -> ObjectKey:
    """Where a rollout's page lies in the artifacts bucket."""
    return f"reports/{rollout.run}/{rollout.variant}.html"


def _news(outcome: LayerOutcome) -> bool:
    return concluding.worth_telling((outcome,), ())


def _conclude(run: str, said: LayerOutcome, explanation: Explanation | None, reach: Gateways) -> LayerOutcome:
    rollout = reach.rollouts.get(said.rollout) if said.rollout else None
    quiet = said.outcome is Outcome.UP_TO_DATE and said.promoted is not None
    promoted = said.promoted if quiet else reach.layers.state(said.variant).promoted
    outcome = concluding.conclude(said, promoted, rollout)
    if explanation is not None:
        taken = outcome.outcome is Outcome.PROMOTED
        advisories = exposed(explanation.advice, taken=taken)
        outcome = outcome.model_copy(update={"advisories": advisories, "unknown": explanation.advice.unknown})
    if rollout is not None:
        outcome = outcome.model_copy(update={"report": page_key(rollout)})
    reach.runs.conclude(run, outcome)
    return outcome


def _line(outcome: LayerOutcome, explanation: Explanation | None) -> LayerLine:
    return LayerLine(
        layer=outcome.variant,
        outcome=outcome.outcome.value,
        summary=". ".join(part for part in (outcome.summary, outcome.message) if part),
        caught_by=outcome.caught_by.value if outcome.caught_by else None,
        before=outcome.before,
        candidate=outcome.candidate,
        promoted=outcome.promoted,
        culprits=outcome.culprits,
        held_back=tuple(sorted(outcome.held_back.items())),
        changes=_changes(explanation.changes if explanation else ()),
        href=f"{outcome.variant}.html" if outcome.report else "",
        found=Found.of(explanation) if explanation else Found(),
    )


def _page(
    rollout: Rollout, release: Release | None, entries: Sequence[Entry], now: datetime, reach: Gateways
) -> RolloutPage:
    seen: Mapping[str, Any] = reach.store.read_json(verdict_key(rollout.rollout)) or {}
    outcome = _outcome(rollout)
    key = release.explanation if release is not None and rollout.kind == "update" else None
    explanation = _explanation(key, reach.store)
    return RolloutPage(
        layer=rollout.variant,
        outcome=outcome,
        before=rollout.baseline,
        candidate=rollout.candidate.version,
        summary=_summary(rollout, entries),
        reason=rollout.reason.text or f"started by: {rollout.reason.kind}",
        run=rollout.run,
        run_href="index.html" if rollout.kind == "update" else "",
        started=rollout.opened,
        ended=rollout.closed or now,
        caught_by="canary" if outcome == "rolled_back" and rollout.cause_kind in ("harmful", "undecided") else None,
        found=Found.of(explanation) if explanation else Found(),
        changes=_changes(explanation.changes if explanation else ()),
        waves=_waves(rollout, entries, reach.rollouts.evidence(rollout.rollout)),
        verdict=Judgement.from_json(seen["verdict"]) if "verdict" in seen else None,
        alpha=rollout.policy.alpha,
        tolerance=rollout.policy.tolerance,
        points=tuple(Point.from_json(point) for point in seen.get("trace", ())),
        suspects=tuple(_suspect(suspect) for suspect in rollout.suspects),
        held_back=tuple(sorted(rollout.held_back.items())),
        functions=tuple(_function(rollout, entry) for entry in entries),
        rollback_machine=reach.rollback,
        rollback_version=rollout.baseline if outcome == "promoted" else None,
    )


def _outcome(rollout: Rollout) -> PageOutcome:
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


def _summary(rollout: Rollout, entries: Sequence[Entry]) -> str:
    alone = sum(entry.status is EntryStatus.LEFT_ALONE for entry in entries)
    rest = f" {alone} function(s) were left alone." if alone else ""
    name = f"version {rollout.candidate.version} of {rollout.variant}"
    match rollout.status:
        case RolloutStatus.PROMOTED if not entries:
            return f"{name} is promoted. No function has this layer yet.".capitalize()
        case RolloutStatus.PROMOTED:
            done = sum(entry.status in (EntryStatus.ATTACHED, EntryStatus.COMPLETED) for entry in entries)
            return f"V{name[1:]} is promoted; {done} of {len(entries)} functions run on it.{rest}"
        case RolloutStatus.ROLLED_BACK:
            held = ", ".join(f"{package} {version}" for package, version in sorted(rollout.held_back.items()))
            kept = f" Held back from now on: {held}." if held else ""
            return f"V{name[1:]} was put back. {rollout.cause}{kept}{rest}"
        case RolloutStatus.HELD:
            return (
                f"V{name[1:]} is held on its canaries, and nothing more is attached. {rollout.cause} Decide: rollback "
                f'{{"layer": "{rollout.variant}"}} puts it back; the next candidate does so by itself.'
            )
        case RolloutStatus.FAILED:
            lost = [entry.function for entry in entries if entry.status is EntryStatus.UNRESTORED]
            return f"V{name[1:]} could not be put back everywhere: {', '.join(lost[:10])}. {rollout.cause}"
        case _:
            return f"V{name[1:]} is being rolled out."


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
                outcome={"advance": "safe", "rollback": "put back", "hold": "held"}.get(
                    last["decision"] if last else "", "watched"
                ),
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


def _explanation(key: ObjectKey | None, store: Store) -> Explanation | None:
    found = store.read_json(key) if key else None
    return None if found is None else Explanation.model_validate(found)


def _changes(changes: Sequence[ExplainedChange]) -> tuple[PackageChange, ...]:
    return tuple(
        PackageChange(
            package=change.package,
            old=change.from_,
            new=change.to,
            direct=change.direct,
            released=change.uploaded,
            age_days=change.age_days,
        )
        for change in changes
    )


def _suspect(raw: Mapping[str, Any]) -> Suspect:
    return Suspect(raw["package"], raw["confidence"], raw["why"], tuple(raw["samples"]))
