"""Evidence that may be looked at at any time: e-processes and confidence sequences on plain counts.

An *e-process* multiplies evidence up, minute by minute. Where nothing is wrong its expectation never exceeds 1, so by
Ville's inequality it ever reaches 1/alpha with a probability of at most alpha, however often one looks and whenever one
stops. Everything here works with natural logarithms of it ("nats").

Sources: Grünwald, de Heide and Koolen, *Safe testing*; Turner, Ly and Grünwald on 2x2 tables (R package ``safestats``);
Lindon and Malek, *Anytime-valid inference for multinomial count data*; Howard, Ramdas, McAuliffe and Sekhon,
*Time-uniform, nonparametric, nonasymptotic confidence sequences*.

Standard library only; pure; no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

BETS = (1.5, 2.5, 5.0, 10.0, 30.0, 100.0, 1000.0)
"""How many times higher the canary's odds of an error might be: one bet each, averaged."""

CEILING_BETS = (0.1, 0.2, 0.4, 0.7, 0.95, 0.999)
"""Error rates bet upon where there is no control but a ceiling; those above the ceiling count."""

EXACT_UP_TO = 400
"""Errors in a stratum up to which the hypergeometric expectation is summed exactly."""

_LOG_BETS = tuple(math.log(bet) for bet in BETS)
_NEGLIGIBLE = 1e-17


@dataclass(frozen=True, slots=True)
class Stratum:
    """One comparison: ``x1`` errors in ``n1`` invocations of the canary, ``x0`` in ``n0`` of its control.

    CloudWatch may count an error in a later minute than its invocation, so errors are clamped to invocations.

    Raises:
        ValueError: a count is negative.
    """

    n1: int
    x1: int
    n0: int
    x0: int

    def __post_init__(self) -> None:
        if min(self.n1, self.x1, self.n0, self.x0) < 0:
            raise ValueError(f"counts cannot be negative: {self.n1}, {self.x1}, {self.n0}, {self.x0}")
        if self.x1 > self.n1:
            object.__setattr__(self, "x1", self.n1)
        if self.x0 > self.n0:
            object.__setattr__(self, "x0", self.n0)

    @property
    def silent(self) -> bool:
        """Whether it says nothing: no errors, or nothing to compare. It then counts exactly 1."""
        return self.n1 == 0 or self.n0 == 0 or self.x1 + self.x0 == 0


