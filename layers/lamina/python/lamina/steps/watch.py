"""Watch: one look at the closed minutes of every function that has the candidate, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from lamina.alarms import Watchmen, consult
from lamina.control import Decision, onward
from lamina.culprit import Suspect
from lamina.errors import RolloutClosed
from lamina.guard import Surroundings
from lamina.latency import ERRORS, FINDINGS, findings
from lamina.model import Model
from lamina.rollout import Entry, EntryStatus, Rollout, RolloutPolicy, RolloutStatus
from lamina.steps.observing import Observatory, Seen, since, watched
from lamina.steps.suspecting import Witness, culprits_among, find_suspects
from lamina.verdict import Counts, Rules, Verdict, judge, trace

if TYPE_CHECKING:
    from lamina.gateways.alarms import Alarms
    from lamina.gateways.logs import Logs
    from lamina.gateways.metrics import Metrics
    from lamina.gateways.registry import Layers
    from lamina.gateways.reports import Reports
    from lamina.gateways.rollouts import Rollouts
    from lamina.gateways.store import Store
    from lamina.gateways.switch import Switch


class WatchEvent(Model):
    """What the rollout state machine hands to Watch."""

    rollout: str
    wave: int
    now: datetime


class Watched(Model):
    """What to do next, and the evidence for it.

    Attributes:
        wait_seconds: the pause before the next look.
        cause: what a rollback is to be put down to.
        harmed: the functions that are to be put back on their own.
        findings: what is worse without failing; it holds a rollout.
    """

    decision: Decision
    wait_seconds: int
    kind: Literal["harmful", "safe", "undecided"]
    cause: Literal["harmful", "undecided", "alarm"]
    reason: str
    wave: str
    ln_e: float
    threshold: float
    canary: dict[str, int]
    control: dict[str, int]
    minutes: int
    harmed: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    culprits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gateways:
    """What Watch reaches."""

    metrics: Metrics
    logs: Logs
    rollouts: Rollouts
    layers: Layers
    store: Store
    switch: Switch
    reports: Reports
    alarms: Alarms


@dataclass(frozen=True)
class _Conclusion:
    """What one look says, before people have their say."""

    decision: Decision
    cause: Literal["harmful", "undecided", "alarm"]
    reason: str


def run(event: WatchEvent, reach: Gateways) -> Watched:
    """Judge the rollout by its closed minutes; the same minutes give the same answer.

    Raises:
        RolloutClosed: the rollout was ended meanwhile.
    """
    rollout = reach.rollouts.get(event.rollout)
    if rollout is None or rollout.status is not RolloutStatus.OPEN:
        raise RolloutClosed(f"rollout {event.rollout} is not open any more; there is nothing to watch")
    entries = reach.rollouts.entries(event.rollout)
    stored = reach.store.read_json(rollout.history) if rollout.history else None
    seen = Observatory(rollout, entries, stored, event.now).look(reach.metrics, reach.reports)
    rules = rules_of(rollout.policy)
    last = all(wave.name == "complete" for wave in rollout.waves[event.wave + 1 :])
    verdict = judge(seen.observed, rules, now=event.now, last=last, guard=seen.guard)
    watchmen = consult(rollout.alarms, reach.alarms.states(tuple(rollout.alarms)), rollout.opened)
    worse = (*_worse(seen, rollout.policy), *watchmen.missing)
    concluded = _conclude(verdict, watchmen, worse)
    decision, barred = onward(concluded.decision, rollout, event.wave, reach.switch.paused(), event.now)
    found = find_suspects(rollout, _witnesses(entries, verdict, decision), reach.logs, reach.layers, reach.store)
    answer = Watched(
        decision=decision,
        wait_seconds=barred.wait or verdict.pause * 60,
        kind=verdict.kind,
        cause=concluded.cause,
        reason=" ".join(part for part in (concluded.reason, barred.why) if part),
        wave=rollout.waves[event.wave].name,
        ln_e=verdict.ln_e,
        threshold=verdict.threshold,
        canary=_counts(verdict.canary),
        control=_counts(verdict.control),
        minutes=verdict.minutes,
        harmed=verdict.harmed if decision == "restore" else (),
        findings=worse,
        culprits=culprits_among(found),
    )
    _record(event, rollout, answer, verdict, watchmen, found, _drawn(seen, rules), reach)
    return answer


def rules_of(policy: RolloutPolicy) -> Rules:
    """The verdict's rules in a layer's policy. Errors have four fifths of its alpha, findings the rest."""
    return Rules(
        alpha=policy.alpha * ERRORS,
        tolerance=policy.tolerance,
        min_minutes=policy.min_minutes,
        max_minutes=policy.max_minutes,
        extend_minutes=policy.extend_minutes,
        on_no_traffic=policy.on_no_traffic,
    )


def _worse(seen: Seen, policy: RolloutPolicy) -> tuple[str, ...]:
    """What is worse without failing, in sentences."""
    rules = Rules(alpha=policy.alpha * FINDINGS, max_minutes=policy.max_minutes)
    return tuple(
        sentence
        for kind, suspected in seen.suspected.items()
        for sentence in findings(kind, suspected, seen.slow_guard if kind == "slow" else (), rules)
    )


def _conclude(verdict: Verdict, watchmen: Watchmen, worse: Sequence[str]) -> _Conclusion:
    """What follows: harm before alarms, alarms before findings, which keep a rollout from going forward."""
    decision: Decision = "advance" if verdict.next == "promote" else verdict.next
    cause: Literal["harmful", "undecided", "alarm"] = "harmful" if verdict.kind == "harmful" else "undecided"
    said = (verdict.reason, *watchmen.vetoes, *worse, *watchmen.notes)
    if watchmen.vetoes and verdict.kind != "harmful":
        return _Conclusion("rollback", "alarm", " ".join((*watchmen.vetoes, verdict.reason, *worse)))
    if worse and decision == "advance":
        return _Conclusion("hold", cause, " ".join((*said, "Nothing failed for it, but a person should look at it.")))
    return _Conclusion(decision, cause, " ".join(said))


def _witnesses(entries: Sequence[Entry], verdict: Verdict, decision: Decision) -> tuple[Witness, ...]:
    """Whose logs are asked for the culprit: everybody's with the candidate, or only those of the harmed."""
    if decision not in ("rollback", "restore"):
        return ()
    there = [entry for entry in watched(entries) if entry.status is not EntryStatus.RESTORED]
    asked = [entry for entry in there if decision == "rollback" or entry.function in verdict.harmed]
    return tuple(_witness(entry) for entry in asked)


