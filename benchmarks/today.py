"""The rules by which people roll back today, on the same minutes as the verdict, to measure them beside it.

Each is asked after every closed minute, as an alarm or a pipeline that polls is. None of them is part of Lamina.

Sources: AWS SAM's and CodeDeploy's examples (an alarm on one error a minute), the usual "M of N" alarm, R. A. Fisher's
exact test, and the judge of Spinnaker's Kayenta (``MannWhitneyClassifier``: 98 % confidence, tolerance 0.25).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from benchmarks.simulated import Count

Rule = Callable[[Sequence[Count], Sequence[Count]], int | None]
"""(canary's minutes, control's minutes) -> index of the minute after which it rolls back. An alias's control has the
same minutes; a history is passed newest minute first and as a whole."""

KAYENTA_CONFIDENCE, KAYENTA_TOLERANCE = 0.98, 0.25
KAYENTA_HISTORY = 60
"""Minutes before the change that a retrospective analysis compares with."""

FISHER_ALPHA = 0.01


def any_error(canary: Sequence[Count], _: Sequence[Count]) -> int | None:
    """An alarm on at least one error a minute."""
    return next((at for at, count in enumerate(canary) if count.errors), None)


def two_of_three(canary: Sequence[Count], _: Sequence[Count]) -> int | None:
    """An alarm on more than 1 % of errors in two of three periods of a minute; a minute without invocations is fine."""
    over = [count.errors > 0.01 * count.invocations for count in canary]
    return next((at for at in range(1, len(over)) if over[at] and sum(over[max(0, at - 2) : at + 1]) >= 2), None)


def fisher(canary: Sequence[Count], control: Sequence[Count], *, live: bool) -> int | None:
    """Fisher's exact test, one-sided, on all that was counted so far."""
    n0, x0 = (0, 0) if live else (sum(n for n, _ in control), sum(x for _, x in control))
    n1 = x1 = 0
    for at, count in enumerate(canary):
        n1, x1 = n1 + count.invocations, x1 + count.errors
        if live:
            n0, x0 = n0 + control[at].invocations, x0 + control[at].errors
        if exact_p(n1, x1, n0, x0) <= FISHER_ALPHA:
            return at
    return None


def exact_p(n1: int, x1: int, n0: int, x0: int) -> float:
    """P(X >= x1) where the x0 + x1 errors fall on the n0 + n1 invocations by chance (Fisher's one-sided p-value)."""
    errors = x0 + x1
    if not n1 or not n0 or x1 * (n0 + n1) <= errors * n1:
        return 1.0  # not above what is expected: far from any alarm
    term = math.exp(_log_choose(n1, x1) + _log_choose(n0, x0) - _log_choose(n0 + n1, errors))
    p = term
    for x in range(x1, min(n1, errors)):
        term *= (n1 - x) * (errors - x) / ((x + 1) * (n0 - errors + x + 1))
        p += term
        if term < 1e-12 * p:
            break
    return p


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def kayenta(canary: Sequence[Count], control: Sequence[Count], *, live: bool) -> int | None:
    """Mann-Whitney's U on the minutes' error rates: "High" where the lower bound of the shift exceeds the tolerance."""
    past = [] if live else _rates(control[:KAYENTA_HISTORY])
    rates: list[float] = []
    for at in range(len(canary)):
        rates += _rates(canary[at : at + 1])
        past += _rates(control[at : at + 1]) if live else []
        if rates and past and high(rates, past):
            return at
    return None


def _rates(counts: Sequence[Count]) -> list[float]:
    return [x / n for n, x in counts if n]


def high(rates: Sequence[float], past: Sequence[float]) -> bool:
    """Whether the lower end of the confidence interval for the shift lies above a quarter of its estimate.

    The interval is R's ``wilcox.test``, by the normal approximation with corrections for ties and continuity. Its lower
    end exceeds d exactly if the test for the shift d rejects, so one test at the tolerance replaces the root search.
    """
    if _z(rates, past) <= _NEEDED:
        return False  # not even against a shift of nothing
    shifts = sorted(a - b for a in rates for b in past)
    estimate = abs(shifts[len(shifts) // 2])  # Hodges and Lehmann's
    return _z(rates, [value + KAYENTA_TOLERANCE * estimate for value in past]) > _NEEDED


_NEEDED = NormalDist().inv_cdf((1 + KAYENTA_CONFIDENCE) / 2)


def _z(left: Sequence[float], right: Sequence[float]) -> float:
    m, n = len(left), len(right)
    ranked = sorted([(round(value, 12), True) for value in left] + [(round(value, 12), False) for value in right])
    ranks, ties, at = 0.0, 0, 0
    while at < m + n:
        end = at
        while end < m + n and ranked[end][0] == ranked[at][0]:
            end += 1
        size = end - at
        ranks += sum(mine for _, mine in ranked[at:end]) * (at + end + 1) / 2
        ties += size**3 - size
        at = end
    above = ranks - m * (m + 1) / 2 - m * n / 2
    variance = m * n / 12 * (m + n + 1 - ties / ((m + n) * (m + n - 1)))
    return (above - math.copysign(0.5, above)) / math.sqrt(variance) if variance > 0 else 0.0


def rules(live: bool) -> dict[str, Rule]:
    """Today's rules by name, for a control in the same minutes (``live``) or for the past."""
    return {
        ">= 1 error": any_error,
        "> 1 % in 2 of 3": two_of_three,
        "Fisher 0.01": lambda canary, control: fisher(canary, control, live=live),
        "Kayenta": lambda canary, control: kayenta(canary, control, live=live),
    }


def information_bound(alpha: float, rate: float, usual: float) -> float | None:
    """Invocations that any test of this alpha needs on average (Wald): ln(1/alpha) / KL(rate || usual).

    None where errors never happen usually: one of them is then proof enough.
    """
    if usual == 0.0:
        return None
    parts = ((rate, usual), (1 - rate, 1 - usual))
    return math.log(1 / alpha) / sum(p * math.log(p / q) for p, q in parts if p)
