"""Is the new release harmful? From the minutes of a fleet to a verdict that a person can defend.

``evidence`` weighs what was seen, ``guard`` what the functions without the release say of the same minutes; here it is
decided and turned into what comes next. Pure: the same minutes give the same verdict, however often they are judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from lamina import wording
from lamina.course import Point, trace
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
from lamina.guard import Stretch, Surroundings
from lamina.plain import camel, plain

__all__ = [
    "Calibration",
    "Counts",
    "FunctionVerdict",
    "Minute",
    "Observed",
    "Point",
    "Rules",
    "Stretch",
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
_FEW = 4
"""At most one in so many functions that were invoked is put back on its own; more, and the release is the trouble."""


@dataclass(frozen=True, slots=True)
class FunctionVerdict:
    """The verdict on one function.

    ``ln_e`` is its largest evidence so far, in nats. ``threshold`` is what that must reach: ln(1/alpha), more where its
    past was noisy, and ln(n) more among the n functions of its wave, so that alpha holds for all of them together.
    ``first`` and ``last`` are its first and last minute that count, ``excluded`` how many are left out because the
    environment was bad. ``put_back``: it does not have the release any more.
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
    first: datetime | None = None
    last: datetime | None = None
    excluded: int = 0
    put_back: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a release, with its evidence.

    Attributes:
        kind: harmful, safe or undecided.
        next: what follows: ``wait`` and ask again after ``pause`` minutes; ``advance`` to the next wave; ``promote``;
            ``restore`` only the functions in ``harmed``; ``rollback`` everything; ``hold`` and tell someone.
        reason: why, in words.
        ln_e: the fleet's largest evidence so far, in nats; harmful from ``threshold`` on. Without functions that were,
            or are to be, put back on their own.
        p_value: min(1, 1/E), valid at any time.
        canary, control: counts of the cohort that the bounds speak of; the control's are brought to the canary's mix.
        upper: upper bound of the canary's error rate. lower: lower bound of the control's. Safe when they differ by at
            most the tolerance.
        minutes: closed minutes in which that cohort was invoked.
        unattributed: harm was seen only against history or a ceiling, where a cause outside the release looks alike.
        environment: harm was seen, but functions without the release turned bad as well, or are still to be heard.
        harmed: functions harmful by their own evidence, and not put back yet.
        pause: minutes until it is worth asking again.
        first, last: the first and last minute that counts.
        excluded: minutes that do not count beside a history, because functions without the release were bad in them.
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
    first: datetime | None = None
    last: datetime | None = None
    excluded: tuple[Stretch, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The verdict as plain JSON data with camelCase keys."""
        return {camel(name): plain(getattr(self, name)) for name in self.__slots__}


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
    around = Surroundings.of(guard, rules)
    everything = gather([around.without_bad(seen) for seen in observed], rules)
    tracks = [track for track in everything.tracks if not track.seen.put_back]
    floor = math.log(1 / rules.alpha)
    blamed = [t for t in everything.tracks if t.harmful and around.speak_for([t], t.crossed, now)]
    fresh = [track for track in blamed if not track.seen.put_back]
    invoked = [track for track in everything.tracks if total(track.canary).invocations]
    few = bool(blamed) and len(blamed) * _FEW <= len(invoked)
    evidence = gather([t.seen for t in everything.tracks if t not in blamed], rules) if few else everything
    loud = [track for track in evidence.tracks if track.harmful] or evidence.tracks
    live = evidence.live_peak >= floor
    enough = evidence.peak >= floor
    heard = enough and (live or around.speak_for(loud, evidence.crossed, now))
    canary = Bounds(first_cohort(tracks), rules)
    calm = next((bounds for bounds in (canary, Bounds(tracks, rules)) if bounds.safe(rules)), None)
    shown = calm or canary

    kind: Kind = "undecided"
    step: Next
    wait, environment = 1, False
    if heard or (fresh and not few):
        kind, step = "harmful", "rollback"
        live = live or any(track.control == "alias" for track in fresh)
        reason = wording.harm(evidence, floor, live)
    elif fresh:
        step, reason = "restore", wording.alone(fresh, len(invoked) - len(blamed))
    elif enough or any(track.harmful and track not in blamed for track in tracks):
        environment, step = True, "wait"
        reason = (
            f"{wording.strength(evidence, floor)} Only the past speaks against the release; before it is blamed, the "
            "functions without it are heard, which do not show yet whether they fail alike."
        )
    else:
        environment = bool(around.bad) and _suspicious(observed, rules, floor)
        kind = "safe" if calm else "undecided"
        missed = max((around.excluded(seen) for seen in observed), default=0)
        step, reason, wait = _patience(tracks, rules, now, last, calm is not None, shown, evidence.current, missed)
        if around.ongoing and step in ("advance", "promote") and any(track.control != "alias" for track in tracks):
            step, wait = _sit_out(tracks, rules, now)
        if environment:
            reason = f"{around.words()}: the trouble is not the release's, and these minutes do not count. {reason}"
        elif around.ongoing:
            reason = f"{around.words()}: nothing can be learned from these minutes. {reason}"
    minutes = sorted(m.start for track in evidence.tracks for m in track.canary if m.invocations)
    among = {m.start for seen in observed if seen.control != "alias" for m in seen.canary if m.invocations}
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
        functions=tuple(
            _function(track, rules, around.excluded(seen))
            for track, seen in zip(everything.tracks, observed, strict=True)
        ),
        unattributed=kind == "harmful" and not live,
        environment=environment,
        harmed=tuple(track.seen.function for track in fresh),
        pause=wait,
        first=minutes[0] if minutes else None,
        last=minutes[-1] if minutes else None,
        excluded=around.stretches(among),
    )


def _suspicious(observed: Sequence[Observed], rules: Rules, floor: float) -> bool:
    """Whether the release would look harmful if the environment were not looked at."""
    evidence: Evidence = gather(observed, rules)
    return evidence.peak >= floor or any(track.harmful and not track.seen.put_back for track in evidence.tracks)


def _function(track: Track, rules: Rules, excluded: int) -> FunctionVerdict:
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
    minutes = [m.start for m in track.canary if m.invocations]
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
        first=minutes[0] if minutes else None,
        last=minutes[-1] if minutes else None,
        excluded=excluded,
        put_back=track.seen.put_back,
    )


def _p_value(ln_e: float) -> float:
    """min(1, 1/E); never below 1e-99, because DynamoDB knows no smaller numbers."""
    return math.exp(-min(max(0.0, ln_e), 99 * math.log(10)))


def _elapsed(tracks: Sequence[Track], now: datetime) -> float:
    """Minutes since the first functions got the release."""
    return (now - min(track.seen.since for track in first_cohort(tracks))) / MINUTE


def _sit_out(tracks: Sequence[Track], rules: Rules, now: datetime) -> tuple[Next, int]:
    """What to do while the environment is bad: wait for its end, as long as a watch may be extended."""
    elapsed = _elapsed(tracks, now)
    return ("wait", pause(elapsed, rules)) if elapsed < rules.extend_minutes else ("hold", 1)


def _patience(
    tracks: Sequence[Track],
    rules: Rules,
    now: datetime,
    last: bool,
    safe: bool,
    shown: Bounds,
    ln_e: float,
    missed: int,
) -> tuple[Next, str, int]:
    """What to do when nothing speaks against the release: go on, wait, or give up waiting.

    ``missed`` are minutes with traffic that do not count: a wave that has them is not idle.
    """
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
    elapsed = _elapsed(tracks, now)
    idle = wave_minutes + missed < rules.min_minutes and wave_elapsed >= rules.max_minutes
    rates = wording.rates(shown, rules)
    if wave_minutes < rules.min_minutes and not idle and (not missed or elapsed < rules.extend_minutes):
        have = f"{wave_minutes} of {rules.min_minutes} minutes with traffic"
        return "wait", f"{rates} The {wording.cohort(newest)} has {have} so far.", 1
    unknown = f" The {wording.cohort(newest)} had hardly any traffic; about it little is known." if idle else ""
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
