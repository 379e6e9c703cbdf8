"""Watch: one look at the closed minutes of every function that has the candidate, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from lamina.culprit import Suspect
from lamina.errors import RolloutClosed
from lamina.model import Model
from lamina.rollout import Entry, EntryStatus, Rollout, RolloutPolicy, RolloutStatus
from lamina.steps.suspecting import Witness, culprits_among, find_suspects
from lamina.verdict import Counts, Minute, Observed, Rules, Verdict, closed, judge, trace

if TYPE_CHECKING:
    from lamina.gateways.logs import Logs
    from lamina.gateways.metrics import Metrics
    from lamina.gateways.registry import Layers
    from lamina.gateways.rollouts import Rollouts
    from lamina.gateways.store import Store

_SETTLING = timedelta(minutes=1)
"""What a change of `$LATEST` may take to settle: until then some invocations still have the old layers."""


class WatchEvent(Model):
    """What the rollout state machine hands to Watch."""

    rollout: str
    wave: int
    now: datetime


class Watched(Model):
    """What to do next, and the evidence for it. `wait_seconds` is the pause before the next look."""

    decision: Literal["wait", "advance", "rollback", "hold"]
    wait_seconds: int
    kind: Literal["harmful", "safe", "undecided"]
    reason: str
    wave: str
    ln_e: float
    threshold: float
    canary: dict[str, int]
    control: dict[str, int]
    minutes: int
    culprits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gateways:
    """What Watch reaches."""

    metrics: Metrics
    logs: Logs
    rollouts: Rollouts
    layers: Layers
    store: Store


def run(event: WatchEvent, reach: Gateways) -> Watched:
    """Judge the rollout by its closed minutes; the same minutes give the same answer.

    Raises:
        RolloutClosed: the rollout was ended meanwhile.
    """
    rollout = reach.rollouts.get(event.rollout)
    if rollout is None or rollout.status is not RolloutStatus.OPEN:
        raise RolloutClosed(f"rollout {event.rollout} is not open any more; there is nothing to watch")
    entries = tuple(entry for entry in reach.rollouts.entries(event.rollout) if _has_candidate(entry))
    observed = _observe(rollout, entries, event.now, reach)
    rules = rules_of(rollout.policy)
    last = all(wave.name == "complete" for wave in rollout.waves[event.wave + 1 :])
    verdict = judge(observed, rules, now=event.now, last=last)
    decision = _decision(verdict)
    witnesses = [_witness(entry) for entry in entries] if decision == "rollback" else []
    found = find_suspects(rollout, witnesses, reach.logs, reach.layers, reach.store)
    _record(event, rollout, verdict, decision, found, observed, rules, reach)
    return Watched(
        decision=decision,
        wait_seconds=verdict.pause * 60,
        kind=verdict.kind,
        reason=verdict.reason,
        wave=rollout.waves[event.wave].name,
        ln_e=verdict.ln_e,
        threshold=verdict.threshold,
        canary=_counts(verdict.canary),
        control=_counts(verdict.control),
        minutes=verdict.minutes,
        culprits=culprits_among(found),
    )


def rules_of(policy: RolloutPolicy) -> Rules:
    """The verdict's rules in a layer's policy."""
    return Rules(
        alpha=policy.alpha,
        tolerance=policy.tolerance,
        min_minutes=policy.min_minutes,
        max_minutes=policy.max_minutes,
        extend_minutes=policy.extend_minutes,
        on_no_traffic=policy.on_no_traffic,
    )


def _decision(verdict: Verdict) -> Literal["wait", "advance", "rollback", "hold"]:
    match verdict.next:
        case "wait" | "hold":
            return verdict.next
        case "advance" | "promote":
            return "advance"
        case _:
            # One function that is harmed speaks against the release, even where the others are not.
            return "rollback"


def _has_candidate(entry: Entry) -> bool:
    return entry.status in (EntryStatus.ATTACHED, EntryStatus.COMPLETED) and entry.attached_at is not None


def _observe(rollout: Rollout, entries: Sequence[Entry], now: datetime, reach: Gateways) -> tuple[Observed, ...]:
    dimensions: dict[str, Mapping[str, str]] = {}
    for entry in entries:
        dimensions[f"canary {entry.function}"] = _canary_dimensions(entry)
        if entry.strategy == "alias":
            dimensions[f"control {entry.function}"] = _versioned(entry, entry.before.version)
    minutes = reach.metrics.minutes(dimensions, rollout.opened, now)
    history = _history(rollout, reach.store)
    observed = []
    for entry in entries:
        since = _since(entry)
        mine = [minute for minute in minutes[f"canary {entry.function}"] if minute.start >= since]
        if entry.strategy == "alias":
            kind: Literal["alias", "history", "none"] = "alias"
            against: tuple[Minute, ...] = closed(minutes[f"control {entry.function}"], now, entry.timeout)
        else:
            against = history.get(entry.function, ())
            kind = "history" if against else "none"
        observed.append(
            Observed(
                function=entry.function,
                control=kind,
                canary=closed(mine, now, entry.timeout),
                control_minutes=tuple(against),
                since=since,
                cohort=entry.wave,
            )
        )
    return tuple(observed)


def _since(entry: Entry) -> datetime:
    assert entry.attached_at is not None
    if entry.strategy == "alias":
        # Its new version was never invoked before, so that every datapoint of it counts.
        return entry.attached_at.replace(second=0, microsecond=0)
    return entry.attached_at + _SETTLING


def _canary_dimensions(entry: Entry) -> Mapping[str, str]:
    if entry.strategy == "alias":
        return _versioned(entry, entry.after.version if entry.after else None)
    return {"FunctionName": entry.function}


def _versioned(entry: Entry, version: str | None) -> Mapping[str, str]:
    return {
        "FunctionName": entry.function,
        "Resource": f"{entry.function}:{entry.alias}",
        "ExecutedVersion": version or "",
    }


def _history(rollout: Rollout, store: Store) -> dict[str, tuple[Minute, ...]]:
    frozen = store.read_json(rollout.history) if rollout.history else None
    return {
        name: tuple(
            Minute(start=datetime.fromisoformat(start), invocations=invocations, errors=errors)
            for start, invocations, errors in minutes
        )
        for name, minutes in (frozen or {}).items()
    }


def _witness(entry: Entry) -> Witness:
    version = entry.after.version if entry.after and entry.strategy == "alias" else None
    return Witness(entry.function, _since(entry), version)


def _record(
    event: WatchEvent,
    rollout: Rollout,
    verdict: Verdict,
    decision: str,
    found: Sequence[Suspect],
    observed: Sequence[Observed],
    rules: Rules,
    reach: Gateways,
) -> None:
    whole = verdict.to_json()
    points = [point.to_json() for point in trace(observed, rules)]
    reach.store.write_json(verdict_key(rollout.rollout), {"verdict": whole, "trace": points})
    short = {name: value for name, value in whole.items() if name != "functions"}
    look = {"at": event.now.isoformat(), "wave": event.wave, "decision": decision, "verdict": short}
    reach.rollouts.witness(event.rollout, event.now, look)
    update: dict[str, object] = {
        "verdict": short,
        "suspects": tuple(asdict(suspect) for suspect in found),
        "culprits": culprits_among(found),
    }
    if decision == "hold":
        update |= {"status": RolloutStatus.HELD, "cause": verdict.reason, "cause_kind": "undecided"}
    reach.rollouts.save(rollout.model_copy(update=update), RolloutStatus.OPEN)


def verdict_key(rollout: str) -> str:
    """Where a rollout's newest verdict lies in the artifacts bucket, with its course minute by minute."""
    return f"rollouts/{rollout}/verdict.json"


def _counts(counts: Counts) -> dict[str, int]:
    return {"invocations": counts.invocations, "errors": counts.errors}