def _witness(entry: Entry) -> Witness:
    if entry.strategy != "alias":
        return Witness(entry.function, since(entry))
    return Witness(entry.function, since(entry), entry.after.version if entry.after else None, entry.before.version)


def _drawn(seen: Seen, rules: Rules) -> list[dict[str, object]]:
    """The course of what the verdict rests on: without what was put back, and without minutes that do not count."""
    around = Surroundings.of(seen.guard, rules)
    counted = [around.without_bad(one) for one in seen.observed if not one.put_back]
    return [point.to_json() for point in trace(counted, rules)]


def _record(
    event: WatchEvent,
    rollout: Rollout,
    answer: Watched,
    verdict: Verdict,
    watchmen: Watchmen,
    found: Sequence[Suspect],
    points: Sequence[Mapping[str, object]],
    reach: Gateways,
) -> None:
    """Keep the evidence: of every function in the bucket, of the fleet as a whole in the registry."""
    whole = verdict.to_json()
    extra: dict[str, Any] = {"findings": list(answer.findings), "alarms": dict(watchmen.remembered)}
    reach.store.write_json(verdict_key(rollout.rollout), {"verdict": whole, "trace": points, **extra})
    short = {name: value for name, value in whole.items() if name != "functions"}
    look = {"at": event.now.isoformat(), "wave": event.wave, "decision": answer.decision, "verdict": short, **extra}
    reach.rollouts.witness(event.rollout, event.now, look)
    update: dict[str, object] = {
        "verdict": short,
        "alarms": extra["alarms"],
        "findings": answer.findings,
    }
    if answer.decision in ("rollback", "restore"):
        update |= {"suspects": tuple(asdict(suspect) for suspect in found), "culprits": culprits_among(found)}
    if answer.decision == "hold":
        update |= {"status": RolloutStatus.HELD, "cause": answer.reason, "cause_kind": "undecided"}
    reach.rollouts.save(rollout.model_copy(update=update), RolloutStatus.OPEN)


def verdict_key(rollout: str) -> str:
    """Where a rollout's newest verdict lies in the artifacts bucket, with its course minute by minute."""
    return f"rollouts/{rollout}/verdict.json"


def _counts(counts: Counts) -> dict[str, int]:
    return {"invocations": counts.invocations, "errors": counts.errors}
