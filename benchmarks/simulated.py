"""Simulated invocations of a function, minute by minute, for measuring what rules make of them.

Minutes are independent, and a minute's invocations follow Poisson's law. Errors follow one of four habits; with each of
them the same share of all invocations fails in the long run:

- ``independent``: every invocation fails by itself;
- ``retried``: whoever failed is tried twice more in the same minute, and fails again: three failures in a row;
- ``retried later``: the same as Lambda does it for asynchronous invocations, one minute and three minutes later;
- ``bursty``: the rate of each minute is drawn from a beta distribution (beta-binomial, intra-class correlation 0.01).

Standard library only. A generator that is seeded alike gives the same minutes.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

HABITS = ("independent", "retried", "retried later", "bursty")
CORRELATION = 0.01
"""Intra-class correlation of bursty minutes: errors vary 1 + 0.01 (n-1) times as much as chance alone would have it."""


class Count(NamedTuple):
    """Invocations of one minute, and how many of them failed."""

    invocations: int
    errors: int


class _Table:
    """A distribution over whole numbers, to draw from with one random number."""

    def __init__(self, log_pmf: Callable[[int], float], low: int, high: int) -> None:
        self.low = low
        self.cumulated = list(accumulate(math.exp(log_pmf(k)) for k in range(low, high + 1)))

    def draw(self, chance: random.Random) -> int:
        return self.low + bisect(self.cumulated, chance.random() * self.cumulated[-1])


def _reach(mean: float, variance: float, most: float = math.inf) -> tuple[int, int]:
    spread = 12 * math.sqrt(variance) + 20
    return max(0, int(mean - spread)), int(min(most, mean + spread))


@cache
def _poisson(mean: float) -> _Table:
    return _Table(lambda k: k * math.log(mean) - mean - math.lgamma(k + 1), *_reach(mean, mean))


@cache
def _binomial(n: int, p: float) -> _Table:
    def log_pmf(k: int) -> float:
        return _log_choose(n, k) + k * math.log(p) + (n - k) * math.log1p(-p)

    return _Table(log_pmf, *_reach(n * p, n * p * (1 - p), n))


@cache
def _beta_binomial(n: int, p: float) -> _Table:
    a, b = p * (1 / CORRELATION - 1), (1 - p) * (1 / CORRELATION - 1)
    return _Table(lambda k: _log_choose(n, k) + _log_beta(a + k, b + n - k) - _log_beta(a, b), 0, n)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def binomial(chance: random.Random, n: int, p: float) -> int:
    """How many of ``n`` come to pass, each with probability ``p``."""
    if n == 0 or p == 0.0:
        return 0
    return n if p >= 1.0 else _binomial(n, p).draw(chance)


def minutes(
    chance: random.Random, count: int, per_minute: float, rate: float, habit: str = "independent"
) -> list[Count]:
    """``count`` minutes of a function that is invoked ``per_minute`` times on average and fails with ``rate``."""
    if habit in ("independent", "bursty") or rate == 0.0:
        draw = _beta_binomial if habit == "bursty" else _binomial
        made = []
        for _ in range(count):
            n = _poisson(per_minute).draw(chance)
            certain = n == 0 or rate in (0.0, 1.0)
            made.append(Count(n, int(n * rate) if certain else draw(n, rate).draw(chance)))
        return made
    # A request that fails makes three invocations, so that fewer requests need to fail.
    failing = rate / (3 - 2 * rate)
    requests = [_poisson(per_minute / (1 + 2 * failing)).draw(chance) for _ in range(count + 3)]
    failed = [binomial(chance, n, failing) for n in requests]
    delays = (0, 0) if habit == "retried" else (1, 3)
    made = []
    for at in range(3, count + 3):
        again = sum(failed[at - delay] for delay in delays)
        made.append(Count(requests[at] + again, failed[at] + again))
    return made


def route(chance: random.Random, whole: Sequence[Count], weight: float) -> tuple[list[Count], list[Count]]:
    """What an alias makes of the minutes: each invocation, retries too, goes to the canary with probability ``weight``.

    Returns:
        the canary's minutes, the stable version's minutes.
    """
    canary, stable = [], []
    for n, x in whole:
        errors = binomial(chance, x, weight)
        invocations = errors + binomial(chance, n - x, weight)
        canary.append(Count(invocations, errors))
        stable.append(Count(n - invocations, x - errors))
    return canary, stable
