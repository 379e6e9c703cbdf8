"""One simulated function under watch: when the verdict's rule would speak, and a proof that ``judge`` says the same.

``judge`` recomputes a watch from all of its minutes at every look, which makes it safe to retry, and slow to ask a
million times. What it computes of a single function is one e-process; here that is advanced stratum by stratum on the
same code (``Comparison``, ``pace``, ``pair``), up to the threshold that ``judge`` itself names. ``Agreement`` asks
``judge`` about the minutes before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

from benchmarks.simulated import Count
from lamina.evalue import Comparison, Stratum, pace, pair
from lamina.evidence import MINUTE, Minute, Observed, calibrate
from lamina.rollout import RolloutPolicy
from lamina.steps.watch import rules_of
from lamina.verdict import FunctionVerdict, Verdict, judge, pause

SINCE = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
WEEK = 7 * 24 * 60
HORIZON = 240
"""Minutes after which a simulated watch ends: the first half hour, and its extension with longer and longer pauses."""

RULES = rules_of(RolloutPolicy())
"""What Watch judges errors by where a definition says nothing else."""


def _looks() -> tuple[int, ...]:
    at, found = 1, []
    while at <= HORIZON:
        found.append(at)
        at += pause(at, RULES)
    return tuple(found)


LOOKS = _looks()
"""After how many closed minutes the rule looks: after each one at first, then as ``pause`` says."""


def _rows(counts: Sequence[Count], start: datetime) -> tuple[Minute, ...]:
    return tuple(Minute(start + at * MINUTE, n, x) for at, (n, x) in enumerate(counts) if n)


def _first(strata: Iterator[tuple[int, Stratum]], dispersion: float, threshold: float) -> int | None:
    process = Comparison()
    for at, stratum in strata:
        process.add(stratum, dispersion)
        if process.ln_e >= threshold:
            return at + 1
    return None


def _named(seen: Observed) -> FunctionVerdict:
    """What ``judge`` says of a function before anything happened: its threshold and its dispersion."""
    (function,) = judge([seen], RULES, now=SINCE).functions
    return function


class Past:
    """A function's frozen past, calibrated once, as Watch finds it at each look."""

    def __init__(self, counts: Sequence[Count]) -> None:
        self.rows = _rows(counts, SINCE - len(counts) * MINUTE)
        self.newest_first = [count for count in reversed(counts) if count.invocations]
        self.calibration = calibrate(self.rows, RULES.alpha, RULES.max_minutes)
        calibrate.cache_clear()  # it keeps what it was given, and here that is a week for each
        self._invocations = [0, *accumulate(n for n, _ in self.newest_first)]
        self._errors = [0, *accumulate(x for _, x in self.newest_first)]
        named = _named(BesideThePast([], self).observed(0))
        self.threshold, self.dispersion = named.threshold, named.dispersion

    def strata(self, canary: Sequence[Count]) -> Iterator[tuple[int, Stratum]]:
        """The canary's minutes against disjoint blocks of this past, dealt as the verdict deals them."""
        filled = [(at, n, x) for at, (n, x) in enumerate(canary) if n]
        dealt = n1 = x1 = 0
        for (at, n, x), end in zip(filled, pace(len(self.newest_first), len(filled)), strict=True):
            n1, x1 = n1 + n, x1 + x
            if end > dealt:
                n0, x0 = self._invocations[end] - self._invocations[dealt], self._errors[end] - self._errors[dealt]
                yield at, Stratum(n1, x1, n0, x0)
                dealt, n1, x1 = end, 0, 0


@dataclass(frozen=True)
class BesideThePast:
    """`$LATEST`, compared with the function's own past."""

    canary: Sequence[Count]
    past: Past

    def observed(self, upto: int) -> Observed:
        """What Watch has seen after so many closed minutes."""
        rows = _rows(self.canary[:upto], SINCE + MINUTE)
        return Observed("f", "history", rows, self.past.rows, SINCE, calibration=self.past.calibration)

    def first_alarm(self) -> int | None:
        """After how many minutes the evidence first suffices; None where it never does."""
        return _first(self.past.strata(self.canary), self.past.dispersion, self.past.threshold)


@dataclass(frozen=True)
class BesideTheOld:
    """An alias, compared with the stable version in the same minutes; its past says how clustered its errors are."""

    canary: Sequence[Count]
    stable: Sequence[Count]
    past: Past

    def observed(self, upto: int) -> Observed:
        """What Watch has seen after so many closed minutes."""
        canary, stable = _rows(self.canary[:upto], SINCE), _rows(self.stable[:upto], SINCE)
        return Observed("f", "alias", canary, stable, SINCE, calibration=self.past.calibration)

    def first_alarm(self) -> int | None:
        """After how many minutes the evidence first suffices; None where it never does."""
        rows = [(at, *new, *old) for at, (new, old) in enumerate(zip(self.canary, self.stable, strict=True))]
        named = _named(self.observed(0))
        return _first(iter(pair(rows)), named.dispersion, named.threshold)


Watch = BesideThePast | BesideTheOld


def ask(watch: Watch, at: int) -> Verdict:
    """The verdict after so many closed minutes. Nothing more is to come after this function."""
    return judge([watch.observed(at)], RULES, now=SINCE + (at + 1) * MINUTE, last=True)


def blamed(verdict: Verdict) -> bool:
    """Whether the release is taken back, from one function or from all."""
    return verdict.next in ("rollback", "restore")


@dataclass
class Agreement:
    """How often the shortcut was compared with ``judge``, and how often they differed."""

    compared: int = 0
    different: int = 0

    def check(self, watch: Watch, alarm: int | None) -> None:
        """Whether ``judge`` blames the release after that minute and not before; never, where there was no alarm."""
        if alarm is None:
            alike = not blamed(ask(watch, HORIZON))
        else:
            alike = blamed(ask(watch, alarm)) and not (alarm > 1 and blamed(ask(watch, alarm - 1)))
        self.compared += 1
        self.different += not alike


def rolled_back(watch: Watch, alarm: int | None) -> bool:
    """Whether the rule, looking when it looks, comes to that alarm before it has found the release safe.

    Nobody is let off in the first half hour, as if waves were still to come.
    """
    if alarm is None:
        return False
    for at in LOOKS:
        if at >= alarm:
            return True
        if at >= RULES.max_minutes and ask(watch, at).next != "wait":
            return False
    return False


def blamed_with(guards: Sequence[BesideThePast], watch: BesideThePast, upto: int) -> bool:
    """Whether the release is blamed within so many minutes while functions without it are heard too.

    There is nothing to ask before the first minute in which the function's own evidence suffices.
    """
    alarm = watch.first_alarm()
    for at in range(alarm or upto + 1, upto + 1):
        guard = [seen.observed(at) for seen in guards]
        verdict = judge([watch.observed(at)], RULES, now=SINCE + (at + 1) * MINUTE, last=True, guard=guard)
        if verdict.next != "wait":
            return blamed(verdict)
    return False
