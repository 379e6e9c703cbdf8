"""Is the new release harmful? From the minutes of a fleet to a verdict that a person can defend.

``evidence`` weighs what was seen; here it is decided, said in words, and turned into what comes next. Pure: the same
minutes give the same verdict, however often they are judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from lamina.evidence import (
    ENOUGH,
    MINUTE,
    Bounds,
    Calibration,
    Control,
    Counts,
    Evidence,
    Minute,
    Observed,
    Rules,
    Track,
    calibrate,
    first_cohort,
    gather,
    total,
)

__all__ = [
    "Calibration",
    "Counts",
    "FunctionVerdict",
    "Minute",
    "Observed",
    "Point",
    "Rules",
    "Verdict",
    "calibrate",
    "closed",
    "judge",
    "pause",
    "trace",
]

Kind = Literal["harmful", "safe", "undecided"]
Next = Literal["wait", "advance", "promote", "restore", "rollback", "hold"]

_LATE = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class FunctionVerdict:
    """The verdict on one function.

    ``ln_e`` is its largest evidence so far, in nats. ``threshold`` is what that must reach: ln(1/alpha), more where its
    past was noisy, and ln(n) more among the n functions of its wave, so that alpha holds for all of them together.
    """

    function: str
    kind: Kind
    control: Control
    cohort: int
    ln_e: float
    threshold: float
    p_value: float
    canary: Counts
    baseline: Counts
    upper: float
    lower: float
    minutes: int
    dispersion: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a release, with its evidence.

    Attributes:
        kind: harmful, safe or undecided.
        next: what follows: ``wait`` and ask again after ``pause`` minutes; ``advance`` to the next wave; ``promote``;
            ``restore`` only the functions in ``harmed``; ``rollback`` everything; ``hold`` and tell someone.
        reason: why, in words.
        ln_e: the fleet's largest evidence so far, in nats; harmful from ``threshold`` on.
        p_value: min(1, 1/E), valid at any time.
        canary, control: counts of the cohort that the bounds speak of; the control's are brought to the canary's mix.
        upper: upper bound of the canary's error rate. lower: lower bound of the control's. Safe when they differ by at
            most the tolerance.
        minutes: closed minutes in which that cohort was invoked.
        unattributed: harm was seen only against history or a ceiling, where a cause outside the release looks alike.
        environment: functions without the release turned bad as well.
        harmed: functions harmful by their own evidence, and not put back yet.
        pause: minutes until it is worth asking again.
    """

    kind: Kind
    next: Next
    reason: str
    ln_e: float
    threshold: float
    p_value: float
    canary: Counts
    control: Counts
    upper: float
    lower: float
    minutes: int
    functions: tuple[FunctionVerdict, ...] = ()
    unattributed: bool = False
    environment: bool = False
    harmed: tuple[str, ...] = ()
    pause: int = 1

    def to_json(self) -> dict[str, object]:
        """The verdict as plain JSON data with camelCase keys."""
        return {_camel(name): _plain(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Point:
    """One closed minute of a rollout, all functions taken together.

    ``control`` counts what it is compared with: an alias's stable version; of a frozen history, which has no minute of
    its own here, as many invocations as the canary had. Its errors are then rounded, and ``control_rate`` is exact.
    """

    start: datetime
    canary: Counts
    control: Counts
    ln_e: float
    threshold: float
    control_rate: float | None = None

    @property
    def usual(self) -> float | None:
        """The control's error rate; None where there was nothing to compare with."""
        if not self.control.invocations:
            return None
        return self.control.rate if self.control_rate is None else self.control_rate

    def to_json(self) -> dict[str, object]:
        """The point as plain JSON data with camelCase keys."""
        values = {_camel(name): _plain(getattr(self, name)) for name in self.__slots__}
        return values | {"start": self.start.isoformat()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Point:
        """The inverse of ``to_json``."""
        return cls(
            start=datetime.fromisoformat(data["start"]),
            canary=Counts(**data["canary"]),
            control=Counts(**data["control"]),
            ln_e=data["lnE"],
            threshold=data["threshold"],
            control_rate=data.get("controlRate"),
        )


def closed(minutes: Iterable[Minute], now: datetime, timeout_seconds: float) -> tuple[Minute, ...]:
    """The minutes that can no longer change, in order of time: those that began timeout + 3 minutes ago or earlier.

    CloudWatch files an invocation under the minute in which it started, but only once it has ended, so fast failures
    arrive before slow successes.
    """
    last = now - timedelta(seconds=timeout_seconds) - _LATE
    return tuple(sorted((m for m in minutes if m.start <= last), key=lambda m: m.start))


def pause(elapsed_minutes: float, rules: Rules, longest: int = 15) -> int:
    """Minutes until the next look: 1 during the watch, then 2, 4, 8 … up to ``longest`` while it is extended.

    It follows from the time alone, so a retried step waits as long as its first attempt did.
    """
    over = elapsed_minutes - rules.max_minutes
    if over < 0:
        return 1
    left = math.ceil(rules.extend_minutes - elapsed_minutes)
    return max(1, min(longest, int(over) + 2, left))


def judge(
    observed: Sequence[Observed],
    rules: Rules,
    *,
    now: datetime,
    last: bool = False,
    guard: Sequence[Observed] = (),
) -> Verdict:
    """Judges a release by the closed minutes of every function that has it.

    Args:
        observed: the functions that have the candidate, or had it until they were put back on their own.
        rules: the layer's rules.
        now: the moment of asking; decides only about waiting, never about harm.
        last: whether every function that is to get the candidate has it; going on then means to promote.
        guard: functions of the same fleet without the candidate, each against its own history over the same time.
            When they turn bad too, harm that only history shows is not blamed on the release.
    """
    evidence = gather(observed, rules)
    tracks = [track for track in evidence.tracks if not track.seen.put_back]
    floor = math.log(1 / rules.alpha)
    live = evidence.live_peak >= floor
    suspicious = evidence.peak >= floor or any(track.harmful for track in tracks)
    environment = suspicious and not live and gather(guard, rules).peak >= floor
    harmed = [track for track in tracks if track.harmful and (track.control == "alias" or not environment)]
    canary = Bounds(first_cohort(tracks), rules)
    calm = next((bounds for bounds in (canary, Bounds(tracks, rules)) if bounds.safe(rules)), None)
    shown = calm or canary

    kind: Kind = "undecided"
    step: Next
    wait = 1
    if evidence.peak >= floor and not environment:
        kind, step = "harmful", "rollback"
        reason = _harm(evidence, floor, live)
    elif environment:
        step = "hold"
        reason = (
            f"{_evidence(evidence, floor)} But functions without this release turned bad at the same time, so the "
            "trouble is not the release's."
        )
    elif harmed:
        step = "restore"
        reason = f"{_names(harmed)} {'is' if len(harmed) == 1 else 'are'} harmed: {_worst(harmed)}; the others are not."
    else:
        kind = "safe" if calm else "undecided"
        step, reason, wait = _patience(tracks, rules, now, last, calm is not None, shown, evidence.current)
    return Verdict(
        kind=kind,
        next=step,
        reason=reason,
        ln_e=evidence.peak + evidence.offset,
        threshold=floor + evidence.offset,
        p_value=_p_value(evidence.peak),
        canary=shown.canary,
        control=shown.control,
        upper=shown.upper,
        lower=shown.lower,
        minutes=shown.minutes,
        functions=tuple(_function(track, rules) for track in evidence.tracks),
        unattributed=kind == "harmful" and not live,
        environment=environment,
        harmed=tuple(track.seen.function for track in harmed),
        pause=wait,
    )


def _function(track: Track, rules: Rules) -> FunctionVerdict:
    bounds = Bounds([track], rules)
    kind: Kind = "undecided"
    if track.harmful:
        kind = "harmful"
    elif bounds.safe(rules):
        kind = "safe"
    note = ""
    if track.control == "history" and track.calibration.threshold is None:
        note = f"history too short to calibrate ({track.calibration.windows} windows); ln(1/alpha) is used"
    elif track.control == "none":
        note = f"no control; compared with a ceiling of {rules.p_max:.0%}"
    return FunctionVerdict(
        function=track.seen.function,
        kind=kind,
        control=track.control,
        cohort=track.seen.cohort,
        ln_e=track.process.peak,
        threshold=track.threshold,
        p_value=_p_value(track.process.peak - track.discount),
        canary=total(track.canary),
        baseline=total(track.baseline),
        upper=bounds.upper,
        lower=bounds.lower,
        minutes=bounds.minutes,
        dispersion=track.calibration.dispersion,
        note=note,
    )


def _p_value(ln_e: float) -> float:
    return math.exp(-max(0.0, ln_e))


def _patience(
    tracks: Sequence[Track], rules: Rules, now: datetime, last: bool, safe: bool, shown: Bounds, ln_e: float
) -> tuple[Next, str, int]:
    """What to do when nothing speaks against the release: go on, wait, or give up waiting."""
    onward: Next = "promote" if last else "advance"
    by_default: Next = onward if rules.on_no_traffic == "promote" else rules.on_no_traffic
    if not tracks:
        return by_default, "No function has the new release, so nothing is known about it.", 1
    newest = max(track.seen.cohort for track in tracks)
    wave = [track for track in tracks if track.seen.cohort == newest]
    # A wave's minutes count from its last function's attach: attaching takes longer than a minute in a large one.
    complete = max(track.seen.since for track in wave)
    wave_minutes = len({m.start for track in wave for m in track.canary if m.invocations and m.start >= complete})
    wave_elapsed = (now - complete) / MINUTE
    elapsed = (now - min(track.seen.since for track in first_cohort(tracks))) / MINUTE
    idle = wave_minutes < rules.min_minutes and wave_elapsed >= rules.max_minutes
    rates = _rates(shown, rules)
    if wave_minutes < rules.min_minutes and not idle:
        have = f"{wave_minutes} of {rules.min_minutes} minutes with traffic"
        return "wait", f"{rates} The {_cohort(newest)} has {have} so far.", 1
    unknown = f" The {_cohort(newest)} had hardly any traffic; about it little is known." if idle else ""
    if safe:
        return onward, rates + unknown, 1
    if elapsed < rules.extend_minutes:
        return "wait", rates + unknown, pause(elapsed, rules)
    over = f"After {elapsed:,.0f} minutes there is no more waiting."
    invocations = sum(total(track.canary).invocations for track in tracks)
    if not invocations:
        return by_default, f"{over} The new release was never invoked, so nothing is known about it.", 1
    if invocations >= ENOUGH and ln_e <= 1e-9:
        return onward, f"{over} {rates} No evidence speaks against the release (ln E = {ln_e:.1f}).", 1
    return "hold", f"{over} {rates} That is too little to go on, and too little to go back.", 1


def trace(observed: Sequence[Observed], rules: Rules) -> tuple[Point, ...]:
    """The course of a rollout, minute by minute, as it is drawn."""
    evidence = gather(observed, rules)
    canary: dict[datetime, Counts] = {}
    control: dict[datetime, tuple[int, float]] = {}
    for track in evidence.tracks:
        usual = total(track.past).rate
        for m in track.canary:
            canary[m.start] = canary.get(m.start, Counts()) + total([m])
        compared = [(m.start, m.invocations, usual * m.invocations) for m in track.canary if track.past]
        if track.control == "alias":
            compared = [(m.start, m.invocations, float(min(m.errors, m.invocations))) for m in track.baseline]
        for start, invocations, errors in compared:
            n, x = control.get(start, (0, 0.0))
            control[start] = (n + invocations, x + errors)
    points, ln_e = [], 0.0
    for start in sorted(canary.keys() | control.keys()):
        ln_e = evidence.course.get(start, ln_e)
        n, x = control.get(start, (0, 0.0))
        points.append(
            Point(
                start=start,
                canary=canary.get(start, Counts()),
                control=Counts(n, round(x)),
                control_rate=x / n if n else None,
                ln_e=ln_e + evidence.offset,
                threshold=math.log(1 / rules.alpha) + evidence.offset,
            )
        )
    return tuple(points)


# --- words


def _cohort(number: int) -> str:
    return f"wave {number}" if number else "canary"


def _names(tracks: Sequence[Track]) -> str:
    names = [track.seen.function for track in tracks]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _worst(tracks: Sequence[Track]) -> str:
    versus = {"alias": "in the same minutes on the old release", "history": "in its own history"}
    worst = sorted(tracks, key=lambda track: -track.process.peak)[:3]
    return "; ".join(
        f"{track.seen.function} failed {total(track.canary)}"
        + (f", against {total(track.baseline)} {versus[track.control]}" if track.control in versus else "")
        for track in worst
    )


def _evidence(evidence: Evidence, floor: float) -> str:
    return (
        f"The evidence is {evidence.peak + evidence.offset:.1f} nats, with {floor + evidence.offset:.1f} needed: "
        f"a harmless release would ever look this bad {_odds(evidence.peak)}."
    )


def _odds(ln_e: float) -> str:
    times = f"{int(math.exp(ln_e)):,}" if ln_e < math.log(1e6) else "a million"
    return f"at most once in {times} rollouts"


def _harm(evidence: Evidence, floor: float, live: bool) -> str:
    loud = [track for track in evidence.tracks if track.harmful] or evidence.tracks
    text = f"{_worst(loud)}. {_evidence(evidence, floor)}"
    if not live:
        text += " Only the past was there to compare with, so something else may have changed at the same time."
    return text


def _rates(bounds: Bounds, rules: Rules) -> str:
    if not bounds.canary.invocations:
        return "The new release has not been invoked yet."
    against = f"the old one {bounds.control}" if bounds.control.invocations else "and there is nothing to compare with"
    added = bounds.upper - bounds.lower
    return (
        f"The new release failed {bounds.canary}, {against}; it adds at most {max(0.0, added):.2%} of errors "
        f"(tolerance {rules.tolerance:.2%})."
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _plain(value: object) -> object:
    """A value as JSON data: dataclasses by their fields, tuples as lists, numbers finite and short."""
    if isinstance(value, Counts):
        return {"invocations": value.invocations, "errors": value.errors}
    if isinstance(value, FunctionVerdict):
        return {_camel(name): _plain(getattr(value, name)) for name in value.__slots__}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
