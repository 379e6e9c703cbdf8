"""The environment guard: what functions without the release say about the minutes in which those with it failed.

A frozen history cannot tell a harmful release from an outage that began at the same time. Functions of the same fleet
that run on the old release can: when they turn bad against their own history too, the trouble is not the release's.

Two things follow from them. Minutes in which they were bad are left out of whatever is compared with history or a
ceiling; the guards alone decide which, never the canary's errors, so that what remains is as valid as it was. And harm
in the remaining minutes is blamed on the release only once the guards have spoken: had it been an outage that hit them
half as hard, they would have shown it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from lamina.evalue import BETS, chance_of_at_most
from lamina.evidence import MINUTE, Counts, Minute, Observed, Rules, Track, spread, total

HEARING = timedelta(minutes=10)
"""How long a blame waits for guards that have too little traffic to speak; then it is passed without them."""

_LONGER = timedelta(minutes=60)
"""How long it waits at most while that costs next to nothing: fewer than ``_CHEAP`` more failures."""

_CHEAP = 5

_LEAST = 0.5
"""Invocations a minute without which guards are not waited for."""

_DOUBT = 0.01
"""The probability of guards that look calm although an outage hit them half as hard as the canary."""

_SHARE = 0.5

_NEXT_TO_NOTHING = 1.0

_UNSEEN = timedelta(minutes=30)
"""How far trouble may reach unseen before and after the minutes in which it shows."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Minutes in a row, by the start of the first and of the last."""

    first: datetime
    last: datetime

    def __str__(self) -> str:
        return f"{self.first:%H:%M}" if self.first == self.last else f"{self.first:%H:%M}-{self.last:%H:%M}"


@dataclass(frozen=True)
class _Function:
    """What a function did in each minute, its error rate and traffic before, and how clustered its errors are."""

    name: str
    minutes: dict[datetime, Counts]
    usual: float
    per_minute: float
    phi: float

    @classmethod
    def of(cls, name: str, minutes: Iterable[Minute], past: Sequence[Minute]) -> _Function:
        counts = total(past)
        span = (max(m.start for m in past) - min(m.start for m in past)) / MINUTE + 1 if past else 1.0
        return cls(
            name,
            {m.start: total([m]) for m in minutes if m.invocations},
            (counts.errors + 0.5) / (counts.invocations + 1) if past else 0.0,
            counts.invocations / span,
            spread(past),
        )


@dataclass(frozen=True)
class Surroundings:
    """What the guards say.

    Attributes:
        bad: minutes in which they failed more than usual, and those around them to which that may reach unseen.
        ongoing: the newest of their minutes is one of these.
    """

    bad: frozenset[datetime] = frozenset()
    ongoing: bool = False
    _guards: tuple[_Function, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, guard: Sequence[Observed], rules: Rules) -> Surroundings:
        """Reads the guards; those without a history say nothing.

        Args:
            guard: functions without the release; ``canary`` are their minutes since the first function got it,
                ``control_minutes`` their own history from before.
        """
        guards = tuple(
            _Function.of(
                seen.function,
                [m for m in seen.canary if m.start >= seen.since],
                [m for m in seen.control_minutes if m.start + MINUTE <= seen.since],
            )
            for seen in guard
            if seen.control_minutes
        )
        bad = _bad(guards, math.log(1 / rules.alpha))
        newest = max((start for one in guards for start in one.minutes), default=None)
        return cls(bad, newest in bad, guards)

    def without_bad(self, seen: Observed) -> Observed:
        """What remains of a function's minutes; those beside a live control all do."""
        if seen.control == "alias" or not self.bad:
            return seen
        return replace(seen, canary=tuple(m for m in seen.canary if m.start not in self.bad))

    def excluded(self, seen: Observed) -> int:
        """How many minutes with invocations that takes from the function."""
        if seen.control == "alias":
            return 0
        return sum(1 for m in seen.canary if m.start in self.bad and m.start >= seen.since and m.invocations)

    def stretches(self, among: Collection[datetime]) -> tuple[Stretch, ...]:
        """The bad minutes among these, in rows."""
        rows: list[Stretch] = []
        for start in sorted(self.bad & set(among)):
            if rows and start - rows[-1].last <= MINUTE:
                rows[-1] = Stretch(rows[-1].first, start)
            else:
                rows.append(Stretch(start, start))
        return tuple(rows)

    def speak_for(self, tracks: Iterable[Track], crossed: datetime | None, now: datetime) -> bool:
        """Whether harm that these functions' history shows may be blamed on the release.

        Args:
            tracks: the functions that speak against it, without the bad minutes.
            crossed: the minute in which the evidence first sufficed.
            now: the moment of asking.
        """
        loud = [track for track in tracks if track.control != "alias"]
        if not loud or not self._guards or crossed is None or self.calm_beside(loud):
            return True
        if sum(one.per_minute for one in self._guards) < _LEAST:
            return True
        since = sum(m.errors for track in loud for m in track.canary if m.start > crossed)
        return now - crossed >= (HEARING if since >= _CHEAP else _LONGER)

    def calm_beside(self, tracks: Sequence[Track]) -> bool:
        """Whether the guards would have failed more often than they did, had the same trouble hit them half as hard.

        They are asked about the minutes that speak loudest against these functions.
        """
        accused = [_Function.of(track.seen.function, track.canary, track.baseline) for track in tracks]
        minutes, gains = _gains(accused)
        _, begin, end = max((_best(each, 0, len(minutes)) for each in gains), default=(0.0, 0, 0))
        asked = {start for start in minutes if minutes[begin] <= start <= minutes[end]} if minutes else set()
        guard, guard_usual = _counts(self._guards, asked)
        canary, usual = _counts(accused, asked)
        if not guard.invocations or usual >= 1:
            return False
        excess = max(0.0, (canary.rate - usual) / (1 - usual))
        alike = guard_usual + _SHARE * excess * (1 - guard_usual)
        return chance_of_at_most(guard.errors, guard.invocations, alike) <= _DOUBT

    def words(self) -> str:
        """What the guards did in the bad minutes."""
        counts, usual = _counts(self._guards, self.bad)
        names = [one.name for one in self._guards if one.minutes.keys() & self.bad]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        invoked = {start for one in self._guards for start in one.minutes}
        when = ", ".join(str(row) for row in self.stretches(invoked)[-3:])
        return (
            f"Functions without this release ({', '.join(names[:3])}{more}) failed {counts} from {when} UTC, which "
            f"{'is' if self.ongoing else 'was'} more than their usual {usual:.2%}"
        )


