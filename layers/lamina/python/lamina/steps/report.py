"""Report: the page of a rollout, or the page and the message of a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import RootModel

from lamina import concluding
from lamina.advice import exposed
from lamina.bundle import Manifest
from lamina.definition import Refusal
from lamina.errors import NothingToRestore
from lamina.explain import Explanation, in_words
from lamina.model import LayerOutcome, Model, ObjectKey, Outcome, Reason, Release
from lamina.moves import by_hand
from lamina.page import LayerLine, RolloutPage, RunPage, render_rollout, render_run
from lamina.rollout import Entry, EntryStatus, Rollout, RolloutStatus
from lamina.rolloutpage import Told, page_of
from lamina.steps.verify import findings_key
from lamina.steps.watch import verdict_key
from lamina.views import NOTHING_FOUND, Found, PackageChange

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
    rests = {said.variant: _explanation(said.then.explanation, reach.store) for said in event.outcomes if said.then}
    outcomes = tuple(
        _conclude(event.run, said, explanations[said.variant], rests.get(said.variant), reach)
        for said in event.outcomes
    )
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
        layers=tuple(
            line
            for outcome in outcomes
            for line in _lines(outcome, explanations[outcome.variant], rests.get(outcome.variant))
        ),
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
    entries = reach.rollouts.entries(event.rollout)
    key, page = write_page(rollout, entries, event.now, reach)
    good = rollout.status is RolloutStatus.PROMOTED
    if not good:
        lost = [entry for entry in entries if entry.status is EntryStatus.UNRESTORED]
        help_ = "".join(f"\n{entry.function}: {entry.reason}. By hand:\n  {by_hand(entry)}\n" for entry in lost[:50])
        where = f"Report: s3://{reach.store.bucket}/{key}"
        reach.topic.tell(
            f"Lamina: {rollout.variant} {page.outcome.replace('_', ' ')}", f"{page.summary}\n{help_}\n{where}\n"
        )
    return Reported(report=key, all_well=good, text=page.summary[:1500])


def write_page(
    rollout: Rollout, entries: Sequence[Entry], now: datetime, reach: Gateways
) -> tuple[ObjectKey, RolloutPage]:
    """Write the rollout's page as it stands now."""
    release = reach.layers.release(rollout.variant, rollout.candidate.version)
    page = _page(rollout, release, entries, now, reach)
    return reach.store.write_text(page_key(rollout), render_rollout(page), HTML), page


def page_key(rollout: Rollout) -> ObjectKey:
    """Where a rollout's page lies in the artifacts bucket."""
    attempt = "" if rollout.attempt == 1 else f"-{rollout.attempt}"
    return f"reports/{rollout.run}/{rollout.variant}{attempt}.html"


def _news(outcome: LayerOutcome) -> bool:
    return concluding.worth_telling((outcome,), ())


def _conclude(
    run: str, said: LayerOutcome, explanation: Explanation | None, rest: Explanation | None, reach: Gateways
) -> LayerOutcome:
    """What a variant's branch said, concluded; `rest` explains its second attempt, if there was one."""
    quiet = said.outcome is Outcome.UP_TO_DATE and said.promoted is not None
    promoted = said.promoted if quiet else reach.layers.state(said.variant).promoted
    outcome = _attempt(said, promoted, explanation, reach)
    if said.then is not None:
        then = _attempt(said.then, promoted, rest, reach)
        known = {"advisories": then.advisories, "unknown": then.unknown} if then.outcome is Outcome.PROMOTED else {}
        outcome = concluding.with_rest(outcome, then).model_copy(update=known)
    reach.runs.conclude(run, outcome)
    return outcome


def _attempt(
    said: LayerOutcome, promoted: int | None, explanation: Explanation | None, reach: Gateways
) -> LayerOutcome:
    rollout = reach.rollouts.get(said.rollout) if said.rollout else None
    outcome = concluding.conclude(said, promoted, rollout)
    if explanation is not None:
        told = {
            "advisories": exposed(explanation.advice, taken=outcome.outcome is Outcome.PROMOTED),
            "unknown": explanation.advice.unknown,
            "changed": {change.package: (change.from_, change.to) for change in explanation.changes},
        }
        outcome = outcome.model_copy(update=told)
    return outcome if rollout is None else outcome.model_copy(update={"report": page_key(rollout)})


def _lines(outcome: LayerOutcome, explanation: Explanation | None, rest: Explanation | None) -> list[LayerLine]:
    """One line for each attempt."""
    then = [] if outcome.then is None else [_line(outcome.then, f"{outcome.variant}, the rest", rest)]
    return [_line(outcome, outcome.variant, explanation), *then]


def _line(outcome: LayerOutcome, layer: str, explanation: Explanation | None) -> LayerLine:
    return LayerLine(
        layer=layer,
        outcome=outcome.outcome.value,
        summary=". ".join(part for part in (outcome.summary, outcome.message) if part),
        caught_by=outcome.caught_by.value if outcome.caught_by else None,
        before=outcome.before,
        candidate=outcome.candidate,
        promoted=outcome.promoted,
        culprits=outcome.culprits,
        held_back=tuple(sorted(outcome.held_back.items())),
        changes=tuple(PackageChange.of(change) for change in explanation.changes) if explanation else (),
        href=outcome.report.rsplit("/", 1)[1] if outcome.report else "",
        found=Found.of(explanation) if explanation else NOTHING_FOUND,
    )


def _page(
    rollout: Rollout, release: Release | None, entries: Sequence[Entry], now: datetime, reach: Gateways
) -> RolloutPage:
    proposed = release if release is not None and rollout.kind == "update" else None
    manifest = reach.store.read_json(release.manifest) if release is not None else None
    return page_of(
        rollout,
        entries,
        Told(
            release=release,
            explanation=_explanation(proposed.explanation if proposed else None, reach.store),
            manifest=None if manifest is None else Manifest.model_validate(manifest),
            findings=reach.store.read_json(findings_key(rollout.variant, rollout.candidate.version)),
            verdict=reach.store.read_json(verdict_key(rollout.rollout)),
            looks=reach.rollouts.evidence(rollout.rollout),
        ),
        now=now,
        rollback_machine=reach.rollback,
    )


def _explanation(key: ObjectKey | None, store: Store) -> Explanation | None:
    found = store.read_json(key) if key else None
    return None if found is None else Explanation.model_validate(found)
