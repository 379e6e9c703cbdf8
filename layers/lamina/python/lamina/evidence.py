"""What the minutes of a rollout say: each function against the best control it has, and the fleet as a whole.

A function's canary minutes are compared with the stable version in the same minute (``alias``), with its own frozen
history (``history``), or only with a ceiling (``none``). The fleet's evidence is half the mean of its functions' own,
half that of their strata pooled by kind of control; ``evalue`` has the mathematics.

Two things go beyond a plain mean. Cohort c (0 is the canary, then come the waves) weighs 3/4^(c+1) in it, fixed
before its data, so that a fleet which grows keeps the guarantee. And where the past makes a process noisier than
theory allows, its evidence is lowered by as much as its threshold exceeds ln(1/alpha): thus kinds of control add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

from lamina.evalue import (
    Ceiling,
    Comparison,
    Stratum,
    clopper_pearson_lower,
    combine,
    deal_history,
    dispersion,
    log_mean,
    lower_bound,
    pair,
    placebo_threshold,
    upper_bound,
)

Control = Literal["alias", "history", "none"]

KINDS: tuple[Control, ...] = ("alias", "history", "none")
MINUTE = timedelta(minutes=1)
_BLOCKS = (1, 5, 30)
ENOUGH = 50
"""Invocations of the canary without which nothing is called safe and nothing is promoted."""


@dataclass(frozen=True, slots=True)
class Minute:
    """One CloudWatch minute, by its start (aware UTC). A minute without a datapoint is absent, not zero."""

    start: datetime
    invocations: int
    errors: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Invocations, and how many of them failed."""

    invocations: int = 0
    errors: int = 0

    @property
    def rate(self) -> float:
        """Errors per invocation; 0 without invocations."""
        return self.errors / self.invocations if self.invocations else 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.invocations + other.invocations, self.errors + other.errors)

    def __str__(self) -> str:
        return f"{self.errors:,} of {self.invocations:,} ({self.rate:.2%})" if self.invocations else "no invocations"


@dataclass(frozen=True, slots=True)
class Rules:
    """A layer's ``[rollout]`` rules. Rates and probabilities in 0-1, durations in minutes.

    ``p_max`` is the error rate up to which a function without any control is presumed innocent, ``alpha_safe`` the
    probability of calling a release safe that adds more than ``tolerance``.
    """

    alpha: float = 0.01
    tolerance: float = 0.02
    min_minutes: int = 5
    max_minutes: int = 30
    extend_minutes: int = 1440
    on_no_traffic: Literal["hold", "promote", "rollback"] = "hold"
    p_max: float = 0.05
    alpha_safe: float = 0.05


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a function's past says about the rule: see ``spread`` and ``evalue.placebo_threshold``."""

    dispersion: float = 1.0
    threshold: float | None = None
    windows: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of one function that has the candidate.

    Attributes:
        function: its name.
        control: what it can be compared with.
        canary: closed minutes with the candidate.
        control_minutes: alias: the stable version's closed minutes since ``since``; history: the frozen minutes from
            before it, without earlier canary windows; none: empty. An alias that was shifted completely has no stable
            version left and is given as ``history``.
        since: when the candidate was in force: ``LastUpdateStatus = Successful``, or the alias's new routing.
        cohort: 0 for the canary, 1 and up for the waves.
        put_back: the function was put back on its own; its evidence counts, but it does not stop the others.
        calibration: ``calibrate(control_minutes, …)``, if the caller has kept it; otherwise it is computed. Of an
            alias only the dispersion of its function's frozen past counts; 1 where it is not given.
    """

    function: str
    control: Control
    canary: tuple[Minute, ...]
    control_minutes: tuple[Minute, ...]
    since: datetime
    cohort: int = 0
    put_back: bool = False
    calibration: Calibration | None = None


@lru_cache(maxsize=1024)
def calibrate(history: tuple[Minute, ...], alpha: float, window: int) -> Calibration:
    """Runs the rule on a function's past in windows of ``window`` minutes; threshold None where it is too short."""
    return _calibrate((history,), (spread(history),), alpha, window)