def log_mean(logs: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """ln of the (weighted) mean of exp(logs), without overflow. Weights must sum to at most 1."""
    if weights is None:
        top = max(logs)
        return top + math.log(sum([math.exp(value - top) for value in logs]) / len(logs))
    used = [(value, weight) for value, weight in zip(logs, weights, strict=True) if weight > 0]
    top = max(value for value, _ in used)
    return top + math.log(sum([weight * math.exp(value - top) for value, weight in used]))


@lru_cache(maxsize=1 << 17)
def log_expectations(n1: int, n0: int, errors: int) -> tuple[float, ...]:
    """ln M for each bet: M = E[bet^X], X ~ Hypergeometric(n0+n1, errors, n1), the errors falling where they may.

    Exact up to ``EXACT_UP_TO`` errors; beyond, the binomial's expectation (1 + rho (bet - 1))^errors, which is never
    smaller (Hoeffding 1963, theorem 4), so evidence can only be understated.
    """
    share = n1 / (n0 + n1)
    if errors == 1 or errors > EXACT_UP_TO:
        return tuple([errors * math.log1p(share * (bet - 1)) for bet in BETS])
    total = _log_choose(n0 + n1, errors)
    return tuple([_log_tilted_sum(n1, n0, errors, bet) - total for bet in BETS])


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_tilted_sum(n1: int, n0: int, errors: int, bet: float) -> float:
    """ln of the sum over j of C(n1, j) C(n0, errors-j) bet^j, outwards from its largest term."""
    least, most = max(0, errors - n0), min(errors, n1)
    b = bet * (n1 + errors + 2) + n0 - errors
    c = bet * (n1 + 1) * (errors + 1)
    root = 2 * c / (b + math.sqrt(max(0.0, b * b - 4 * (bet - 1) * c)))
    mode = min(max(int(root), least), most)
    rest = n0 - errors
    total = term = 1.0
    for j in range(mode, most):
        term *= bet * (n1 - j) * (errors - j) / ((j + 1) * (rest + j + 1))
        total += term
        if term < _NEGLIGIBLE * total:
            break
    term = 1.0
    for j in range(mode, least, -1):
        term *= j * (rest + j) / (bet * (n1 - j + 1) * (errors - j + 1))
        total += term
        if term < _NEGLIGIBLE * total:
            break
    return math.log(total) + _log_choose(n1, mode) + _log_choose(n0, errors - mode) + mode * math.log(bet)


class Comparison:
    """A running e-process of canary against control; H0: in no stratum are the canary's odds the higher ones.

    Attributes:
        ln_e: ln E as it stands.
        peak: the largest ln E so far, at least 0 (every process starts at E = 1).
    """

    __slots__ = ("_sums", "ln_e", "peak")

    def __init__(self) -> None:
        self._sums = [0.0] * len(BETS)
        self.ln_e = 0.0
        self.peak = 0.0

    def add(self, stratum: Stratum, dispersion: float = 1.0) -> None:
        """Takes one stratum in. A dispersion above 1 tempers it to E^(1/dispersion), still an e-process (Jensen)."""
        if stratum.silent:
            return
        expectations = log_expectations(stratum.n1, stratum.n0, stratum.x1 + stratum.x0)
        x1, sums = stratum.x1, self._sums
        if dispersion == 1.0:
            sums[:] = [s + x1 * bet - m for s, bet, m in zip(sums, _LOG_BETS, expectations, strict=True)]
        else:
            sums[:] = [s + (x1 * bet - m) / dispersion for s, bet, m in zip(sums, _LOG_BETS, expectations, strict=True)]
        self.ln_e = log_mean(sums)
        self.peak = max(self.peak, self.ln_e)


class Ceiling:
    """A running e-process of one rate against a ceiling; H0: the error rate never exceeds ``p_max``."""

    __slots__ = ("errors", "invocations", "ln_e", "p_max", "peak")

    def __init__(self, p_max: float = 0.05) -> None:
        self.p_max = p_max
        self.invocations = self.errors = 0
        self.ln_e = self.peak = 0.0

    def add(self, invocations: int, errors: int) -> None:
        """Takes in one more minute's counts."""
        self.invocations += invocations
        self.errors += min(errors, invocations)
        self.ln_e = log_e_ceiling(self.invocations, self.errors, self.p_max)
        self.peak = max(self.peak, self.ln_e)


def log_e(strata: Iterable[Stratum]) -> float:
    """ln E of a series of strata: the mean over the bets of the product over the strata. 0 where nothing was said."""
    process = Comparison()
    for stratum in strata:
        process.add(stratum)
    return process.ln_e


def log_e_ceiling(n: int, x: int, p_max: float = 0.05) -> float:
    """ln E against a ceiling: the mean over rates q > p_max of (q/p_max)^x ((1-q)/(1-p_max))^(n-x).

    Raises:
        ValueError: counts are negative, or the ceiling is not between 0 and the highest rate bet upon.
    """
    if n < 0 or x < 0:
        raise ValueError(f"counts cannot be negative: {n}, {x}")
    rates = [q for q in CEILING_BETS if q > p_max]
    if p_max <= 0 or not rates:
        raise ValueError(f"the ceiling must lie between 0 and {CEILING_BETS[-1]}, not at {p_max}")
    x = min(x, n)
    return log_mean([x * math.log(q / p_max) + (n - x) * math.log((1 - q) / (1 - p_max)) for q in rates])


def combine(functions: Sequence[float], pooled: float, weights: Sequence[float] | None = None) -> float:
    """ln E of several functions: half the mean of their own E, half that of all their strata taken together.

    The mean finds one broken function among many, the pool finds a little harm everywhere. An average of e-processes
    is one, and so is a weighted one if the weights were fixed before the data; what they lack to 1 is kept as E = 1.
    """
    if weights is None:
        return log_mean([log_mean(functions), pooled])
    kept = max(0.0, 1.0 - sum(weights))
    return log_mean([log_mean([*functions, 0.0], [*weights, kept]), pooled])


# --- the same minute as the control


def pair(minutes: Iterable[tuple[int, int, int, int, int]], window: int = 60) -> list[tuple[int, Stratum]]:
    """Sets canary and control of the same minute side by side.

    A minute in which both were invoked is a stratum of its own. Where traffic is so sparse that a minute has one of
    them only, such minutes wait for their counterpart, for ``window`` minutes at most. Only invocations decide about
    that, never errors.

    Args:
        minutes: (number of the minute, n1, x1, n0, x0) in order of time.

    Returns:
        (number of the minute that completes it, stratum) in order.
    """
    strata: list[tuple[int, Stratum]] = []
    waiting: list[tuple[int, int, int, int, int]] = []
    for minute in minutes:
        number, n1, x1, n0, x0 = minute
        if n1 and n0:
            strata.append((number, Stratum(n1, x1, n0, x0)))
        elif n1 or n0:
            waiting = [*(old for old in waiting if number - old[0] < window), minute]
            n1, x1, n0, x0 = (sum(old[column] for old in waiting) for column in range(1, 5))
            if n1 and n0:
                strata.append((number, Stratum(n1, x1, n0, x0)))
                waiting = []
    return strata


# --- history as the control


def pace(history_minutes: int, canary_minutes: int) -> list[int]:
    """How many history minutes have been dealt after each non-empty canary minute; never decreasing.

    The s-th canary minute gets remaining / max(10, s) history minutes, at least one among the first ten, so that the
    early minutes have something to be compared with and something is left for the later ones. Counts of errors play
    no part, as the guarantee demands.
    """
    dealt, ends = 0.0, []
    for s in range(1, canary_minutes + 1):
        share = (history_minutes - dealt) / max(10, s)
        dealt = min(float(history_minutes), dealt + (max(1.0, share) if s <= 10 else share))
        ends.append(int(dealt + 1e-9))
    return ends


def deal_history(canary: Sequence[tuple[int, int]], history: Sequence[tuple[int, int]]) -> list[tuple[int, Stratum]]:
    """Sets disjoint blocks of history against the canary's minutes; no history is used twice.

    Args:
        canary: (invocations, errors) of each minute, in order of time.
        history: the same of each minute before the change, in the order in which it is to be dealt.

    Returns:
        (index of the canary minute that completes it, stratum) in order. When less than a minute of history is left
        for a canary minute, that minute waits and is compared together with the next ones.
    """
    past = [counts for counts in history if counts[0] > 0]
    invocations = [0, *accumulate(n for n, _ in past)]
    errors = [0, *accumulate(min(x, n) for n, x in past)]
    return _deal(canary, len(past), lambda a, b: (invocations[b] - invocations[a], errors[b] - errors[a]))


def _deal(
    canary: Sequence[tuple[int, int]], length: int, block: Callable[[int, int], tuple[int, int]]
) -> list[tuple[int, Stratum]]:
    filled = [(index, n, min(x, n)) for index, (n, x) in enumerate(canary) if n > 0]
    strata: list[tuple[int, Stratum]] = []
    start = n1 = x1 = 0
    for (index, n, x), end in zip(filled, pace(length, len(filled)), strict=True):
        n1, x1 = n1 + n, x1 + x
        if end > start:
            n0, x0 = block(start, end)
            strata.append((index, Stratum(n1, x1, n0, x0)))
            start, n1, x1 = end, 0, 0
    return strata


def dispersion(history: Iterable[tuple[int, int]]) -> float:
    """Pearson's dispersion of (invocations, errors) per minute, clipped to [1, 10]; 1 is what chance alone gives.

    Retries and poison batches make errors come in clusters; evidence is divided by this number.
    """
    past = [(n, min(x, n)) for n, x in history if n > 0]
    total, errors = sum(n for n, _ in past), sum(x for _, x in past)
    if len(past) < 2 or errors in (0, total):
        return 1.0
    p = errors / total
    chi2 = sum((x - n * p) ** 2 / (n * p * (1 - p)) for n, x in past)
    return min(10.0, max(1.0, chi2 / (len(past) - 1)))


@dataclass(frozen=True, slots=True)
class Placebo:
    """What the rule says about a past in which nothing was released.

    Attributes:
        threshold: nats that ln E / dispersion must reach; never below ln(1/alpha).
        windows: how many windows of the past had invocations.
        known: whether they were enough (alpha x windows of at least 1); if not, the threshold is ln(1/alpha).
    """

    threshold: float
    windows: int
    known: bool


@dataclass(frozen=True, slots=True)
class _Past:
    """One function's past, newest minute first and twice over: what preceded a window, then the rest, is one slice."""

    windows: list[list[tuple[int, int]]]
    starts: list[int]
    phi: float
    length: int
    invocations: list[int]
    errors: list[int]

    @classmethod
    def of(cls, windows: Sequence[Sequence[tuple[int, int]]], phi: float) -> _Past:
        clamped = [[(n, min(x, n)) for n, x in window] for window in windows]
        newest_first = [counts for window in reversed(clamped) for counts in reversed(window) if counts[0] > 0]
        dealt = accumulate(sum(1 for n, _ in window if n > 0) for window in clamped)
        return cls(
            clamped,
            [len(newest_first) - before for before in (0, *dealt)],
            phi,
            len(newest_first),
            [0, *accumulate([n for n, _ in newest_first] * 2)],
            [0, *accumulate([x for _, x in newest_first] * 2)],
        )

    def strata(self, window: int) -> list[tuple[int, Stratum]]:
        """The window as a fake canary: (minute within it, stratum)."""
        at = self.starts[window]

        def block(start: int, end: int) -> tuple[int, int]:
            a, b = at + start, at + end
            return self.invocations[b] - self.invocations[a], self.errors[b] - self.errors[a]

        return _deal(self.windows[window], self.length - (at - self.starts[window + 1]), block)


def placebo_threshold(
    functions: Sequence[Sequence[Sequence[tuple[int, int]]]], alpha: float, phis: Sequence[float]
) -> Placebo:
    """Runs the rule on the past, each window a fake canary and the rest of the past its history.

    Args:
        functions: for each function its past in order of time, cut into the same windows, as long as a watch; a
            window is a sequence of (invocations, errors), one for each minute. Several functions are pooled.
        alpha: the wanted probability of a false alarm.
        phis: each function's dispersion.

    Returns:
        The larger of ln(1/alpha) and the floor(alpha W)-th largest of the W windows' maxima of ln E / phi.
    """
    pasts = [_Past.of(windows, phi) for windows, phi in zip(functions, phis, strict=True)]
    count = max((len(past.windows) for past in pasts), default=0)
    used = [i for i in range(count) if any(n > 0 for past in pasts for n, _ in past.windows[i])]
    floor, rank = math.log(1 / alpha), int(alpha * len(used) + 1e-9)
    if rank < 1:
        return Placebo(floor, len(used), known=False)
    maxima = []
    for i in used:
        process = Comparison()
        # A window without errors cannot speak against anyone: its maximum is the E = 1 that it starts with.
        if any(x for past in pasts for _, x in past.windows[i]):
            strata = [(minute, stratum, past.phi) for past in pasts for minute, stratum in past.strata(i)]
            for _, stratum, phi in sorted(strata, key=lambda item: item[0]):
                process.add(stratum, phi)
        maxima.append(process.peak)
    return Placebo(max(floor, sorted(maxima, reverse=True)[rank - 1]), len(used), known=True)


# --- bounds


def upper_bound(n: int, x: float, alpha: float, m: float) -> float:
    """The upper end of a confidence sequence for a rate: holds at all times at once with probability 1 - alpha.

    The largest p with ln[B(a+x, b+n-x) / B(a, b)] - x ln p - (n-x) ln(1-p) <= ln(1/alpha), a = 1/2, b = (1-m)/2m: the
    beta-binomial mixture of Howard et al., tuned to rates near m.
    """
    if n <= 0 or x >= n:
        return 1.0
    return _solve(lambda p: _mixture(n, x, m, p) > math.log(1 / alpha), x / n, 1.0)


def lower_bound(n: int, x: float, alpha: float, m: float) -> float:
    """The lower end of the same confidence sequence."""
    if n <= 0 or x <= 0:
        return 0.0
    return _solve(lambda p: _mixture(n, x, m, p) <= math.log(1 / alpha), 0.0, min(1.0, x / n))


def _mixture(n: int, x: float, m: float, p: float) -> float:
    a, b = 0.5, 0.5 * (1 - m) / m
    mixture = _log_beta(a + x, b + n - x) - _log_beta(a, b)
    likelihood = (x * math.log(p) if x else 0.0) + ((n - x) * math.log1p(-p) if x < n else 0.0)
    return mixture - likelihood


def clopper_pearson_lower(n: int, x: float, alpha: float) -> float:
    """The exact lower bound of a rate for one look at ``x`` errors in ``n``: P(X >= x | p) = alpha.

    For a control that is frozen and therefore looked at once.
    """
    if n <= 0 or x <= 0:
        return 0.0
    if x >= n:
        return float(alpha ** (1 / n))
    return _solve(lambda p: _beta_cdf(p, x, n - x + 1) > alpha, 0.0, x / n)


def chance_of_at_most(x: int, n: int, p: float) -> float:
    """P(X <= x) of a binomial of ``n`` trials with success rate ``p``."""
    if x >= n:
        return 1.0
    return 1 - _beta_cdf(p, x + 1, n - x) if p > 0 else 1.0


def _solve(above: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``above`` turns true between low (false) and high, to the last digits that matter."""
    for _ in range(60):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if above(middle):
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _beta_cdf(p: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by Lentz's continued fraction (DLMF 8.17.22)."""
    if p <= 0 or p >= 1:
        return 0.0 if p <= 0 else 1.0
    if p > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - p, b, a)
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * p / (a + 1) or tiny)
    fraction = d
    for i in range(1, 10_000):
        even = i * (b - i) * p / ((a + 2 * i - 1) * (a + 2 * i))
        d = 1 / (1 + even * d or tiny)
        c = 1 + even / c or tiny
        fraction *= d * c
        odd = -(a + i) * (a + b + i) * p / ((a + 2 * i) * (a + 2 * i + 1))
        d = 1 / (1 + odd * d or tiny)
        c = 1 + odd / c or tiny
        fraction *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return min(1.0, fraction * math.exp(a * math.log(p) + b * math.log1p(-p) - _log_beta(a, b)) / a)