def _counts(functions: Sequence[_Function], minutes: Collection[datetime]) -> tuple[Counts, float]:
    """The functions' counts in these minutes, and the error rate that is usual for that mix of them."""
    counts, expected, wanted = Counts(), 0.0, frozenset(minutes)
    for one in functions:
        mine = sum((one.minutes[start] for start in one.minutes.keys() & wanted), Counts())
        counts += mine
        expected += mine.invocations * one.usual
    return counts, expected / counts.invocations if counts.invocations else 0.0


def _bad(guards: Sequence[_Function], needed: float) -> frozenset[datetime]:
    """The stretches in which the guards' odds of failing were higher than usual, by any of the bets.

    A stretch is where a bet gains most (the excursion of Page's CUSUM), without ends that gain next to nothing; before
    it and after it, there may be others. Each needs ln(number of bets) more, so that without any trouble a minute
    begins one less often than once in 1/alpha.
    """
    minutes, gains = _gains(guards)
    counts = [sum((one.minutes[start] for one in guards if start in one.minutes), Counts()) for start in minutes]
    needed += math.log(len(BETS))
    bad: set[datetime] = set()
    parts = [(each, 0, len(minutes)) for each in gains]
    while parts:
        each, low, high = parts.pop()
        gain, begin, end = _best(each, low, high)
        if gain >= needed:
            bad |= _widened(minutes, counts, *_trimmed(each, begin, end))
            parts += [(each, low, begin), (each, end + 1, high)]
    return frozenset(bad)


def _trimmed(gains: Sequence[float], begin: int, end: int) -> tuple[int, int]:
    """A stretch without the longest beginning and end that gain less than a nat."""
    first, last, head, tail = begin, end, 0.0, 0.0
    for number in range(begin, end):
        head += gains[number]
        first = number + 1 if head < _NEXT_TO_NOTHING else first
    for number in range(end, first, -1):
        tail += gains[number]
        last = number - 1 if tail < _NEXT_TO_NOTHING else last
    return first, last


def _gains(functions: Sequence[_Function]) -> tuple[list[datetime], list[list[float]]]:
    """The functions' minutes, and what each says for each bet on odds so many times the usual ones, in nats."""
    minutes = sorted({start for one in functions for start in one.minutes})
    return minutes, [[_gain(functions, start, bet) for start in minutes] for bet in BETS]


def _best(gains: Sequence[float], low: int, high: int) -> tuple[float, int, int]:
    """The largest sum of gains in a row within [low, high), and from where to where (Kadane's algorithm)."""
    best = (0.0, low, low)
    score, begin = 0.0, low
    for number in range(low, high):
        score += gains[number]
        if score <= 0.0:
            score, begin = 0.0, number + 1
        elif score > best[0]:
            best = (score, begin, number)
    return best


def _widened(minutes: Sequence[datetime], counts: Sequence[Counts], begin: int, end: int) -> set[datetime]:
    """All minutes of a stretch, and those on either side to which the trouble may reach unseen.

    A stretch is as long as the guards' failures are. At the rate at which they failed in it, trouble goes unseen for
    a few invocations before the first and after the last of them: for 3 / rate with a probability of 5 %.
    """
    rate = sum(counts[begin : end + 1], Counts()).rate
    first, last = (_reach(minutes, counts, edge, step, 3 / rate) for edge, step in ((begin, -1), (end, 1)))
    return {first + number * MINUTE for number in range((last - first) // MINUTE + 1)}


def _reach(minutes: Sequence[datetime], counts: Sequence[Counts], edge: int, step: int, invocations: float) -> datetime:
    """The last minute, from the edge of a stretch on, that so many invocations of the guards reach; the next at least.

    Where the guards' minutes end before, it may be one more.
    """
    farthest = minutes[edge] + step * _UNSEEN
    while invocations > 0 and 0 <= edge + step < len(minutes):
        edge += step
        invocations -= counts[edge].invocations
    found = minutes[edge] + (step * MINUTE if invocations > 0 else timedelta(0))
    return max(found, farthest) if step < 0 else min(found, farthest)


def _gain(functions: Sequence[_Function], start: datetime, bet: float) -> float:
    return math.fsum(
        (counts.errors * math.log(bet) - counts.invocations * math.log1p(one.usual * (bet - 1))) / one.phi
        for one in functions
        if (counts := one.minutes.get(start)) is not None
    )