def spread(history: Iterable[Minute]) -> float:
    """How clustered the errors of a past are: the largest of Pearson's dispersions by blocks of 1, 5 and 30 minutes.

    Retries at once cluster within a minute; those of asynchronous invocations come one and three minutes later.
    """
    minutes = [(int(m.start.timestamp()) // 60, m.invocations, min(m.errors, m.invocations)) for m in history]
    found = 1.0
    for length in _BLOCKS:
        blocks: dict[int, tuple[int, int]] = {}
        for number, invocations, errors in minutes:
            n, x = blocks.get(number // length, (0, 0))
            blocks[number // length] = n + invocations, x + errors
        found = max(found, dispersion(blocks.values()))
    return found


@lru_cache(maxsize=64)
def _calibrate(
    histories: tuple[tuple[Minute, ...], ...], phis: tuple[float, ...], alpha: float, window: int
) -> Calibration:
    starts = [minute.start for history in histories for minute in history]
    if not starts:
        return Calibration()
    first = min(starts)
    count = (max(starts) - first) // (window * MINUTE) + 1
    functions = [[[(0, 0)] * window for _ in range(count)] for _ in histories]
    for windows, history in zip(functions, histories, strict=True):
        for minute in history:
            number, offset = divmod((minute.start - first) // MINUTE, window)
            windows[number][offset] = (minute.invocations, minute.errors)
    placebo = placebo_threshold(functions, alpha, phis)
    return Calibration(max(phis), placebo.threshold if placebo.known else None, placebo.windows)


def _counts(minutes: Iterable[Minute]) -> list[tuple[int, int]]:
    return [(minute.invocations, min(minute.errors, minute.invocations)) for minute in minutes]


def total(minutes: Iterable[Minute]) -> Counts:
    counts = _counts(minutes)
    return Counts(sum(n for n, _ in counts), sum(x for _, x in counts))


class Track:
    """One function's minutes, put in order and compared with its control."""

    def __init__(self, seen: Observed, rules: Rules) -> None:
        self.seen, self.control = seen, seen.control
        # An alias's datapoints are split by version, those of $LATEST are not: there a minute must be wholly new.
        begin = seen.since.replace(second=0, microsecond=0) if seen.control == "alias" else seen.since + MINUTE
        self.canary = _ordered(m for m in seen.canary if m.start >= begin)
        self.past: tuple[Minute, ...] = ()
        self.baseline: tuple[Minute, ...] = ()
        self.calibration = Calibration()
        if self.control == "alias":
            self.baseline = _ordered(m for m in seen.control_minutes if m.start >= begin)
            # The same minutes are the control; the past says only how clustered the function's errors are.
            self.calibration = Calibration(seen.calibration.dispersion) if seen.calibration else Calibration()
        elif self.control == "history":
            self.past = self.baseline = _ordered(m for m in seen.control_minutes if m.start + MINUTE <= seen.since)
            self.calibration = seen.calibration or calibrate(self.past, rules.alpha, rules.max_minutes)
        floor = math.log(1 / rules.alpha)
        self.threshold = max(floor, self.calibration.threshold or floor)
        self.discount = self.threshold - floor
        self.process: Comparison | Ceiling = Ceiling(rules.p_max) if self.control == "none" else Comparison()
        self.crossed: datetime | None = None
        self.strata: dict[datetime, list[Stratum]] = {}
        for start, stratum in self._compare():
            self.strata.setdefault(start, []).append(stratum)

    def _compare(self) -> list[tuple[datetime, Stratum]]:
        if self.control == "none":
            return [(m.start, Stratum(m.invocations, m.errors, 0, 0)) for m in self.canary]
        if self.control == "history":
            dealt = deal_history(_counts(self.canary), _counts(reversed(self.past)))
            return [(self.canary[index].start, stratum) for index, stratum in dealt]
        table: dict[datetime, list[int]] = {}
        for column, minutes in ((0, self.canary), (2, self.baseline)):
            for m in minutes:
                table.setdefault(m.start, [0, 0, 0, 0])[column : column + 2] = [m.invocations, m.errors]
        epoch = self.seen.since
        rows = [((start - epoch) // MINUTE, row[0], row[1], row[2], row[3]) for start, row in sorted(table.items())]
        at = {(start - epoch) // MINUTE: start for start in table}
        return [(at[number], stratum) for number, stratum in pair(rows)]

    @property
    def harmful(self) -> bool:
        return self.process.peak >= self.threshold

    def compared(self) -> Counts:
        """The canary's counts as far as the control reaches: of an alias, only while a stable version was invoked."""
        if self.control != "alias":
            return total(self.canary)
        last = max((m.start for m in self.baseline if m.invocations), default=None)
        return total(m for m in self.canary if last is not None and m.start <= last)


def _ordered(minutes: Iterable[Minute]) -> tuple[Minute, ...]:
    return tuple(sorted(minutes, key=lambda m: m.start))


def _add(process: Comparison | Ceiling, stratum: Stratum, phi: float) -> None:
    if isinstance(process, Ceiling):
        process.add(stratum.n1, stratum.x1)
    else:
        process.add(stratum, phi)


class Bounds:
    """How high the canary's error rate may be, and how low its control's, with the counts behind both.

    Functions err at different rates, so the controls are first brought to the canary's mix of functions: each is
    thinned to the same multiple of its canary's invocations. One function's control is left as it is.
    """

    def __init__(self, tracks: Sequence[Track], rules: Rules) -> None:
        self.control, rate = Counts(), 0.0
        compared = [(track, track.compared()) for track in tracks]
        self.canary = sum((counts for _, counts in compared), Counts())
        n1 = self.canary.invocations
        self.upper, self.lower = 1.0, 0.0
        self.minutes = len({m.start for track in tracks for m in track.canary if m.invocations})
        if not n1:
            return
        mixes = []
        for kind in ("alias", "history"):
            group = [(c.invocations, total(track.baseline)) for track, c in compared if track.control == kind]
            share = sum(n for n, _ in group) / n1
            ratio = min((base.invocations / n for n, base in group if n and base.invocations), default=0.0)
            errors = sum(base.rate * n * ratio for n, base in group)
            invocations = round(sum(n for n, _ in group) * ratio)
            if invocations:
                mixes.append((kind, share, invocations, errors))
                rate += share * errors / invocations
        known = sum(invocations for _, _, invocations, _ in mixes)
        self.control = Counts(known, round(rate * known))
        near = min(0.99, max(rate, rules.tolerance / 4))
        self.upper = upper_bound(n1, self.canary.errors, rules.alpha_safe / 2, near)
        for kind, share, invocations, errors in mixes:
            alpha = rules.alpha_safe / 2 / len(mixes)
            if kind == "alias":
                self.lower += share * lower_bound(invocations, errors, alpha, near)
            else:
                self.lower += share * clopper_pearson_lower(invocations, errors, alpha)

    def safe(self, rules: Rules) -> bool:
        enough = self.canary.invocations >= ENOUGH and self.minutes >= rules.min_minutes
        return enough and self.upper - self.lower <= rules.tolerance


@dataclass(slots=True)
class Evidence:
    """The fleet's evidence: its course and peak, the peak of what live controls alone say, and where it stands.

    ``offset`` is by how much the past raises the threshold where history is the only control; ``crossed`` is the minute
    in which ln(1/alpha) was first reached.
    """

    tracks: list[Track]
    peak: float = 0.0
    live_peak: float = 0.0
    current: float = 0.0
    offset: float = 0.0
    crossed: datetime | None = None
    course: dict[datetime, float] = field(default_factory=dict)


def gather(observed: Sequence[Observed], rules: Rules) -> Evidence:
    tracks = [Track(seen, rules) for seen in observed]
    evidence = Evidence(tracks)
    floor = math.log(1 / rules.alpha)
    if not tracks:
        return evidence
    first = first_cohort(tracks)
    sizes = {track.seen.cohort: 0 for track in tracks}
    for track in tracks:
        sizes[track.seen.cohort] += 1
    for track in tracks:
        # One alarm among many functions comes easily; alpha is for all of a wave together.
        track.threshold += math.log(sizes[track.seen.cohort])
    weights = [3 * 0.25 ** (track.seen.cohort + 1) / sizes[track.seen.cohort] for track in tracks]
    shares = [sum(1 for track in first if track.control == kind) / len(first) for kind in KINDS]
    pools: dict[str, Comparison | Ceiling] = {
        kind: Ceiling(rules.p_max) if kind == "none" else Comparison() for kind in KINDS
    }
    discount = _pool_discount([track for track in first if track.control == "history"], rules)
    if all(track.control == "history" for track in tracks):
        evidence.offset = discount

    def fleet(kinds: tuple[Control, ...], discounted: bool) -> float:
        own = [
            track.process.ln_e - (track.discount if discounted else 0.0) if track.control in kinds else 0.0
            for track in tracks
        ]
        pooled = [
            pools[kind].ln_e - (discount if discounted and kind == "history" else 0.0) if kind in kinds else 0.0
            for kind in KINDS
        ]
        return combine(own, log_mean(pooled, shares), weights)

    now = fleet(KINDS, True)
    for start in sorted({start for track in tracks for start in track.strata}):
        spoke = False
        for track in tracks:
            for stratum in track.strata.get(start, ()):
                if track.control == "none" or not stratum.silent:
                    spoke = True
                    _add(track.process, stratum, track.calibration.dispersion)
                    _add(pools[track.control], stratum, track.calibration.dispersion)
            if track.crossed is None and track.harmful:
                track.crossed = start
        if spoke:
            now = fleet(KINDS, True)
            if evidence.crossed is None and now >= floor:
                evidence.crossed = start
            evidence.peak = max(evidence.peak, now)
            evidence.live_peak = max(evidence.live_peak, fleet(("alias",), True))
        evidence.course[start] = now
    evidence.current = fleet(KINDS, False)
    return evidence


def first_cohort(tracks: Sequence[Track]) -> list[Track]:
    """The functions that had the candidate first."""
    lowest = min((track.seen.cohort for track in tracks), default=0)
    return [track for track in tracks if track.seen.cohort == lowest]


def _pool_discount(tracks: Sequence[Track], rules: Rules) -> float:
    if len(tracks) < 2:
        return max((track.discount for track in tracks), default=0.0)
    phis = tuple(track.calibration.dispersion for track in tracks)
    calibration = _calibrate(tuple(track.past for track in tracks), phis, rules.alpha, rules.max_minutes)
    floor = math.log(1 / rules.alpha)
    return max(0.0, (calibration.threshold or floor) - floor)
